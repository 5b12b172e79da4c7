"""A merge and runs to publish, and how commands are run for it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.hub.merges import (
    merged,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    Surgery = Callable[..., subprocess.CompletedProcess[str]]

SWEEP = """\
models: {in: 'specimen:in', rl: 'specimen:rl'}
base: in
donor: rl
variants: {recipes: [specimen/in-rl-in, specimen/rl-in-rl]}
suites: [mine.yaml]
"""
SUITE = "name: sums\nrows: sums.jsonl\nmetric: m_rea\nkind: number\nmax_new_tokens: 24\n"
SUMS = "".join(
    json.dumps({"prompt": f"{a}+{b}=?", "answer": str(a + b), "id": f"{a}{b}"}) + "\n"
    for a in (1, 4)
    for b in (2, 5)
)


_folders: list[Path] = []


def runs(factory: pytest.TempPathFactory) -> Path:
    """A merge `out`, a run `run` that scored it and its parents, a sweep `many`; made once."""
    if not _folders:
        _folders.append(_make(factory.mktemp("runs")))
    return _folders[0]


def _make(room: Path) -> Path:
    (room / "sums.jsonl").write_text(SUMS)
    (room / "mine.yaml").write_text(SUITE)
    (room / "sweep.yaml").write_text(SWEEP)
    merged(room / "out")
    scored = ("out", "specimen:in", "specimen:rl")
    item = ("--suite", "mine.yaml", "--out", "run", "--base", "in", "--donor", "rl")
    lines = (("eval", *scored, *item, "--processes", "1"),
             ("sweep", "sweep.yaml", "--out", "many", "--processes", "1"))  # fmt: skip
    for line in lines:  # not forked: OpenMP's threads, which merging uses, do not survive that
        ok(subprocess.run(
            [sys.executable, "-m", "surgery", *line], cwd=room, capture_output=True, text=True,
            check=False,
        ))  # fmt: skip
    return room


def ok(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done
