"""The README's example in a real notebook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

README = Path(__file__).parents[2] / "README.md"


def cells() -> list[str]:
    """The README's example on the Python API, as a reader pastes it, one cell per paragraph."""
    (example,) = re.findall(r"```python\n(import surgery as vs\n.*?)```", README.read_text(), re.S)
    return [cell for cell in example.split("\n\n") if cell.strip()]


@pytest.mark.timeout(900)
def test_the_readmes_example_runs_in_a_notebook(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook()
    for cell in cells():
        notebook.cells.append(nbformat.v4.new_code_cell(cell.replace("samples=50", "samples=2")))
    displayed = ["plan", "stats", "scores", "run", "stats.plot('profile')", "scores.plot()"]
    notebook.cells += [nbformat.v4.new_code_cell(name) for name in displayed]
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    outputs: dict[str, Any] = {
        cell.source: cell.outputs[-1]["data"] for cell in notebook.cells[-len(displayed) :]
    }
    assert "<pre" in outputs["plan"]["text/html"] and "language" in outputs["plan"]["text/plain"]
    for name in ("stats", "scores", "run"):
        assert "<table" in outputs[name]["text/html"]
    for name in ("stats.plot('profile')", "scores.plot()"):
        assert outputs[name]["image/png"]
    assert (tmp_path / "out" / "in-rl-in" / "surgery.json").is_file()
