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


def _rows(run_tables: RunTables, **expected: object) -> DataFrame:
    table = run_tables.layers[run_tables.layers["layer"].notna()]
    for column, value in expected.items():
        table = table[table[column] == value]
    return table.sort_values("layer")


def _level(run_tables: RunTables, **expected: object) -> float:
    table = run_tables.layers[run_tables.layers["layer"].isna()]
    for column, value in expected.items():
        table = table[table[column] == value]
    (value,) = table["value"]
    return float(value)


def _check_line(axes: Axes, label: str, rows: DataFrame) -> None:
    """The line and the band of a series are the rows."""
    (line,) = (get_line for get_line in axes.get_lines() if get_line.get_label() == label)
    layers, values, low, high = (
        rows[name].to_numpy(float) for name in ("layer", "value", "low", "high")
    )
    assert len(layers)
    assert np.asarray(line.get_xdata(), float).tolist() == layers.tolist()
    assert np.asarray(line.get_ydata(), float).tolist() == values.tolist()
    colour = to_rgba(line.get_color())[:3]
    bands = [
        get_line.get_paths()[0].vertices
        for get_line in axes.collections
        if tuple(get_line.get_facecolor()[0][:3]) == colour
    ]
    (corners,) = (np.asarray(get_line) for get_line in bands)
    for x, bottom, top in zip(layers, low, high, strict=True):
        position = corners[corners[:, 0] == x, 1]
        assert (position.min(), position.max()) == (bottom, top)


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
    """Check whether two titles of panels touch or lie outside the figure."""
    figure.draw_without_rendering()  # type: ignore[no-untyped-call]
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    whole = figure.bbox
    inside = all(whole.x0 <= box.x0 and box.x1 <= whole.x1 for box in boxes)
    separate = not any(
        item.overlaps(other) for i, item in enumerate(boxes) for other in boxes[i + 1 :]
    )  # fmt: skip
    return not (inside and separate)


# --- files

FIGURE_CASES: list[tuple[str, Callable[[], tuple[Any, ...]], list[str]]] = [
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


@pytest.mark.parametrize(
    ("make", "names"), [row[1:] for row in FIGURE_CASES], ids=[r[0] for r in FIGURE_CASES]
)
def test_files_are_as_wide_as_a_page_and_nothing_is_cut_off(
    make: Callable[[], tuple[Any, ...]], names: list[str], tmp_path: Path
) -> None:
    result, *table = make()
    files = write_figures(with_heads(result, *table), tmp_path)
    assert [path.name for path in files] == [f"{name}.png" for name in names]
    assert sorted(files) == sorted(tmp_path.iterdir())
    for path in files:
        is_whole(path)


def test_same_tables_same_bytes_whatever_the_users_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, two = tmp_path / "one", tmp_path / "two"
    for folder, font in ((item, 10.0), (two, 30.0)):
        folder.mkdir()
        monkeypatch.setitem(matplotlib.rcParams, "font.size", font)
        monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", font)
        write_figures(with_heads(attended(tasks=("t",), spans=("response",)), headed()), folder)
        assert matplotlib.rcParams["font.size"] == font
    assert {path.name for path in item.iterdir()} == {path.name for path in two.iterdir()}
    for path in item.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


def test_what_has_no_data_is_left_out_and_removed(tmp_path: Path) -> None:
    for name in ("heads", "differences", "attention"):
        (tmp_path / f"{name}.png").write_bytes(b"of an earlier run")
    written = write_figures(attended(("in",), tasks=("t",), spans=("response",)), tmp_path)
    assert written == list(tmp_path.iterdir())
    assert [path.name for path in written] == ["attention.png"]


@pytest.mark.parametrize(
    ("probe_tables", "names"),
    [
        (ablated(), {"ablation"}),
        (swapped(), {"vision-swap"}),
        (attended(), {"attention", "differences"}),
        (attended(("in",)), {"attention"}),
    ],
)
def test_a_probe_is_drawn_by_its_own_figures(
    probe_tables: RunTables, names: set[str], tmp_path: Path
) -> None:
    assert {path.stem for path in write_figures(probe_tables, tmp_path)} == names


# --- ablation


def test_ablation_shows_what_every_task_loses() -> None:
    result = ablated(whats=("layer", "mlp"))
    figure = ablation(result)
    panels = _panels(figure)
    assert len(panels) == 3
    for axes, task in zip(panels, ("read", "count", "all"), strict=True):
        for kind in ("layer", "mlp"):
            rows = _rows(result, task=task, what=kind, metric="accuracy drop")
            _check_line(axes, kind, rows)
        level = _level(result, task=task, what="layer", metric="accuracy")
        name = "all tasks" if task == "all" else task
        assert axes.get_title() == f"{name}: intact {level:.0%}, n = 5"
    assert figure is not None
    assert _legend(figure) == ["layer", "mlp"]
    assert figure.get_supxlabel() == "ablated decoder layer"
    alone = ablation(ablated(whats=("mlp",)))
    assert alone is not None
    assert not alone.legends
    assert alone.get_supxlabel() == "ablated decoder layer's mlp"
    assert figure.get_supylabel() == "percentage points lost, 95% interval"
    panels[0].figure.draw_without_rendering()
    lines = [label.get_text().replace("\N{MINUS SIGN}", "-")
            for label in panels[0].get_yticklabels()]  # fmt: skip
    yticks = panels[0].get_yticks()
    assert [float(text) for text in lines if text] == pytest.approx(
        [100 * y for y, text in zip(yticks, lines, strict=True) if text]
    )


def test_log_probabilities_are_in_nats() -> None:
    result = ablated(("read",), likely=True)
    figure = ablation(result)
    (axes,) = _panels(figure)
    _check_line(axes, "layer", _rows(result, metric="logprob drop"))
    level = _level(result, metric="logprob")
    assert level < 0
    assert axes.get_title() == f"read: intact {level:.1f} nats, n = 5"
    assert axes.get_yscale() == "symlog"
    assert figure is not None
    assert "nats lost" in figure.get_supylabel()


def test_layers_that_were_not_switched_off_have_no_point_but_their_place() -> None:
    result = ablated(("read",), only=(2, 3, 7))
    (axes,) = _panels(ablation(result))
    _check_line(axes, "layer", _rows(result, metric="accuracy drop"))
    assert axes.get_xlim() == (-0.6, 8.6)
    assert [text.get_text() for text in axes.texts] == ["early", "mid", "late"]


# --- swap


def test_swap_shows_three_rates_and_the_level_with_nothing_swapped() -> None:
    result = swapped()
    figure = vision_swap(result)
    panels = _panels(figure)
    names = {
        "change": "another answer", "source": "the source's answer", "target": "the target's answer"
    }  # fmt: skip
    for axes, task, n in zip(panels, ("read", "count", "all"), (6, 6, 12), strict=True):
        for metric, name in names.items():
            _check_line(axes, name, _rows(result, task=task, metric=metric))
        colours = {line.get_label(): line.get_color() for line in axes.get_lines()}
        assert _levels(axes) == {
            colours[names[metric]]: _level(result, task=task, metric=metric)
            for metric in ("source", "target")
        }
        assert axes.get_title() == f"{'all tasks' if task == 'all' else task}: n = {n}"
    assert figure is not None
    assert _legend(figure) == [*names.values(), "no swap"]


@pytest.mark.parametrize(
    ("mode", "axis_text"), [("from", "from this layer on"), ("only", "at this layer only")]
)
def test_swap_says_where_the_image_is_the_sources(mode: str, axis_text: str) -> None:
    figure = vision_swap(swapped(mode=mode))
    assert figure is not None
    assert figure.get_supxlabel() == f"decoder layer; source image {axis_text}"


# --- attention


def test_attention_lays_models_over_one_another() -> None:
    result = attended(("in", "rl", "third"))
    figure = attention(result)
    assert figure is not None
    grid = np.array(figure.axes).reshape(5, 2)
    for row, (metric, name) in zip(grid, NAMES.items(), strict=True):
        assert row[0].get_ylabel() == name
        for axes, span in zip(row, ("reasoning", "answer"), strict=True):
            labels = [line.get_label() for line in axes.get_lines()]
            assert labels == ["in", "rl", "third"]  # differences have a figure of their own
            for model in labels:
                _check_line(
                    axes, model, _rows(result, model=model, what=span, metric=metric, task="all")
                )
            assert axes.get_ylim()[0] == 0
    titles = [axes.get_title() for axes in grid[0]]
    assert titles == ["from reasoning tokens", "from answer tokens"]
    assert _legend(figure) == ["in", "rl", "third"]


def test_one_task_is_all_tasks() -> None:
    result = attended(("in",), tasks=("read",))
    figure = attention(result)
    assert figure is not None
    _check_line(figure.axes[0], "in", _rows(result, what="reasoning", metric="image share"))


def test_responses_without_marked_parts_are_drawn_whole() -> None:
    result = attended(spans=("response",))
    figure = attention(result)
    assert figure is not None
    assert len(figure.axes) == 5
    assert figure.axes[0].get_title() == "from response tokens"
    rows = _rows(result, model="rl", what="response", metric="image share", task="all")
    _check_line(figure.axes[0], "rl", rows)


def test_text_alone_has_no_line_to_the_image() -> None:
    result = attended(metrics=("sink share", "text share", "response share", "entropy"))
    figure = attention(result)
    assert figure is not None
    line = figure.axes[0].get_lines()[0]
    assert len(np.asarray(line.get_xdata())) == 0
    _check_line(
        figure.axes[2], "in",
        _rows(result, model="in", what="reasoning", metric="text share", task="all"),
    )  # fmt: skip
    figure.draw_without_rendering()  # type: ignore[no-untyped-call]


def test_differences_have_a_row_per_model_and_a_line_per_target() -> None:
    result = attended(("in", "rl", "third"))
    figure = differences(result)
    assert figure is not None
    grid = np.array(figure.axes).reshape(2, 2)
    for row, model in zip(grid, ("rl - in", "third - in"), strict=True):
        for axes, span in zip(row, ("reasoning", "answer"), strict=True):
            assert axes.get_title() == f"{model}, from {span} tokens"
            for metric in SHARES:
                rows = _rows(result, model=model, what=span, metric=metric, task="all")
                _check_line(axes, NAMES[metric].removeprefix("to "), rows)
    assert figure.legends[0].get_title().get_text() == "change of attention to"


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
    subset = table[(table["metric"] == "image share") & (table["what"] == "response")]
    for axes in panels:
        (image,) = axes.images
        displayed = np.asarray(image.get_array())
        assert displayed.shape == (9, 4)
        for row in subset[subset["model"] == axes.get_title()].itertuples():
            assert displayed[row.layer, row.head] == row.value
        assert image.origin == "lower"
        assert image.get_extent() == [-0.5, 3.5, -0.5, 8.5]
    differs = subset["model"] == "rl - in"
    separate = float(subset[differs]["value"].abs().max())
    most = float(subset[~differs]["value"].max())
    assert [axes.images[0].get_clim() for axes in panels] == [(0, most)] * 2 + [
        (-separate, separate)
    ]


def test_heads_without_an_image_are_not_drawn() -> None:
    table = headed()
    without = table[table["metric"] != "image share"], table[table["what"] != "response"]
    for item in without:
        assert heads(with_heads(attended(), item)) is None
    assert heads(attended()) is None


# --- depth


@pytest.mark.parametrize("layers", [9, 28, 36, 80])
def test_regions_are_shaded_and_named_on_top(layers: int) -> None:
    result = ablated(("t", "u", "v"), layers)
    panels = _panels(ablation(result))
    early, mid, late = result.summary["regions"].values()
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
    displayed = [
        any(label.get_visible() and label.get_text() for label in axes.get_xticklabels())
        for axes in panels
    ]
    assert displayed == [False, False, False, True, True]


def test_an_empty_table_of_differences_is_no_figure() -> None:
    result = attended()
    plain = result.layers[~result.layers["model"].str.contains(" - ")]
    assert differences(but(result, layers=plain)) is None
