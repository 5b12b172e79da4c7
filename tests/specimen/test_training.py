"""Training: every job runs, resumes, and what is measured is what its formula says."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from surgery.specimen.world import items
from tests.specimen.training import build, cold, sft
from tests.specimen.training.arms import ARMS
from tests.specimen.training.batches import IGNORE, encode, parse, reward
from tests.specimen.training.journal import read_journal
from tests.specimen.training.tables import (
    TASKS,
    WAYS,
    Difference,
    HeldOut,
    read_correct,
    read_rows,
    write_rows,
)
from tests.specimen.training.train import SHIPPED

ROOT = Path(__file__).parents[2]


def python(module: str, *arguments: object) -> str:
    """Run a module of the package; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = tmp_path_factory.mktemp("untrained")
    tokenizer = build.build_tokenizer()
    build.save(build.build_model(tokenizer, 0), tokenizer, folder)
    return build.load(folder)


@pytest.mark.timeout(1800)
def test_the_whole_pipeline_at_toy_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `make specimen-smoke` runs it; one test, so that two processes do not both run it."""
    smoke = tmp_path / "run"
    python("tests.specimen.training.train", "--out", smoke, "--seeds", 1, "--smoke")
    a_family_and_its_report(smoke)
    each_third_stood_still(smoke)
    vision_stood_still_but_for_its_merger(smoke)
    what_is_done_is_not_done_again(smoke)
    a_cold_start_goes_on_at_the_stage_it_stood_in(smoke, tmp_path / "again", capsys)


def a_family_and_its_report(smoke: Path) -> None:
    for name in SHIPPED:
        model, processor = build.load(smoke / name)
        assert model.dtype == torch.float32
        assert len(processor.tokenizer) == model.config.text_config.vocab_size
        assert not (smoke / name / "training.json").exists()
    report = smoke / "report"
    scores = read_rows(report / "heldout.csv", HeldOut)
    names = {"base", "in", *(arm.name for arm in ARMS)}
    assert {(s.checkpoint, s.task, s.way) for s in scores} == {
        (name, task, way) for name in names for task in TASKS for way in WAYS
    }
    gains = read_rows(report / "differences.csv", Difference)
    assert {d.checkpoint for d in gains if d.against == "in"} == names - {"base", "in"}
    for arm in ARMS:
        assert (smoke / "seed-0" / arm.name / "log.csv").exists()


def each_third_stood_still(smoke: Path) -> None:
    start = build.load(smoke / "in")[0].state_dict()
    for third, layers in (("early", "012"), ("mid", "345"), ("late", "678")):
        after = build.load(smoke / f"rl-frozen-{third}")[0].state_dict()
        moved = {name for name in start if not torch.equal(start[name], after[name])}
        assert not any("visual.blocks" in name for name in moved)
        assert not any(f"layers.{layer}." in name for layer in layers for name in moved)
        record = json.loads(
            (smoke / "seed-0" / f"rl-frozen-{third}" / "model" / "training.json").read_text()
        )
        numbers = {
            re.findall(r"layers\.(\d)\.", name)[0] for name in record["frozen"] if "layers" in name
        }
        assert numbers == set(layers)


def vision_stood_still_but_for_its_merger(smoke: Path) -> None:
    before, _ = build.load(smoke / "seed-0" / "stages" / "vision")
    after, _ = build.load(smoke / "seed-0" / "stages" / "reason")
    moved = {
        name.split(".")[2]
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if name.startswith("model.visual") and not torch.equal(old, new)
    }
    assert moved == {"merger"}


def what_is_done_is_not_done_again(smoke: Path) -> None:
    before = {path: path.read_bytes() for path in smoke.rglob("*.csv")}
    python("tests.specimen.training.train", "--out", smoke, "--seeds", 1, "--smoke")
    assert {path: path.read_bytes() for path in smoke.rglob("*.csv")} == before


def a_cold_start_goes_on_at_the_stage_it_stood_in(
    smoke: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stage in ("start", "vision", "caption"):
        (folder / "stages").mkdir(parents=True, exist_ok=True)
        (folder / "stages" / stage).symlink_to(smoke / "seed-0" / "stages" / stage)
    cold.train_seed(folder, 0, smoke=True)
    err = capsys.readouterr().err
    assert "caption: complete, skipped" in err and "see: complete" not in err
    stages = [row["stage"] for row in read_journal(folder / "cold.csv")]
    assert list(dict.fromkeys(stages)) == ["see", "reason"]
    for name in ("base", "in"):
        actual, reference = (build.load(home / name)[0].state_dict()
                        for home in (folder, smoke / "seed-0"))  # fmt: skip
        assert all(torch.equal(actual[key], reference[key]) for key in actual)


def test_demonstrations_seldom_show_a_rare_fact() -> None:
    plan = sft.SftPlan("x", 1, 1, 1.0, {"arithmetic": 1.0}, rare=0.1, seed=3)
    displayed = [item.rare for item, _ in islice(sft.demonstrations(plan), 600)]
    whole = sft.SftPlan("x", 1, 1, 1.0, {"arithmetic": 1.0}, rare=1.0, seed=3)
    all_of_them = [item.rare for item, _ in islice(sft.demonstrations(whole), 600)]
    share = sum(all_of_them) / 600
    assert sum(displayed) / 600 == pytest.approx(share / 10 / (1 - share + share / 10), abs=0.04)


def test_the_tokenizer_is_the_same_every_time() -> None:
    tokenizer, two = build.build_tokenizer(), build.build_tokenizer()
    assert tokenizer.get_vocab() == two.get_vocab()
    assert len(tokenizer) == build.VOCABULARY
    tags = [tokenizer.convert_tokens_to_ids(tag) for tag in build.TAGS]
    assert tokenizer.decode(tags, skip_special_tokens=True) == "".join(build.TAGS)
    assert len(tokenizer.tokenize("9-13")) == 4


def test_labels_are_the_reply_and_its_end(untrained: tuple[Any, Any]) -> None:
    _, processor = untrained
    rows = [*items("read", 2, 0), *items("arithmetic", 2, 0)]
    batch = encode(processor, rows, [row.target for row in rows])
    for labels, row in zip(batch["labels"], rows, strict=True):
        assert processor.decode(labels[labels != IGNORE]) == row.target + "<|im_end|>"


def test_loss_on_tails_only_equals_the_models_own(untrained: tuple[Any, Any]) -> None:
    model, processor = untrained
    rows = [*items("read", 2, 0), *items("arithmetic", 2, 0)]
    batch = encode(processor, rows, [row.target for row in rows])
    with torch.no_grad():
        logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits
        whole = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
        )
        tails = sft.token_loss(model, batch)
    torch.testing.assert_close(tails, whole)


@pytest.mark.parametrize(
    ("response", "parts"),
    [
        ("<think>5-1=4;4-9=5</think><answer>5</answer>", ("5-1=4;4-9=5", "5")),
        ("<think></think><answer>5</answer>", None),
        ("<think>1</think><answer>5", None),
        ("<think>1</think> <answer>5</answer>", None),
        ("<think>1</think><answer>5</answer>5", None),
        ("5", None),
    ],
)
def test_the_format_is_strict(response: str, parts: tuple[str, str] | None) -> None:
    assert parse(response) == parts
    item = next(i for i in items("arithmetic", 50, 0) if i.answer == "5")
    assert reward(response, item) == float(parts is not None)


def test_only_right_answers_in_the_strict_format_count(tmp_path: Path) -> None:
    right = "<think>5-1=4;4-9=5</think><answer>5</answer>"
    rows = [
        ("arithmetic", "text", "a", right, True),
        ("arithmetic", "text", "b", "<answer>5</answer>", True),
        ("arithmetic", "text", "c", right, False),
        ("read", "image", "d", right, True),
        ("read", "blank", "e", right, True),
        ("combine", "image", "f", right, True),
    ]
    names = ("task", "condition", "sample", "text", "correct")
    lines = [json.dumps({"variant": "in", **dict(zip(names, row, strict=True))}) for row in rows]
    (tmp_path / "records.jsonl").write_text("\n".join(lines) + "\n")
    assert read_correct(tmp_path / "records.jsonl") == {
        ("in", "arithmetic"): {"a": True, "b": False, "c": False},
        ("in", "read"): {"d": True},
    }


def test_rows_come_back_from_their_csv(tmp_path: Path) -> None:
    scores = [HeldOut(0, "in", "read", "greedy", 10, 9, 0.5957, 0.9821, 0.1, math.nan, math.nan)]
    write_rows(tmp_path / "a.csv", scores)
    (back,) = read_rows(tmp_path / "a.csv", HeldOut)
    assert back.accuracy == 0.9 and math.isnan(back.rare)
    assert (back.seed, back.low) == (0, 0.5957)


def test_the_rate_stays_until_a_skill_is_there_and_then_falls() -> None:
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = sft.Falling(optimizer, 0.5, 10)
    rates = []
    for step in range(60):
        if step == 30:
            schedule.fall(step)
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step()
        if schedule.over(step):
            break
    assert rates[0] < rates[5] < rates[11] == 0.5
    assert rates[11:31] == [0.5] * 20  # up to the step it begins at
    assert rates[31:] == sorted(rates[31:], reverse=True) and len(rates) == 40
    assert rates[-1] == pytest.approx(0.5 * 0.05, rel=0.5)
