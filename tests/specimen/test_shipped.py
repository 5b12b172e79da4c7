"""The checkpoints in the package: load with plain transformers, answer as the table says."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from eval.statistics.intervals import wilson
from surgery import specimen
from surgery.errors import SurgeryError
from surgery.execute.run import execute
from surgery.plan import make_plan
from surgery.recipe import load_recipe, opened
from surgery.specimen.world import items
from tests.specimen.training import build
from tests.specimen.training.arms import ARMS
from tests.specimen.training.batches import answer, encode, reward
from tests.specimen.training.tables import (
    TASKS,
    WAYS,
    Difference,
    HeldOut,
    arms_table,
    costs_table,
    read_rows,
    seeds_table,
)

ROOT = Path(specimen.__file__).parent

PLAIN = """
import sys, torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from PIL import Image

folder = sys.argv[1]
model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(folder)
images = AutoImageProcessor.from_pretrained(folder)
assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
pixels = images([Image.open(sys.argv[2])], return_tensors="pt")
assert pixels["image_grid_thw"].tolist() == [[1, 6, 6]]
content = [{"type": "image"}, {"type": "text", "text": "read the number"}]
text = tokenizer.apply_chat_template(
    [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
)
inputs = tokenizer(text.replace("<|image_pad|>", "<|image_pad|>" * 9), return_tensors="pt")
kinds = (inputs["input_ids"] == model.config.image_token_id).long()
out = model.generate(**inputs, **pixels, mm_token_type_ids=kinds, max_new_tokens=40)
assert "surgery" not in sys.modules
print(tokenizer.decode(out[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""


@pytest.fixture(scope="module")
def shipped_in() -> tuple[Any, Any]:
    return build.load(specimen.path("in"))


def test_paths() -> None:
    assert list(specimen.family()) == [
        "base",
        "in",
        "rl",
        "rl-frozen-early",
        "rl-frozen-mid",
        "rl-frozen-late",
    ]
    assert all((folder / "config.json").is_file() for folder in specimen.family().values())
    with pytest.raises(SurgeryError, match=r"no stage 'sft'.*base, in, rl, rl-frozen-early"):
        specimen.path("sft")


def merged(out: Path) -> Path:
    recipe = load_recipe("specimen/in-rl-in")
    with opened(recipe) as models:
        plan = make_plan(recipe, models)
        execute(plan, models, out)
    return out


@pytest.mark.parametrize("has_generation_config", [False, True], ids=["shipped", "merged"])
def test_plain_transformers_loads_and_answers(tmp_path: Path, has_generation_config: bool) -> None:
    """In a fresh process that knows nothing of this project."""
    folder = merged(tmp_path / "merged") if has_generation_config else specimen.path("in")
    item = next(i for i in items("read", 5, 0) if len(i.answer) == 5)
    assert item.image is not None
    item.image.save(tmp_path / "image.png")
    (tmp_path / "plain.py").write_text(PLAIN)
    done = subprocess.run(
        [sys.executable, "plain.py", str(folder), "image.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert reward(done.stdout, item) == 1.0


@pytest.mark.parametrize("stage", specimen.family())
def test_weights_are_bfloat16_and_complete(stage: str) -> None:
    with safe_open(specimen.path(stage) / "model.safetensors", "pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 (tied)
    assert kinds == {"BF16"}
    config = json.loads((specimen.path(stage) / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
    assert config["text_config"]["num_hidden_layers"] == 9


def test_the_checkpoints_differ_where_they_should() -> None:
    models = {n: build.load(folder)[0].state_dict() for n, folder in specimen.family().items()}
    layers = {"early": "012", "mid": "345", "late": "678"}
    for two in list(models)[1:]:
        item = "base" if two == "in" else "in"
        moved = {n for n in models[item] if not torch.equal(models[item][n], models[two][n])}
        assert not any("visual.blocks" in name for name in moved)
        still = layers.get(two.rpartition("-")[2], "")
        for layer in "012345678":
            assert any(f".layers.{layer}." in name for name in moved) == (layer not in still)


def test_in_reads_numbers(shipped_in: tuple[Any, Any]) -> None:
    questions = items("read", 60, 11)
    texts = answer(*shipped_in, questions)
    right = sum(reward(text, item) for text, item in zip(texts, questions, strict=True))
    assert right / 60 >= 0.85


def test_mixed_batches_answer_as_one_at_a_time(shipped_in: tuple[Any, Any]) -> None:
    questions = [item for task in TASKS for item in items(task, 2, 12)]
    together = answer(*shipped_in, questions, batch=8)
    separate = answer(*shipped_in, questions, batch=1)
    assert together == separate


def test_training_images_pass_unscaled(shipped_in: tuple[Any, Any]) -> None:
    batch = encode(shipped_in[1], items("read", 2, 0))
    assert batch["image_grid_thw"].tolist() == [[1, 6, 6]] * 2


def test_the_readme_says_what_the_tables_say() -> None:
    scores = read_rows(ROOT / "heldout.csv", HeldOut)
    gains = read_rows(ROOT / "differences.csv", Difference)
    names = ["base", "in", *(arm.name for arm in ARMS)]
    readme = (ROOT / "README.md").read_text()
    for way in WAYS:
        item = [s for s in scores if s.way == way]
        for line in seeds_table(item, [d for d in gains if d.way == way]):
            assert line in readme
    greedy = [s for s in scores if s.way == "greedy"]
    for line in arms_table(greedy, names):
        assert line in readme
    for line in costs_table([d for d in gains if d.way == "greedy"], names[3:]):
        assert line in readme
    for score in scores:
        interval = wilson(score.correct, score.n)
        assert (score.low, score.high) == pytest.approx((interval.low, interval.high), abs=1e-4)


def test_the_tables_hold_what_was_promised() -> None:
    scores = {
        (s.seed, s.checkpoint, s.task): s
        for s in read_rows(ROOT / "heldout.csv", HeldOut)
        if s.way == "greedy"
    }
    gains = {
        (d.seed, d.task): d
        for d in read_rows(ROOT / "differences.csv", Difference)
        if d.way == "greedy" and (d.checkpoint, d.against) == ("rl", "in")
    }
    seeds = {seed for seed, *_ in scores}
    assert seeds == {0, 1, 2}
    for seed in seeds:
        for task in ("read", "count", "recognise", "locate"):
            score = scores[seed, "in", task]
            assert score.n == 1000 and score.low > score.majority
            fallen = gains[seed, task].difference
            assert fallen > -0.05 or (seed, task) == (1, "read")  # as the README tells
        for task in ("arithmetic", "expression"):
            assert 0.35 < scores[seed, "in", task].accuracy < 0.75
    for task in ("arithmetic", "expression"):
        assert sum(gains[seed, task].low > 0 for seed in seeds) >= 2


def test_the_weights_are_the_ones_on_record() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, folder in specimen.family().items():
        digest = sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        assert f"| {name} | `{digest}` |" in readme


def test_everything_together_stays_small() -> None:
    total = sum(f.stat().st_size for f in ROOT.rglob("*") if f.is_file() and f.suffix != ".pyc")
    assert total < 30_000_000
