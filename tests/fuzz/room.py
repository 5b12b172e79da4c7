"""The undamaged folder: one small example of everything that the commands read."""

from __future__ import annotations

import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from typer.main import get_command

from surgery import specimen
from surgery.cli.main import build
from tests.eval.samples import picture
from tests.recipe.test_fuzz import CLASSIC, SLICES

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = """\
name: mine
description: for damage
models: {in: models/in, rl: models/rl}
base: in
regions: {cuts: [2, 5]}
steps:
  - {transplant: "language[mid], !language[:].norm", from: rl}
  - {interpolate: "language[late].mlp", from: rl, method: slerp, t: [0.2, 0.8]}
  - {add: "language[early].attention", plus: rl, minus: in, weight: 0.5}
  - merge: vision
    method: ties
    models: {in: {weight: 0.5, density: 0.8}, rl: {weight: 0.5, density: 0.8}}
    parameters: {normalize: true}
output: {dtype: bfloat16, max_shard_size: 1MB}
"""
SUITE = """\
name: sums
rows: rows.jsonl
metric: accuracy
kind: number
tolerance: 0.1
columns: {group: topic}
categories: [level]
max_new_tokens: 2
"""
ROWS = [
    {"id": "a", "prompt": "1+1=?", "answer": "2", "level": "easy", "topic": "g",
     "choices": ["1", "2"], "demonstration": "It is 2."},
    {"id": "b", "prompt": "Count.", "answer": 3, "level": "hard", "image": "a.png",
     "description": "three dots", "demonstration": "It is 3."},
]  # fmt: skip
SWEEP = """\
name: many
models: {in: models/in, rl: models/rl}
base: in
donor: rl
against: in
regions: {cuts: [2, 5]}
variants:
  thirds: true
  layers: [language]
  grid: {regions: [early, mid], modules: [attention, mlp], methods: [slerp], t: [0.5]}
  recipes: [recipe.yaml]
suites: [mine.yaml]
descriptions: words.jsonl
samples: 2
seed: 1
style: plain
grader: strict
generation: {max_new_tokens: 2, temperature: 0.0, repeats: 1}
"""
SFT = """\
model: models/in
data: {suites: [mine.yaml], samples: 2}
freeze: [vision, "language[early]"]
regions: {cuts: [2, 5]}
steps: 2
batch: 2
lr: 1.0e-3
checkpoint_every: 1
log_to: []
trl: {dataloader_num_workers: 0}
"""
GRPO = SFT + "group: 2\nrewards: {exact: 1, length: 0.1}\nform: answer-tag\nmax_new_tokens: 2\n"
PAIR = {
    "id": "1", "prompt": "<image>Which colour?", "target_image": "red.png",
    "source_image": "blue.png", "metadata": {"target": {"answer": "red"},
                                             "source": {"answer": "blue"}},
}  # fmt: skip


def call(arguments: list[str]) -> str:
    """Run a command in this process and return what it printed; errors pass through."""
    stream = TextIOWrapper(BytesIO(), "utf-8", "backslashreplace", write_through=True)
    with redirect_stdout(stream), redirect_stderr(stream):
        get_command(build())(arguments, prog_name="surgery", standalone_mode=False)
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined,no-any-return]


def build_room(room: Path, server: str) -> Path:
    """Make everything; `server` is the address of one that gives sound answers."""
    (room / "models").mkdir(parents=True)
    for stage in ("in", "rl"):
        shutil.copytree(specimen.path(stage), room / "models" / stage)
    for name, content in {
        "recipe.yaml": RECIPE, "child.yaml": "extends: recipe.yaml\nname: child\n",
        "classic.yaml": CLASSIC, "slices.yaml": SLICES, "mine.yaml": SUITE, "sweep.yaml": SWEEP,
        "sft.yaml": SFT, "grpo.yaml": GRPO,
    }.items():  # fmt: skip
        (room / name).write_text(content)
    _lines(room / "rows.jsonl", ROWS)
    _lines(room / "words.jsonl", [{"id": "a", "description": "a sum"},
                                  {"image": "0" * 64, "description": "dots"}])  # fmt: skip
    (room / "a.png").write_bytes(picture().data)
    (room / "pairs" / "colour").mkdir(parents=True)
    for colour in ("red", "blue"):
        (room / "pairs" / "colour" / f"{colour}.png").write_bytes(picture(colour).data)
    _lines(room / "pairs" / "colour" / "data.jsonl", [PAIR])
    _adapter(room / "adapter")
    call(["merge", str(room / "recipe.yaml"), str(room / "out"), "--model", f"in={room}/models/in",
          "--model", f"rl={room}/models/rl", "-q"])  # fmt: skip
    call(["eval", "one", "two", "--suite", str(room / "mine.yaml"), "--out", str(room / "run"),
          "--server", server])  # fmt: skip
    return room


def build_runs(room: Path) -> None:
    """Add runs of every other kind: statistics, a probe, a training that was interrupted."""
    models = str(room / "models")
    call(["stats", "--in", f"{models}/in", "--rl", f"{models}/rl", "--out", str(room / "measured"),
          "-q", "--spectrum", "none"])  # fmt: skip
    call(["probe", "ablation", f"{models}/in", "--suite", str(room / "mine.yaml"), "--out",
          str(room / "probed"), "--layers", "0:2", "-q"])  # fmt: skip
    call(["train", "sft", str(room / "sft.yaml"), "--model", f"{models}/in", "--out",
          str(room / "trained"), "-q"])  # fmt: skip
    shutil.rmtree(room / "trained" / "model")


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _adapter(folder: Path) -> None:
    folder.mkdir()
    config = {
        "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none",
        "base_model_name_or_path": "models/in", "task_type": "CAUSAL_LM", "use_dora": False,
        "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "use_rslora": False,
        "fan_in_fan_out": False, "init_lora_weights": True, "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    stem = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
    hidden = json.loads((specimen.path("in") / "config.json").read_text())
    width = hidden.get("text_config", hidden)["hidden_size"]
    save_file(
        {f"{stem}.lora_A.weight": torch.zeros(2, width), f"{stem}.lora_B.weight":
         torch.zeros(width, 2)}, folder / "adapter_model.safetensors",
    )  # fmt: skip
