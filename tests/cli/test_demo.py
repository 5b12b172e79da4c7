"""The demo, with two questions of each kind: how it works, not how well the models do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from surgery.cli.demo import VARIANTS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Process = Callable[..., subprocess.CompletedProcess[str]]


# One process: a second one would load its libraries for longer than it would help.
ALONE = "import surgery.cli.demo\nsurgery.cli.demo._processes = lambda: 1\n"
NO_QUESTIONS = """
import surgery.cli.demo, typer
def stop(folders, questions): raise typer.Exit(0)
surgery.cli.demo._ask = stop
"""


def test_the_demo_merges_asks_and_prints(process: Process, tmp_path: Path) -> None:
    done = process("demo", "--out", "out", "--samples", 2, code=ALONE)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert said[0] == "[1/3] merging 6 variants of the specimen into out"
    assert said[1].startswith("      in-rl-rl  IIIRRRRRR  merged in ")
    assert said[7] == "[2/3] asking 9 models the same 8 held-out questions"
    assert said[-1] == "[3/3] measuring what each stage of training changed in the weights"
    table, _, updates = done.stdout.partition("relative change of every layer")
    rows = {line.split()[0]: line.split() for line in table.splitlines() if line.strip()}
    assert rows["variant"][1:] == ["layers", "0-8", "read", "count", "arithmetic", "expression"]
    assert rows["in-rl-in"][1] == "IIIRRRIII"
    assert len(rows["in-rl-in"]) == 2 + 2 * 4

    assert "regions, in..rl" in updates
    assert (tmp_path / "out" / "stats" / "profile.png").is_file()
    record = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert record["updates"]["in..rl"]["vision"]["delta_norm"] == 0
    models = {model["name"]: model for model in record["models"]}
    assert list(models) == ["base", "in", "rl", *VARIANTS]
    assert models["rl-in-rl"]["layers"] == ["rl"] * 3 + ["in"] * 3 + ["rl"] * 3
    assert models["rl-in-rl"]["scores"]["read"]["n"] == 2
    assert len(models["rl-in-rl"]["correct"]["read"]) == 2


def test_only_what_is_proven_is_kept(process: Process, tmp_path: Path) -> None:
    assert process("demo", "--out", "out", code=NO_QUESTIONS).returncode == 0
    (tmp_path / "out" / "in-rl-rl" / "config.json").write_text("{}")
    (tmp_path / "out" / "rl-in-in" / "surgery.json").write_text("{}")
    said = process("demo", "--out", "out", code=NO_QUESTIONS).stderr.splitlines()
    assert ["merged" in line for line in said[1:7]] == [True, True, False, False, False, False]
    assert all(line.endswith("verified, kept") for line in said[3:7])


def test_a_folder_of_someone_elses_is_left_alone(process: Process, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "in-rl-rl"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("precious")
    done = process("demo", "--out", "out")
    assert done.returncode == 2
    assert (mine / "thesis.txt").read_text() == "precious"
