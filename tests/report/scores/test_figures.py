"""Figures of scores hold the numbers of the tables, and say what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from eval.records import Metric
from eval.sweep.results import make_results
from surgery.report.figures import FIGURES, write_figures
from surgery.report.scores.figures import layers, recovery, scores
from surgery.runs import RunKind
from tests.eval.made import paired, texts

if TYPE_CHECKING:
    from pathlib import Path

    from surgery.runs import RunTables

NAMES = ("in", "rl", *(f"rl@language.{i}" for i in range(6)), *(f"rl@vision.{i}" for i in range(3)))
TRAITS = [{}, {}] + [
    {"component": name.split("@")[1].split(".")[0], "layer": int(name.rsplit(".", 1)[1])}
    for name in NAMES[2:]
]


@pytest.fixture(scope="module")
def results() -> RunTables:
    """A sweep over layers: layers 2 and 3 of the decoder carry the gain."""
    generator = np.random.default_rng(2)
    records = []
    for index, name in enumerate(NAMES):
        right = {"in": 20, "rl": 70}.get(name, 55 if index in (4, 5) else 21)
        order = generator.permutation(100)
        records += texts(name, [bool(rank < right) for rank in order])
        records += paired(
            name, Metric.VISION, {(True, False): right, (False, False): 100 - right}, task="u"
        )
    summary = {
        "against": "in", "base": "in", "donor": "rl",
        "variants": [
            {"name": name, "traits": traits} for name, traits in zip(NAMES, TRAITS, strict=True)
        ],
    }  # fmt: skip
    return make_results(records, summary)


def test_scores_has_a_panel_per_metric_and_a_row_per_variant(results: RunTables) -> None:
    figure = scores(results)
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == [
        "M_vis: image needed and perceived", "M_rea: reasoning on text",
    ]  # fmt: skip
    labels = [text.get_text() for text in panels[0].get_yticklabels()]
    assert labels == list(NAMES)
    x, y = panels[1].lines[0].get_data()
    values = dict(zip(labels, x, strict=True))
    assert values["rl"] == pytest.approx(0.7)
    assert values["in"] == pytest.approx(0.2)
    assert y[0] > y[-1]  # the first variant is on top


def test_recovery_shows_every_variant_but_base_and_donor(results: RunTables) -> None:
    figure = recovery(results)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(NAMES[2:])
    assert "share of the gain from in (0%) to rl (100%)" in figure.get_supxlabel()
    result = dict(zip(NAMES[2:], axes.lines[0].get_data()[0], strict=True))
    assert result["rl@language.2"] == pytest.approx(0.7)


def test_layers_follow_depth(results: RunTables) -> None:
    figure = layers(results)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    assert list(lines[0].get_xdata()) == [0, 1, 2, 3, 4, 5]
    assert list(lines[1].get_xdata()) == [0, 1, 2]
    assert int(np.argmax(lines[0].get_ydata())) in (2, 3)
    assert "difference from 'in' (percentage points" in figure.get_supylabel()


def test_files_are_the_same_every_time_and_stale_ones_go(
    results: RunTables, tmp_path: Path
) -> None:
    item, two = tmp_path / "one", tmp_path / "two"
    item.mkdir()
    two.mkdir()
    names = list(FIGURES[RunKind.EVALUATION])
    assert [path.stem for path in write_figures(results, item)] == names
    write_figures(results, two)
    for name in names:
        assert (item / f"{name}.png").read_bytes() == (two / f"{name}.png").read_bytes()
    bare = make_results(texts("in", [True, False]), {
        "against": None, "base": None, "donor": None,
        "variants": [{"name": "in", "traits": {}}],
    })  # fmt: skip
    assert [path.name for path in write_figures(bare, item)] == ["scores.png"]
    assert sorted(path.name for path in item.iterdir()) == ["scores.png"]


def test_a_metric_without_an_answer_is_no_point(tmp_path: Path) -> None:
    records = [*texts("in", [None, None]), *texts("rl", [True, False])]
    summary = {
        "against": None, "base": None, "donor": None,
        "variants": [{"name": name, "traits": {}} for name in ("in", "rl")],
    }  # fmt: skip
    figure = scores(make_results(records, summary))
    assert len(figure.axes[0].lines[0].get_xdata()) == 1
    write_figures(make_results(records, summary), tmp_path)
