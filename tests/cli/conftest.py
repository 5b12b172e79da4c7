"""The command line as people meet it: a process with an exit code and two streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def environment(**extra: str) -> dict[str, str]:
    """A clean one: no colour, no network, this checkout."""
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")}
    return {**kept, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **extra}


Run = "Callable[..., subprocess.CompletedProcess[str]]"


@pytest.fixture
def surgery(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `surgery ...` in an empty folder; with `code=`, Python code before `main()`."""

    def run(*arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
        start = f"import sys\nfrom surgery.cli.main import main\n{code}\nmain()"
        return subprocess.run(
            [sys.executable, "-c", start, *map(str, arguments)],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def bound(pair: Callable[[str], dict[str, Path]]) -> list[str]:
    """`--model` options that bind `in` and `rl` to tiny Qwen2.5-VL models."""
    models = pair("qwen2_5_vl")
    return [f"--model=in={models['in']}", f"--model=rl={models['rl']}"]
