"""The demo, with two questions of each kind: how it works, not how well the models do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from surgery.cli.demo import VARIANTS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    Process = Callable[..., subprocess.CompletedProcess[str]]


# One process: a second one would load its libraries for longer than it would help.
ALONE = "import surgery.cli.demo\nsurgery.cli.demo._processes = lambda: 1\n"
NO_QUESTIONS = """
import surgery.cli.demo, typer
def stop(*_): raise typer.Exit(0)
surgery.cli.demo._ask = stop
"""
TASKS = ["read", "count", "recognise", "locate", "expression", "combine", "arithmetic"]


def test_the_demo_merges_asks_and_prints(
    process: Process, surgery: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = process("demo", "--out", "out", "--samples", 2, code=ALONE)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "[1/4] merging 6 variants of the specimen into out"
    assert lines[1].startswith("      in-rl-rl  IIIRRRRRR  merged in ")
    assert lines[7] == "[2/4] asking 9 models the same questions"
    assert lines[8].startswith("      base: 26 responses; 1 of 9 variants, ")
    assert "[3/4] measuring what each stage of training changed in the weights" in lines
    assert "[4/4] swapping the image from each layer of specimen:rl on" in lines
    assert lines[-1].startswith("      rl swapped: 40 responses; ")

    scores, _, updates = done.stdout.partition("relative change of every layer")
    assert all(task in scores for task in TASKS)
    row = next(line for line in scores.splitlines() if line.startswith("in-rl-in"))
    assert row.split()[1] == "IIIRRRIII"
    assert "Power (80%, two-sided 5%)" in scores
    assert "regions, in..rl" in updates
    assert "rl, from: answers that follow the source image" in updates
    assert (tmp_path / "out" / "probe" / "vision-swap.png").is_file()
    assert (tmp_path / "out" / "stats" / "profile.png").is_file()
    for name in ("records.jsonl", "scores.csv", "pairs.csv", "run.json", "scores.png"):
        assert (tmp_path / "out" / "scores" / name).is_file()

    monkeypatch.setattr("surgery.cli.demo._processes", lambda: 1)
    again = surgery("demo", "--out", "out", "--samples", 2, "--json")
    assert again.returncode == 0, again.stderr
    assert "rl-in-rl: 26 responses, all from the earlier run" in again.stderr
    record = json.loads(again.stdout)
    assert record["updates"]["in..rl"]["vision"]["delta_norm"] == 0
    assert record["layers"]["rl-in-rl"] == ["rl"] * 3 + ["in"] * 3 + ["rl"] * 3
    swapped = [s for s in record["swaps"] if (s["task"], s["metric"]) == ("ocr", "source")]
    assert [s["layer"] for s in swapped] == [None, *range(9)]
    names = list(dict.fromkeys(score["variant"] for score in record["scores"]))
    assert names == ["base", "in", "rl", *VARIANTS]
    result = {(s["variant"], s["task"], s["measure"]): s for s in record["scores"]}
    assert result["rl", "read", "m_vis"]["n"] == 2


def test_only_what_is_proven_is_kept(process: Process, tmp_path: Path) -> None:
    assert process("demo", "--out", "out", code=NO_QUESTIONS).returncode == 0
    (tmp_path / "out" / "in-rl-rl" / "config.json").write_text("{}")
    (tmp_path / "out" / "rl-in-in" / "surgery.json").write_text("{}")
    lines = process("demo", "--out", "out", code=NO_QUESTIONS).stderr.splitlines()
    assert ["merged" in line for line in lines[1:7]] == [True, True, False, False, False, False]
    assert all(line.endswith("verified, kept") for line in lines[3:7])


def test_a_folder_of_someone_elses_is_left_alone(process: Process, tmp_path: Path) -> None:
    local = tmp_path / "out" / "in-rl-rl"
    local.mkdir(parents=True)
    (local / "thesis.txt").write_text("precious")
    done = process("demo", "--out", "out")
    assert done.returncode == 2
    assert (local / "thesis.txt").read_text() == "precious"
