from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import matplotlib as mpl
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from surgery.arch.site import Component
from surgery.plan import make_plan
from surgery.recipe.grammar import parse_selector
from surgery.recipe.recipe import Merge, Recipe, Transplant
from surgery.report.layers import layers_figure, layers_png
from surgery.report.picture import Key, entries
from surgery.report.stack import rows, symbol
from tests.cli.plans import add, info, interpolate, merge, plan, transplant
from tests.report.paper import is_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure

    from surgery.plan import Plan
    from surgery.recipe.recipe import Step


def _of_many(models: dict[str, str], *steps: Step) -> Plan:
    recipe = Recipe(
        name="many", models=models, base=next(iter(models)), steps=steps, description=""
    )
    return make_plan(recipe, {name: info(model) for name, model in models.items()})


def _merge_of_three() -> Plan:
    models = {name: f"org/{name}" for name in ("in", "rl", "pretrained")}
    values = {name: {"weight": 0.5} for name in ("in", "rl")}
    return _of_many(models, Merge(parse_selector("language[:]"), "ties", values, base="pretrained"))


def _many_models() -> Plan:
    location = "/a/very/long/path/to/where/somebody/keeps/the/checkpoints/of/all/the/experiments/"
    models = {f"model-number-{i}-of-a-long-name": f"{location * 2}number-{i}" for i in range(9)}
    names = list(models)
    steps = [Transplant(parse_selector(f"language[{i}]"), names[i]) for i in range(1, 8)]
    values: dict[str, dict[str, float]] = {name: {} for name in names}
    return _of_many(models, *steps, Merge(parse_selector("vision"), "linear", values))


def _without_vision() -> Plan:
    output = plan(transplant("language[mid]"))
    seeing = (Component.VISION, Component.PROJECTOR)
    return replace(output, ops=tuple(op for op in output.ops if op.site.component not in seeing))


def _parts_outside_the_layers() -> Plan:
    """A projector of two modules that have different sources."""
    output = plan(transplant("language[0].mlp"))
    return replace(
        output,
        ops=tuple(
            replace(op, site=replace(op.site, component=Component.PROJECTOR, layer=None))
            if op.site.layer == 0
            else op
            for op in output.ops
        ),
    )


_PLANS: dict[str, Callable[[], Plan]] = {
    "a base alone": plan,
    "thirds": lambda: plan(transplant("language[mid]")),
    "a schedule": lambda: plan(interpolate("language[mid, late]", 0.0, 1.0)),
    "modules": lambda: plan(
        transplant("language[mid].mlp"),
        interpolate("language[late].attention", 0.2, 0.8),
        add("language[early].attention.q_proj", 0.5),
        merge("vision"),
        name="a name of a recipe that is longer than the page is wide, and so takes two lines",
    ),
    "a merge of three": _merge_of_three,
    "many models": _many_models,
    "without vision": _without_vision,
    "parts outside the layers": _parts_outside_the_layers,
    "64 layers": lambda: plan(interpolate("language[20:60].mlp", 0, 1), layers=64, vision=45),
    "100 layers": lambda: plan(transplant("language[20:70]"), layers=100, vision=32),
    "several": lambda: plan(transplant("language[1].attention.q_proj.bias")),
    "signs": lambda: plan(transplant("language[1]"), name="costs $5 and $6_x^2"),
}


@pytest.fixture(params=_PLANS, scope="module")
def plan_case(request: pytest.FixtureRequest) -> Plan:
    return _PLANS[request.param]()


def _texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text() and text.axes]


def _cells(figure: Figure) -> list[Rectangle]:
    return [box for box in figure.axes[0].patches if isinstance(box, Rectangle)]


def _marks(figure: Figure) -> list[tuple[str, tuple[float, float, float]]]:
    """The texts in coloured boxes, from above, with the boxes' colours."""
    results = []
    for box in _cells(figure):
        inside = [
            text.get_text()
            for text in _texts(figure)
            if abs(text.get_position()[0] - (box.get_x() + box.get_width() / 2)) < 1e-6
            and box.get_y() < text.get_position()[1] < box.get_y() + box.get_height()
        ]
        assert len(inside) == 1
        results.append((inside[0], to_rgb(box.get_facecolor())))
    return results


def test_the_picture_is_whole(plan_case: Plan, tmp_path: Path) -> None:
    path = tmp_path / "layers.png"
    path.write_bytes(layers_png(plan_case))
    is_whole(path)


def test_no_text_touches_another_or_leaves_its_place(plan_case: Plan) -> None:
    figure = layers_figure(plan_case)
    figure.draw_without_rendering()
    boxes = [(text, text.get_window_extent()) for text in _texts(figure)]
    page = figure.bbox
    for text, box in boxes:
        assert page.x0 < box.x0
        assert box.x1 < page.x1, text.get_text()
        assert page.y0 < box.y0
        assert box.y1 < page.y1
    for (item, first), (two, second) in combinations(boxes, 2):
        # Letters of two lines may meet where one has a tail and the other a head.
        lower = min(first.y1, second.y1) - max(first.y0, second.y0)
        separate = lower < 0.2 * min(first.height, second.height)
        beside = first.x1 <= second.x0 or second.x1 <= first.x0
        assert separate or beside, (item.get_text(), two.get_text())
    for cell in _cells(figure):
        place = cell.get_window_extent()
        for text, box in boxes:
            across = min(place.x1, box.x1) - max(place.x0, box.x0) > 0
            along = min(place.y1, box.y1) - max(place.y0, box.y0) > 0
            within = place.x0 <= box.x0 and box.x1 <= place.x1
            assert within or not (across and along), text.get_text()


def test_cells_have_the_colours_and_letters_of_the_terminal(plan_case: Plan) -> None:
    key = Key.of(plan_case)
    sampled = [cell for row in rows(plan_case) for cell in row.cells]
    expected = [(symbol(cell, key.letters), cell) for cell in sampled]
    expected += [(entry.mark, entry.cell) for entry in entries(plan_case, key, rows(plan_case))]
    results = [
        (mark, tuple(round(255 * part) for part in colour))
        for mark, colour in _marks(layers_figure(plan_case))
    ]
    assert sorted(results) == sorted((mark, key.colour(cell)) for mark, cell in expected)


def test_the_same_plan_gives_the_same_bytes(plan_case: Plan) -> None:
    assert layers_png(plan_case) == layers_png(plan_case)


def test_a_users_own_settings_do_not_count() -> None:
    output = plan(transplant("language[mid]"))
    before = layers_png(output)
    with mpl.rc_context({"font.size": 20, "font.family": "monospace", "savefig.dpi": 50}):
        assert layers_png(output) == before


def test_title_labels_numbers_and_legend() -> None:
    figure = layers_figure(plan(transplant("language[mid]"), name="in-rl-in"))
    lines = [text.get_text() for text in _texts(figure)]
    assert lines[0] == "in-rl-in"
    assert [name for name in lines if name in {c.value for c in Component}] == [
        "vision", "projector", "embedding", "language", "norm", "head",
    ]  # fmt: skip
    assert sorted(name for name in lines if name.isdigit()) == ["0", "0", "3", "3", "6", "8"]
    assert {"in (base)", "org/cold-start", "49 tensors", "rl", "org/rl", "18 tensors"} <= {*lines}


def test_long_references_lose_their_beginning() -> None:
    lines = [text.get_text() for text in _texts(layers_figure(_many_models()))]
    for i in range(9):
        assert any(line.startswith("…") and line.endswith(f"number-{i}") for line in lines)


def test_labels_that_have_room_stay_whole(plan_case: Plan) -> None:
    messages = {text.get_text() for text in _texts(layers_figure(plan_case))}
    assert {row.label for row in rows(plan_case)} <= messages


def test_layer_numbers_stand_above_their_cells() -> None:
    figure = layers_figure(plan(transplant("language[20:30]"), layers=64))
    numbers = {text.get_text(): text for text in _texts(figure)}
    middles = [box.get_x() + box.get_width() / 2 for box in _cells(figure)]
    in_row = [x for x in middles if middles.count(x) <= 2]
    for layer in (20, 30, 63):
        x = numbers[str(layer)].get_position()[0]
        assert any(abs(x - middle) < 1e-6 for middle in in_row)
    width = _cells(figure)[0].get_width()
    span = numbers["63"].get_position()[0] - numbers["20"].get_position()[0]
    assert span == pytest.approx(43 * width)


def test_layers_without_a_module_leave_a_gap() -> None:
    output = plan(transplant("language[4].mlp"))
    thinned = replace(
        output,
        ops=tuple(
            op
            for op in output.ops
            if op.site.module.value != "attention" or op.site.layer in (None, 3, 7)
        ),
    )
    figure = layers_figure(thinned)
    label = next(text for text in _texts(figure) if text.get_text() == "attention")
    y = label.get_position()[1]
    cells = [box for box in _cells(figure) if box.get_y() < y < box.get_y() + box.get_height()]
    whole = min(box.get_x() for box in _cells(figure) if box.get_width() == cells[0].get_width())
    position = [round((box.get_x() - whole) / box.get_width()) for box in cells]
    assert position == [3, 7]
