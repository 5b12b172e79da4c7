"""The command line as people meet it: a process with an exit code and two streams."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from surgery.cli.main import main
from tests.eval.samples import picture
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def environment(**extra: str) -> dict[str, str]:
    """A clean one: no colour, no network, this checkout."""
    stored = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")}
    return {
        **stored,
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **extra,
    }


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `surgery ...` as a process in an empty folder; `code=` runs before it."""

    def run(*arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
        start = f"import sys\nfrom surgery.cli.main import main\n{code}\nmain()"
        return subprocess.run(
            [sys.executable, "-c", start, *map(str, arguments)],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return run


@pytest.fixture
def surgery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same within this process, without the second it takes to start one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["surgery", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        text = capsys.readouterr()
        code = done.value.code if isinstance(done.value.code, int) else 0
        return subprocess.CompletedProcess(sys.argv, code, text.out, text.err)

    return run


@pytest.fixture
def bound(pair: Callable[[str], dict[str, Path]]) -> list[str]:
    """`--model` options that bind `in` and `rl` to tiny Qwen2.5-VL models."""
    models = pair("qwen2_5_vl")
    return [f"--model=in={models['in']}", f"--model=rl={models['rl']}"]


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Four sums as text; a custom suite."""
    rows = [{"prompt": f"{a}+{b}=?", "answer": str(a + b), "id": f"{a}{b}"}
            for a in (1, 4) for b in (2, 5)]  # fmt: skip
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text(
        "name: sums\nrows: sums.jsonl\nmetric: m_rea\nkind: number\nmax_new_tokens: 24\n"
    )
    return tmp_path / "mine.yaml"


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder of pairs, from objects of one task."""

    def write(*rows: dict, task: str = "colour") -> Path:
        folder = tmp_path / "pairs" / task
        folder.mkdir(parents=True, exist_ok=True)
        for colour in ("red", "blue"):
            (folder / f"{colour}.png").write_bytes(picture(colour).data)
        (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder.parent

    return write


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A merge and runs in the folder where commands run."""
    from tests.cli.publishing import runs

    shutil.copytree(runs(tmp_path_factory), tmp_path, dirs_exist_ok=True)
    return tmp_path
