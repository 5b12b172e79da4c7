"""A merge and runs to publish, and how commands are run for it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.cli.conftest import environment
from tests.hub.merges import (
    merged,
)
from tests.waiting import PATIENCE

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


_made: list[Path] = []


def runs(factory: pytest.TempPathFactory) -> Path:
    """A merge `out`, a run `run` that scored it beside its parents, a sweep `many`; made once."""
    if not _made:
        _made.append(_make(factory.mktemp("runs")))
    return _made[0]


def _make(room: Path) -> Path:
    (room / "sums.jsonl").write_text(SUMS)
    (room / "mine.yaml").write_text(SUITE)
    (room / "sweep.yaml").write_text(SWEEP)
    merged(room / "out")
    scored = ("out", "specimen:in", "specimen:rl")
    one = ("--suite", "mine.yaml", "--out", "run", "--base", "in", "--donor", "rl")
    code = (
        "import sys\nfrom surgery.cli.main import main\n"
        "for line in sys.stdin.read().splitlines():\n"
        "    sys.argv = ['surgery', *line.split()]\n"
        "    try:\n        main()\n    except SystemExit as done:\n        assert not done.code\n"
    )
    lines = (("eval", *scored, *one, "--processes", "1"),
             ("sweep", "sweep.yaml", "--out", "many", "--processes", "1"))  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=room, env=environment(), capture_output=True,
        text=True, input="\n".join(map(" ".join, lines)), timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return room


def ok(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done
