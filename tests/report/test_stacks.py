"""The figure of variants shows the right source and the right score in each row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from surgery.report.scores.stacks import stacks, write_stacks

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = {"in": ["in"] * 3, "rl": ["rl"] * 3, "in-rl-in": ["in", "rl", "in"]}
PANELS = [("count", "m_vis"), ("sum", "m_rea")]


@pytest.fixture(scope="module")
def run() -> Any:
    rows = [
        {"variant": variant, "task": task, "measure": measure, "split": split, "n": 50,
         "value": value, "low": value - 0.1, "high": value + 0.1}
        for variant, value in (("rl", 0.5), ("in", 0.3), ("in-rl-in", 0.4))
        for task, measure in PANELS
        for split in ("", "level=1")
    ]  # fmt: skip
    return SimpleNamespace(table=lambda name: pd.DataFrame(rows) if name == "scores" else None)


def test_cells_name_their_source_from_the_first_variant_on_top(run: Any) -> None:
    layers, *_ = stacks(run, SOURCES, PANELS).axes
    letters = {text.get_position(): text.get_text() for text in layers.texts}
    rows = ["".join(letters[layer, row] for layer in range(3)) for row in (2, 1, 0)]
    assert rows == ["III", "RRR", "IRI"]
    assert [label.get_text() for label in layers.get_yticklabels()] == ["in-rl-in", "rl", "in"]


def test_scores_stand_in_the_row_of_their_variant(run: Any) -> None:
    _, count, total = stacks(run, SOURCES, PANELS).axes
    for axes, title in ((count, "count\nM_vis"), (total, "sum\nM_rea")):
        (points,) = axes.get_lines()
        assert dict(zip(points.get_ydata(), points.get_xdata(), strict=True)) == {
            2: 0.3, 1: 0.5, 0: 0.4,
        }  # fmt: skip
        assert axes.get_title() == title
        assert axes.get_xlabel() == "% of 50 samples"


def test_the_same_run_gives_the_same_file(run: Any, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_stacks(run, SOURCES, PANELS, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
