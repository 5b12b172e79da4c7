"""Figures of probes hold the numbers of the tables, and say what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pytest
from matplotlib import style
from matplotlib.colors import to_rgba

from surgery.report.figures import write_figures
from surgery.report.probes.figures import (
    ablation,
    attention,
    differences,
    heads,
    vision_swap,
)
from surgery.report.style import RC
from tests.report.paper import is_whole
from tests.report.probes.made_tables import (
    SHARES,
    ablated,
    attended,
    headed,
    swapped,
    with_heads,
)
from tests.support.tables import but

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from surgery.runs import RunTables

LONG = ("OpenMMReasoner-ColdStart", "OpenMMReasoner-RL", "Revisual-R1-Coldstart")
NAMES = {
    "image share": "to image", "text share": "to prompt text",
    "response share": "to response", "sink share": "to first token", "entropy": "entropy, nats",
}  # fmt: skip


def _rows(found: RunTables, **wanted: object) -> DataFrame:
    table = found.layers[found.layers["layer"].notna()]
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table.sort_values("layer")


def _level(found: RunTables, **wanted: object) -> float:
    table = found.layers[found.layers["layer"].isna()]
    for column, value in wanted.items():
        table = table[table[column] == value]
    (value,) = table["value"]
    return float(value)


def _drawn(axes: Axes, label: str, rows: DataFrame) -> None:
    """The line and the band of a series are the rows."""
    (line,) = (one for one in axes.get_lines() if one.get_label() == label)
    layers, values, low, high = (
        rows[name].to_numpy(float) for name in ("layer", "value", "low", "high")
    )
    assert len(layers)
    assert np.asarray(line.get_xdata(), float).tolist() == layers.tolist()
    assert np.asarray(line.get_ydata(), float).tolist() == values.tolist()
    colour = to_rgba(line.get_color())[:3]
    bands = [
        one.get_paths()[0].vertices
        for one in axes.collections
        if tuple(one.get_facecolor()[0][:3]) == colour
    ]
    (corners,) = (np.asarray(one) for one in bands)
    for x, bottom, top in zip(layers, low, high, strict=True):
        at = corners[corners[:, 0] == x, 1]
        assert (at.min(), at.max()) == (bottom, top)


def _levels(axes: Axes) -> dict[str, float]:
    """Flat dotted lines by colour."""
    return {
        str(line.get_color()): float(np.asarray(line.get_ydata())[0])
        for line in axes.get_lines()
        if line.get_label() == "_null"
    }


def _panels(figure: Figure | None) -> list[Axes]:
    assert figure is not None
    return [axes for axes in figure.axes if axes.axison]


def _legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def _overlap(figure: Figure) -> bool:
    """Whether two titles of panels touch one another or stand outside the figure."""
    figure.draw_without_rendering()  # type: ignore[no-untyped-call]
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    whole = figure.bbox
    inside = all(whole.x0 <= box.x0 and box.x1 <= whole.x1 for box in boxes)
    apart = not any(
        one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[i + 1 :]
    )  # fmt: skip
    return not (inside and apart)


# --- files

DRAWN: list[tuple[str, Callable[[], tuple[Any, ...]], list[str]]] = [
    ("ablation", lambda: (ablated(("t", "u", "v", "w")),), ["ablation"]),
    ("branches", lambda: (ablated(("t",), 28, whats=("attention", "mlp")),), ["ablation"]),
    ("likely", lambda: (ablated(layers=36, likely=True),), ["ablation"]),
    ("swap", lambda: (swapped(),), ["vision-swap"]),
    ("only one layer", lambda: (swapped(("t",), 1, mode="only"),), ["vision-swap"]),
    (
        "attention",
        lambda: (attended(), headed()),
        ["attention", "differences", "heads"],
    ),
    ("long names", lambda: (attended(LONG, 28), headed(LONG, 28, 28)),
     ["attention", "differences", "heads"]),
    ("one model", lambda: (attended(("in",), 80),), ["attention"]),
]  # fmt: skip


@pytest.mark.parametrize(("make", "names"), [row[1:] for row in DRAWN], ids=[r[0] for r in DRAWN])
def test_files_are_as_wide_as_a_page_and_nothing_is_cut_off(
    make: Callable[[], tuple[Any, ...]], names: list[str], tmp_path: Path
) -> None:
    found, *table = make()
    files = write_figures(with_heads(found, *table), tmp_path)
    assert [path.name for path in files] == [f"{name}.png" for name in names]
    assert sorted(files) == sorted(tmp_path.iterdir())
    for path in files:
        is_whole(path)


def test_same_tables_same_bytes_whatever_the_users_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, font in ((one, 10.0), (two, 30.0)):
        folder.mkdir()
        monkeypatch.setitem(matplotlib.rcParams, "font.size", font)
        monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", font)
        write_figures(with_heads(attended(tasks=("t",), spans=("response",)), headed()), folder)
        assert matplotlib.rcParams["font.size"] == font
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


def test_what_has_no_data_is_left_out_and_removed(tmp_path: Path) -> None:
    for name in ("heads", "differences", "attention"):
        (tmp_path / f"{name}.png").write_bytes(b"of an earlier run")
    written = write_figures(attended(("in",), tasks=("t",), spans=("response",)), tmp_path)
    assert written == list(tmp_path.iterdir())
    assert [path.name for path in written] == ["attention.png"]


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (ablated(), {"ablation"}),
        (swapped(), {"vision-swap"}),
        (attended(), {"attention", "differences"}),
        (attended(("in",)), {"attention"}),
    ],
)
def test_a_probe_is_drawn_by_its_own_figures(
    found: RunTables, names: set[str], tmp_path: Path
) -> None:
    assert {path.stem for path in write_figures(found, tmp_path)} == names


# --- ablation


def test_ablation_shows_what_every_task_loses() -> None:
    found = ablated(whats=("layer", "mlp"))
    figure = ablation(found)
    panels = _panels(figure)
    assert len(panels) == 3
    for axes, task in zip(panels, ("read", "count", "all"), strict=True):
        for what in ("layer", "mlp"):
            rows = _rows(found, task=task, what=what, metric="accuracy drop")
            _drawn(axes, what, rows)
        level = _level(found, task=task, what="layer", metric="accuracy")
        name = "all tasks" if task == "all" else task
        assert axes.get_title() == f"{name}: intact {level:.0%}, n = 5"
    assert figure is not None
    assert _legend(figure) == ["layer", "mlp"]
    assert figure.get_supxlabel() == "decoder layer that is switched off"
    alone = ablation(ablated(whats=("mlp",)))
    assert alone is not None
    assert not alone.legends
    assert alone.get_supxlabel() == "decoder layer's mlp that is switched off"
    assert figure.get_supylabel() == "points lost, 95% interval"
    panels[0].figure.draw_without_rendering()
    told = [label.get_text().replace("\N{MINUS SIGN}", "-")
            for label in panels[0].get_yticklabels()]  # fmt: skip
    at = panels[0].get_yticks()
    assert [float(text) for text in told if text] == pytest.approx(
        [100 * y for y, text in zip(at, told, strict=True) if text]
    )


def test_log_probabilities_are_in_nats() -> None:
    found = ablated(("read",), likely=True)
    figure = ablation(found)
    (axes,) = _panels(figure)
    _drawn(axes, "layer", _rows(found, metric="logprob drop"))
    level = _level(found, metric="logprob")
    assert level < 0
    assert axes.get_title() == f"read: intact {level:.1f} nats, n = 5"
    assert axes.get_yscale() == "symlog"
    assert figure is not None
    assert "nats lost" in figure.get_supylabel()


def test_layers_that_were_not_switched_off_have_no_point_but_their_place() -> None:
    found = ablated(("read",), only=(2, 3, 7))
    (axes,) = _panels(ablation(found))
    _drawn(axes, "layer", _rows(found, metric="accuracy drop"))
    assert axes.get_xlim() == (-0.6, 8.6)
    assert [text.get_text() for text in axes.texts] == ["early", "mid", "late"]


# --- swap


def test_swap_shows_three_rates_and_the_level_with_nothing_swapped() -> None:
    found = swapped()
    figure = vision_swap(found)
    panels = _panels(figure)
    names = {
        "change": "another answer", "source": "the source's answer", "target": "the target's answer"
    }  # fmt: skip
    for axes, task, n in zip(panels, ("read", "count", "all"), (6, 6, 12), strict=True):
        for metric, name in names.items():
            _drawn(axes, name, _rows(found, task=task, metric=metric))
        colours = {line.get_label(): line.get_color() for line in axes.get_lines()}
        assert _levels(axes) == {
            colours[names[metric]]: _level(found, task=task, metric=metric)
            for metric in ("source", "target")
        }
        assert axes.get_title() == f"{'all tasks' if task == 'all' else task}: n = {n}"
    assert figure is not None
    assert _legend(figure) == [*names.values(), "nothing swapped"]


@pytest.mark.parametrize(
    ("mode", "told"), [("from", "from this layer on"), ("only", "at this layer only")]
)
def test_swap_says_where_the_image_is_the_sources(mode: str, told: str) -> None:
    figure = vision_swap(swapped(mode=mode))
    assert figure is not None
    assert figure.get_supxlabel() == f"decoder layer; the image is the source's {told}"


# --- attention


def test_attention_lays_models_over_one_another() -> None:
    found = attended(("in", "rl", "third"))
    figure = attention(found)
    assert figure is not None
    grid = np.array(figure.axes).reshape(5, 2)
    for row, (metric, name) in zip(grid, NAMES.items(), strict=True):
        assert row[0].get_ylabel() == name
        for axes, span in zip(row, ("reasoning", "answer"), strict=True):
            labels = [line.get_label() for line in axes.get_lines()]
            assert labels == ["in", "rl", "third"]  # differences have a figure of their own
            for model in labels:
                _drawn(axes, model, _rows(found, model=model, what=span, metric=metric, task="all"))
            assert axes.get_ylim()[0] == 0
    titles = [axes.get_title() for axes in grid[0]]
    assert titles == ["from reasoning tokens", "from answer tokens"]
    assert _legend(figure) == ["in", "rl", "third"]


def test_one_task_is_all_tasks() -> None:
    found = attended(("in",), tasks=("read",))
    figure = attention(found)
    assert figure is not None
    _drawn(figure.axes[0], "in", _rows(found, what="reasoning", metric="image share"))


def test_responses_without_marked_parts_are_drawn_whole() -> None:
    found = attended(spans=("response",))
    figure = attention(found)
    assert figure is not None
    assert len(figure.axes) == 5
    assert figure.axes[0].get_title() == "from response tokens"
    rows = _rows(found, model="rl", what="response", metric="image share", task="all")
    _drawn(figure.axes[0], "rl", rows)


def test_text_alone_has_no_line_to_the_image() -> None:
    found = attended(metrics=("sink share", "text share", "response share", "entropy"))
    figure = attention(found)
    assert figure is not None
    line = figure.axes[0].get_lines()[0]
    assert len(np.asarray(line.get_xdata())) == 0
    _drawn(
        figure.axes[2], "in",
        _rows(found, model="in", what="reasoning", metric="text share", task="all"),
    )  # fmt: skip
    figure.draw_without_rendering()  # type: ignore[no-untyped-call]


def test_differences_have_a_row_per_model_and_a_line_per_target() -> None:
    found = attended(("in", "rl", "third"))
    figure = differences(found)
    assert figure is not None
    grid = np.array(figure.axes).reshape(2, 2)
    for row, model in zip(grid, ("rl - in", "third - in"), strict=True):
        for axes, span in zip(row, ("reasoning", "answer"), strict=True):
            assert axes.get_title() == f"{model}, from {span} tokens"
            for metric in SHARES:
                rows = _rows(found, model=model, what=span, metric=metric, task="all")
                _drawn(axes, NAMES[metric].removeprefix("to "), rows)
    assert figure.legends[0].get_title().get_text() == "attention to"


def test_names_as_long_as_published_ones_do_not_run_into_one_another() -> None:
    tasks = ("a task that somebody gave quite a long name", "another " * 6)
    with style.context(["default", RC]):  # type: ignore[list-item]
        observed = with_heads(attended(LONG, 28), headed(LONG, 28, 28))
        for figure in (differences(observed), heads(observed), ablation(ablated(tasks))):
            assert figure is not None
            assert not _overlap(figure)


# --- heads


def test_heads_are_the_table_with_one_scale_for_models_and_one_about_zero() -> None:
    table = headed()
    figure = heads(with_heads(attended(), table))
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == ["in", "rl", "rl - in"]
    its = table[(table["metric"] == "image share") & (table["what"] == "response")]
    for axes in panels:
        (image,) = axes.images
        shown = np.asarray(image.get_array())
        assert shown.shape == (9, 4)
        for row in its[its["model"] == axes.get_title()].itertuples():
            assert shown[row.layer, row.head] == row.value
        assert image.origin == "lower"
        assert image.get_extent() == [-0.5, 3.5, -0.5, 8.5]
    differs = its["model"] == "rl - in"
    apart = float(its[differs]["value"].abs().max())
    most = float(its[~differs]["value"].max())
    assert [axes.images[0].get_clim() for axes in panels] == [(0, most)] * 2 + [(-apart, apart)]


def test_heads_without_an_image_are_not_drawn() -> None:
    table = headed()
    without = table[table["metric"] != "image share"], table[table["what"] != "response"]
    for each in without:
        assert heads(with_heads(attended(), each)) is None
    assert heads(attended()) is None


# --- depth


@pytest.mark.parametrize("layers", [9, 28, 36, 80])
def test_regions_are_shaded_and_named_on_top(layers: int) -> None:
    found = ablated(("t", "u", "v"), layers)
    panels = _panels(ablation(found))
    early, mid, late = found.summary["regions"].values()
    for place, axes in enumerate(panels):
        shaded = [patch.get_window_extent() for patch in axes.patches]
        inverse = axes.transData.inverted()
        spans = [inverse.transform(box)[:, 0].tolist() for box in shaded]
        assert np.array(spans) == pytest.approx(
            np.array([(start - 0.5, stop - 0.5) for start, stop in (early, late)])
        )
        names = {text.get_text(): text.get_position()[0] for text in axes.texts}
        middles = [(start + stop - 1) / 2 for start, stop in (early, mid, late)]
        expected = dict(zip(("early", "mid", "late"), middles, strict=True)) if place < 2 else {}
        assert names == expected
    ticks = panels[0].get_xticks()
    assert (ticks[0], ticks[-1]) == (0, layers - 1)


def test_a_model_of_one_layer_is_drawn() -> None:
    for figure in (ablation(ablated(layers=1)), vision_swap(swapped(layers=1))):
        assert figure is not None
        figure.draw_without_rendering()  # type: ignore[no-untyped-call]
        assert set(figure.axes[0].get_xticks().tolist()) == {0}


def test_columns_end_with_layer_numbers_where_a_panel_is_missing() -> None:
    panels = _panels(ablation(ablated(("t", "u", "v", "w"))))
    assert len(panels) == 5
    shown = [
        any(label.get_visible() and label.get_text() for label in axes.get_xticklabels())
        for axes in panels
    ]
    assert shown == [False, False, False, True, True]


def test_an_empty_table_of_differences_is_no_figure() -> None:
    found = attended()
    plain = found.layers[~found.layers["model"].str.contains(" - ")]
    assert differences(but(found, layers=plain)) is None
