from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from surgery.cli.progress import ByteProgress

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Surgery = Callable[..., subprocess.CompletedProcess[str]]


def test_merge_then_verify(surgery: Surgery, bound: list[str], tmp_path: Path) -> None:
    done = surgery("merge", "splices/in-rl-in", "made", *bound)
    assert done.returncode == 0
    assert done.stdout.startswith("made: 228 kB in ")
    assert "0 of 81 tensors computed" in done.stdout
    assert "I R I I" in done.stderr  # the picture, before the work
    assert (tmp_path / "made" / "surgery.json").is_file()

    done = surgery("verify", "made")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("made is intact: 81 tensors and ")
    assert "81 bit-identical to their input tensor, 0 recomputed" in done.stdout


def test_quiet_and_json(surgery: Surgery, process: Surgery, bound: list[str]) -> None:
    done = surgery("merge", "splices/in-rl-in", "a", "--quiet", *bound)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = process("merge", "splices/in-rl-in", "b", "--json", "--workers", 1, *bound)
    assert done.stderr == ""
    summary = json.loads(done.stdout)
    assert (summary["out"], summary["tensors"], summary["computed"]) == ("b", 81, 0)
    # A transplant never becomes a tensor, so torch is not even loaded.
    assert summary["peak_memory_bytes"] < 200e6


def test_a_folder_is_replaced_only_on_demand(surgery: Surgery, bound: list[str]) -> None:
    assert surgery("merge", "splices/in-rl-in", "made", "-q", *bound).returncode == 0
    done = surgery("merge", "splices/rl-in-in", "made", "-q", *bound)
    assert done.returncode == 2
    assert "made: exists and is not empty" in done.stderr
    done = surgery("merge", "splices/rl-in-in", "made", "-q", "--overwrite", *bound)
    assert done.returncode == 0


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("name", ["recipe.yaml", "scores/responses.jsonl", "notes"])
def test_nothing_of_the_users_is_replaced_with_a_merge(
    surgery: Surgery, bound: list[str], tmp_path: Path, name: str, damaged: bool
) -> None:
    assert surgery("merge", "splices/in-rl-in", "made", "-q", *bound).returncode == 0
    if damaged:
        (tmp_path / "made" / "surgery.json").write_text("{")
    local = tmp_path / "made" / name
    local.parent.mkdir(exist_ok=True)
    local.write_text("extends: splices/rl-in-in\n")
    before = sorted(path.name for path in (tmp_path / "made").rglob("*"))
    done = surgery("merge", "splices/rl-in-in", "made", "-q", "--overwrite", *bound)
    assert done.returncode == 2
    assert f"{name}: is not part of the merge in made" in done.stderr
    assert local.read_text() == "extends: splices/rl-in-in\n"
    assert sorted(path.name for path in (tmp_path / "made").rglob("*")) == before


def test_verify_names_what_does_not_hold(
    surgery: Surgery, bound: list[str], tmp_path: Path
) -> None:
    surgery("merge", "splices/in-rl-in", "made", "-q", *bound)
    weights = tmp_path / "made" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    done = surgery("verify", "made", "--no-inputs")
    assert done.returncode == 2
    assert done.stdout.splitlines()[0].startswith("fault ")
    assert done.stdout.splitlines()[-1] == "made failed verification: 1 fault"
    record = json.loads(surgery("verify", "made", "--json").stdout)
    assert record["ok"] is False
    assert "has sha256" in record["faults"][0]["what"]


def test_verify_wants_a_merged_folder(
    surgery: Surgery, pair: Callable[[str], dict[str, Path]]
) -> None:
    done = surgery("verify", pair("qwen2_5_vl")["in"])
    assert done.returncode == 2
    assert "has no surgery.json, so 'surgery merge' did not write it" in done.stderr
    assert "no such folder" in surgery("verify", "nothing").stderr


def test_progress_without_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with ByteProgress("merging x", 4_000_000_000) as progress:
        for _ in range(4):
            now[0] += 5
            progress(1_000_000_000)
    assert progress.done == 4_000_000_000
    assert capsys.readouterr().err.splitlines() == [
        "merging x: 2.00 GB of 4.00 GB (50%), 200 MB/s, 10 s left",
        "merging x: 4.00 GB of 4.00 GB (100%), 200 MB/s, 0.0 s left",
    ]


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ByteProgress("merging x", None, quiet=True) as progress:
        progress(10)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("out", ["specimen:in", "hf://org/name"])
def test_a_reference_is_no_folder_to_make(
    surgery: Surgery, bound: list[str], tmp_path: Path, out: str
) -> None:
    before = set(tmp_path.iterdir())
    done = surgery("merge", "splices/in-rl-in", out, "-q", *bound)
    assert done.returncode == 2
    assert "the name of an existing model" in done.stderr
    assert set(tmp_path.iterdir()) == before


def test_no_merge_is_made_inside_a_merge(
    surgery: Surgery, bound: list[str], tmp_path: Path
) -> None:
    assert surgery("merge", "splices/in-rl-in", "made", "-q", *bound).returncode == 0
    done = surgery("merge", "splices/rl-in-in", "made/sub/two", "-q", *bound)
    assert done.returncode == 2
    assert "is inside the merged model" in done.stderr
    assert not (tmp_path / "made" / "sub").exists()
    assert surgery("verify", "made").returncode == 0
