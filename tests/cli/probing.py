"""Runs that several tests look at: made once, in this process, in a folder of their own."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from surgery.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


ABLATION = ("ablation", "specimen:in", "--suite", "specimen", "--samples", "1")
SWAP = ("vision-swap", "specimen:in", "--samples", "1")
ATTENTION = ("attention", "specimen:in", "--suite", "specimen", "--samples", "1")


@dataclass(frozen=True)
class Run:
    """A run that was made, and what it printed."""

    name: str
    folder: Path
    stdout: str
    stderr: str

    def lines(self, name: str = "records.jsonl") -> list[dict]:
        return records_of(self.folder, name)

    @property
    def summary(self) -> dict:
        return json.loads((self.folder / "run.json").read_text())


def call(folder: Path, *arguments: object) -> CompletedProcess[str]:
    """`surgery ...` in a folder; must end well."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.delenv("COLUMNS", raising=False)
        patch.setattr(sys, "excepthook", sys.excepthook)
        patch.setattr(sys, "argv", ["surgery", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
    assert done.value.code in (0, None), err.getvalue()
    return CompletedProcess(sys.argv, 0, out.getvalue(), err.getvalue())


def layers_of(run: Path) -> pd.DataFrame:
    """A run's `layers.csv`."""
    return pd.read_csv(run / "layers.csv", keep_default_na=False, na_values=[""])


def names_in(run: Path) -> set[str]:
    """Files and folders, without those that only the program needs."""
    return {name for name in (path.name for path in run.iterdir()) if not name.startswith(".")}


def records_of(run: Path, name: str = "records.jsonl") -> list[dict[str, Any]]:
    """Lines of a run's `records.jsonl`, or of another file like it."""
    return [json.loads(line) for line in (run / name).read_text(encoding="utf-8").splitlines()]


def pair(**changed: object) -> dict:
    row = {
        "id": "a", "prompt": "<image>\nWhich colour?", "target_image": "red.png",
        "source_image": "blue.png", "meta": {"target_answer": "red", "source_answer": "blue"},
    }  # fmt: skip
    return row | changed


def bare(done: CompletedProcess[str]) -> str:
    return " ".join(done.stderr.replace("│", " ").split())


def refused(done: CompletedProcess[str], message: str) -> None:
    """It ended as for an error in the input: one paragraph, and nothing else."""
    assert done.returncode == 2
    assert message in bare(done)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
