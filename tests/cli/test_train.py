"""`surgery train`: from a YAML to a checkpoint that the other commands take."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.eval.samples import picture
from tests.report.paper import is_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    Command = Callable[..., CompletedProcess[str]]

SFT = """\
model: specimen:in
data:
  suites: [own.yaml]
freeze: [vision, projector, "language[early]"]
steps: 2
batch: 3
lr: 1.0e-3
"""
GRPO = """\
model: specimen:in
data:
  suites: [specimen]
  tasks: {arithmetic: 2, read: 1}
  samples: 8
train: language[late]
steps: 2
batch: 8
group: 4
lr: 1.0e-3
rewards: {random: 1, length: 0.1}
form: answer-tag
max_new_tokens: 16
"""


@pytest.fixture
def custom_suite(tmp_path: Path) -> Path:
    """A custom suite with and without images, and a training on it."""
    (tmp_path / "a.png").write_bytes(picture().data)
    rows = [
        {"prompt": "what is it?", "answer": "red", "image": "a.png", "demonstration": "It is red."},
        {"prompt": "1+1=?", "answer": "2", "demonstration": "<answer>2</answer>"},
        {"prompt": "2+2=?", "answer": "4", "demonstration": "<answer>4</answer>"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.yaml").write_text("name: own\nrows: rows.jsonl\n")
    (tmp_path / "sft.yaml").write_text(SFT)
    return tmp_path


def test_supervised_on_samples_of_ones_own(surgery: Command, custom_suite: Path) -> None:
    done = surgery("train", "sft", "sft.yaml", "--out", "run", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["model"] == "run/model" and record["unmoved"] == []
    assert not any("layers.0." in name for name in record["trained"])
    is_whole(custom_suite / "run" / "curves.png")
    inspected = surgery("inspect", "run/model", "--json")
    assert json.loads(inspected.stdout)["family"] == "qwen2_5_vl"


def test_reinforcement_by_rewards_of_the_table(surgery: Command, tmp_path: Path) -> None:
    (tmp_path / "grpo.yaml").write_text(GRPO)
    done = surgery("train", "grpo", "grpo.yaml", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert "frozen and unchanged, bit for bit" in done.stdout
    assert "step 2 of 2: " in done.stderr
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"reward.random", "reward.length", "reward.correct", "reward.format"} <= rows[0].keys()
    for row in rows:
        expected = float(row["reward.random"]) + 0.1 * float(row["reward.length"])
        assert float(row["reward"]) == pytest.approx(expected, abs=1e-5)
    moved = surgery("stats", "--base", "specimen:in", "--in", "run/model", "--json", "--out", "s")
    assert moved.returncode == 0, moved.stderr


def test_options_stand_in_for_the_file(surgery: Command, custom_suite: Path) -> None:
    done = surgery("train", "sft", "sft.yaml", "--out", "run", "--json", "--steps", "1", "--seed",
                   "5", "--freeze", "language[mid]", "--model", "specimen:base")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(any(f"layers.{i}." in name for i in (3, 4, 5))
               for name in json.loads(done.stdout)["frozen"])  # fmt: skip
    run = json.loads((custom_suite / "run" / "run.json").read_text())
    assert run["config"]["steps"] == 1 and run["config"]["seed"] == 5
    assert run["start"]["reference"] == "specimen:base"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "rewards: {correctt: 1}",
            "grpo.yaml:11:11: rewards: there is no reward 'correctt'. Did you",
        ),
        ("grader: kind", "there is no 'kind'"),
        ("  suites: [mathvista]", "'mathvista' is a benchmark"),
        ("  tasks: {reed: 1}", "there is no task 'reed' to train on. Did you mean 'read'?"),
        ("train: language[late].mpl", "grpo.yaml:6:"),
        ("model: specimen:inn", "no stage 'inn'"),
        ("  style: plane", "no prompt style 'plane'. Did you mean 'plain'?"),
    ],
)
def test_what_is_wrong_is_one_paragraph_and_leaves_nothing(
    surgery: Command, tmp_path: Path, change: str, message: str
) -> None:
    key = change.partition(":")[0]
    lines = [change if line.partition(":")[0] == key else line for line in GRPO.splitlines()]
    if change not in lines:
        lines.insert(3 if change.startswith(" ") else 0, change)
    (tmp_path / "grpo.yaml").write_text("\n".join(lines) + "\n")
    done = surgery("train", "grpo", "grpo.yaml", "--out", "run")
    assert done.returncode == 2, done.stdout
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_without_trl_it_says_what_to_install(
    surgery: Command, custom_suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    done = surgery("train", "sft", "sft.yaml", "--out", "run")
    assert done.returncode == 2
    assert "pip install 'vlm-surgery[train]'" in done.stderr
    assert not (custom_suite / "run").exists()
