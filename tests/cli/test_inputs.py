"""No command changes a byte, a time or a name of what it was given to read."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from surgery import specimen
from tests.cli.probing import call, pair
from tests.eval.samples import picture
from tests.runs.test_folder import state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    Surgery = Callable[..., CompletedProcess[str]]

TRAINING = """
model: IN
data: {suites: [IN/../mine.yaml]}
train: language[8]
steps: 1
lr: 1.0e-3
batch: 1
"""
MERGEKIT = """
merge_method: slerp
base_model: IN
models: [{model: IN}, {model: RL}]
parameters: {t: 0.5}
dtype: float32
"""
FILES = {
    "recipe.yaml": "models: {in: IN, rl: RL}\nbase: in\nsteps:\n  - transplant: language[late]\n"
    "    from: rl\n",
    "mine.yaml": "name: mine\nrows: rows.jsonl\nmetric: m_v2r\nmax_new_tokens: 4\n",
    "rows.jsonl": json.dumps(
        {"prompt": "what is it?", "answer": "red", "image": "a.png", "id": "a",
         "demonstration": "It is red."}
    ),
    "descriptions.jsonl": '{"id": "a", "description": "A red square."}',
    "texts.jsonl": '{"task": "mine", "sample": "a", "text": "It is red."}',
    "sweep.yaml": "models: {in: IN, rl: RL}\nbase: in\nvariants: {recipes: [recipe.yaml]}\n"
    "suites: [mine.yaml]\ndescriptions: descriptions.jsonl\n",
    "sft.yaml": TRAINING,
    "mergekit.yaml": MERGEKIT,
}  # fmt: skip
"""No line ends with a newline that a reader might miss or repair."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return every kind of input: models, files, and the runs of other commands."""
    root = tmp_path_factory.mktemp("inputs")
    for stage in ("in", "rl"):
        shutil.copytree(specimen.path(stage), root / stage)
    for name, text in FILES.items():
        filled = text.replace("IN", str(root / "in")).replace("RL", str(root / "rl"))
        (root / name).write_text(filled.rstrip("\n"))
    (root / "a.png").write_bytes(picture("red").data)
    task = root / "pairs" / "colour"
    task.mkdir(parents=True)
    for colour in ("red", "blue"):
        (task / f"{colour}.png").write_bytes(picture(colour).data)
    (task / "data.jsonl").write_text(json.dumps(pair()))
    models = ("--in", root / "in", "--rl", root / "rl")
    call(root, "stats", *models, "--out", "stats", "--spectrum", "none")
    call(root, "eval", root / "in", root / "rl", "--suite", "mine.yaml", "--out", "eval",
         "--processes", "1", "--descriptions", "descriptions.jsonl")  # fmt: skip
    call(root, "probe", "ablation", root / "in", "--suite", "mine.yaml", "--layers", "0:2",
         "--score", "logprob", "--out", "probe")  # fmt: skip
    call(root, "merge", "recipe.yaml", "merged")
    return root


COMMANDS = [
    "inspect I/in",
    "plan I/recipe.yaml --out-svg plan.svg",
    "merge I/recipe.yaml out",
    "verify I/merged",
    "stats --in I/in --rl I/rl --out out --spectrum none",
    "eval I/in I/recipe.yaml --suite I/mine.yaml --descriptions I/descriptions.jsonl --out out "
    "--processes 1",
    "sweep I/sweep.yaml --out out --processes 1",
    "compare I/eval",
    "probe ablation I/merged --suite I/mine.yaml --layers 0:2 --score logprob --out out",
    "probe attention I/in --suite I/mine.yaml --text I/texts.jsonl --out out",
    "probe vision-swap I/in --pairs I/pairs --layers 0:2 --out out --max-new-tokens 2",
    "profile I/stats I/probe --out out",
    "freeze I/in language[late]",
    "train sft I/sft.yaml --out out",
    "recipe show I/recipe.yaml",
    "recipe from-mergekit I/mergekit.yaml",
    "recipe to-mergekit I/recipe.yaml",
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda text: " ".join(text.split()[:2]))
def test_inputs_stay_as_they_are(inputs: Path, tmp_path: Path, command: str) -> None:
    before = state(inputs)
    call(tmp_path, *command.replace("I/", f"{inputs}/").split())
    assert state(inputs) == before


REFUSED = [
    *(
        (f"{command} --out I/{place}", "Choose another|Choose a new|replaces")
        for command in (
            "stats --in I/in --rl I/rl --spectrum none",
            "eval I/in --suite I/mine.yaml",
            "sweep I/sweep.yaml",
            "probe ablation I/in --suite I/mine.yaml --layers 0:2",
            "probe attention I/in --suite I/mine.yaml",
            "probe vision-swap I/in --pairs I/pairs",
            "profile I/stats I/probe",
            "train sft I/sft.yaml",
            "demo",
        )
        for place in ("in", "recipe.yaml", ".", "eval" if "stats" in command else "stats")
    ),
    ("plan I/recipe.yaml --out-svg I/recipe.yaml", "is not a picture of a plan"),
    ("plan I/recipe.yaml --out-svg I/in/config.json", "is not a picture of a plan"),
    ("recipe new I/recipe.yaml", "already exists"),
    ("merge I/recipe.yaml I/in --overwrite", "the model 'in'"),
    ("merge I/recipe.yaml I/eval --overwrite", "not written by this toolkit"),
    ("merge I/recipe.yaml I/. --overwrite", "is, or holds, the model"),
    ("merge I/recipe.yaml I/merged", "exists and is not empty"),
    ("eval I/in --suite I/mine.yaml --out I/eval --describe m@http://localhost:1 --descriptions "
     "I/eval/descriptions.jsonl", "Omit --descriptions"),
    ("probe attention I/in --suite I/mine.yaml --text I/attention/records.jsonl --out I/attention",
     "whose files this run replaces"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "message"), REFUSED, ids=[text for text, _ in REFUSED])
def test_what_would_change_them_is_refused(
    surgery: Surgery, inputs: Path, command: str, message: str
) -> None:
    if "I/attention" in command and not (inputs / "attention").exists():
        call(inputs, "probe", "attention", inputs / "in", "--suite", "mine.yaml", "--text",
             "texts.jsonl", "--out", "attention")  # fmt: skip
    if "I/eval/descriptions" in command:
        shutil.copy(inputs / "descriptions.jsonl", inputs / "eval")
    before = state(inputs)
    done = surgery(*command.replace("I/", f"{inputs}/").split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(message, " ".join(done.stderr.split())), done.stderr
    assert state(inputs) == before
