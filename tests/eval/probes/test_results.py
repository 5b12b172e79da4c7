"""Tables are read back as they were written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eval.probes.attention import Head
from eval.probes.results import LayerValue, probe_run, table
from surgery.runs import read_run, write_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["1", "NA", "nan", "007", "1.50"])
def test_names_that_look_like_numbers_or_nothing_are_names(tmp_path: Path, name: str) -> None:
    rows = [
        LayerValue(name, layer, "response", name, "m", 0.5, 0.25, 0.75, 3) for layer in (None, 0)
    ]
    heads = [Head(name, 0, 1, "response", "m", 0.5, 0.25, 0.75, 3)]
    write_run(probe_run(table(rows), {"probe": "attention"}, table(heads, Head)), tmp_path, [])
    run = read_run(tmp_path)
    layers, single = run.layers, run.heads
    assert layers.equals(table(rows))
    assert single is not None
    assert list(single["model"]) == [name]
