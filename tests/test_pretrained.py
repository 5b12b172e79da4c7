"""No code of a checkpoint is executed, with any input on stdin."""

from __future__ import annotations

import ast
import builtins
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import eval
import merge_recipes
import surgery
from surgery import specimen
from surgery.errors import SurgeryError
from tests.cli.conftest import environment
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Poison = Callable[[Path], None]
    Poisoned = Callable[[Poison], Path]

ROOT = Path(__file__).parents[1]
LOADS = {"from_pretrained", "from_config", "load_dataset", "load_pretrained"}

CODE = """
import pathlib
pathlib.Path({sentinel!r}).write_text("ran")
class C: pass
class M: pass
class T: pass
class P: pass
class I: pass
def generate(*_, **__): pass
"""

AUTO = {
    "AutoConfig": "own.C",
    "AutoModel": "own.M",
    "AutoModelForImageTextToText": "own.M",
    "AutoModelForCausalLM": "own.M",
    "AutoTokenizer": ["own.T", "own.T"],
    "AutoImageProcessor": "own.I",
    "AutoProcessor": "own.P",
    "AutoVideoProcessor": "own.I",
}


def change(path: Path, remove: tuple[str, ...] = (), **values: Any) -> None:
    """Set and remove keys of a JSON file that may not be there."""
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({k: v for k, v in old.items() if k not in remove} | values))


def unknown_model(folder: Path) -> None:
    change(folder / "config.json", model_type="own", auto_map=AUTO)


def unknown_model_of_known_shape(folder: Path) -> None:
    change(folder / "config.json", model_type="qwen2_5_vl_own", auto_map=AUTO)


def upstream_code(folder: Path) -> None:
    auto = dict.fromkeys(AUTO, f"{folder.name}--own.C")
    change(folder / "config.json", model_type="own", auto_map=auto)


def unknown_tokenizer(folder: Path) -> None:
    change(folder / "tokenizer_config.json", tokenizer_class="T", auto_map=AUTO)
    (folder / "tokenizer.json").unlink()


def unknown_processor(folder: Path) -> None:
    change(folder / "processor_config.json", processor_class="P", auto_map=AUTO)


def unknown_image_processor(folder: Path) -> None:
    change(folder / "preprocessor_config.json", image_processor_type="I", auto_map=AUTO)


def unnamed_processor(folder: Path) -> None:
    """The processor is found by the model's type, a way that forgets trust_remote_code."""
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        change(folder / name, remove=("processor_class",))
    change(folder / "preprocessor_config.json", image_processor_type="I", auto_map=AUTO)


def audio_tokenizer(folder: Path) -> None:
    shutil.copytree(folder, folder / "audio")
    unknown_model(folder / "audio")
    change(
        folder / "processor_config.json",
        processor_class="Qwen2_5_VLProcessor",
        audio_tokenizer={
            "audio_tokenizer_class": "AutoModel",
            "audio_tokenizer_name_or_path": str(folder / "audio"),
        },
    )


def hub_kernel(folder: Path) -> None:
    change(folder / "config.json", attn_implementation="kernels-community/flash-attn")


def custom_generate(folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    shutil.copy(folder / "own.py", folder / "custom_generate" / "generate.py")
    change(folder / "generation_config.json", custom_generate=str(folder), auto_map=AUTO)


def known_model(folder: Path) -> None:
    """Transformers has classes of its own for all that the files name."""
    change(folder / "config.json", auto_map=AUTO)
    change(folder / "tokenizer_config.json", auto_map=AUTO)


REFUSED = [
    unknown_model,
    unknown_model_of_known_shape,
    upstream_code,
    unknown_tokenizer,
    unknown_processor,
    unknown_image_processor,
    unnamed_processor,
    audio_tokenizer,
    hub_kernel,
]
HARMLESS = [custom_generate, known_model]


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


@pytest.fixture
def poisoned(tmp_path: Path, sentinel: Path) -> Poisoned:
    """Make a copy of the specimen whose files name code in it."""

    def make(poison: Callable[[Path], None]) -> Path:
        folder = tmp_path / poison.__name__
        shutil.copytree(specimen.path("in"), folder)
        (folder / "own.py").write_text(CODE.format(sentinel=str(sentinel)))
        poison(folder)
        return folder

    return make


def load_everything(folder: Path) -> None:
    """Load what eval, probes and sweeps load, what training loads, what publishing checks."""
    from eval.engines.transformers import TransformersEngine
    from surgery.hub.check import check_loads
    from surgery.train.model import load_model, load_processing

    config = json.loads((folder / "config.json").read_text())
    loads: list[Callable[[], object]] = [
        lambda: TransformersEngine.load(folder, device="cpu"),
        lambda: (load_model(folder, config), load_processing(folder)),
        lambda: check_loads(folder, config),
    ]
    refusals = []
    for load in loads:
        try:
            load()
        except SurgeryError as error:
            refusals.append(str(error))
    assert len(refusals) in (0, len(loads)), refusals
    if refusals:
        raise SurgeryError("\n".join(refusals))


@pytest.mark.parametrize("poison", [*REFUSED, *HARMLESS])
def test_no_code_runs_where_every_question_is_answered_with_y(
    poisoned: Poisoned, poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[str] = []
    monkeypatch.setattr(builtins, "input", lambda text="": questions.append(text) or "y")
    folder = poisoned(poison)
    if poison in HARMLESS:
        load_everything(folder)
    else:
        with pytest.raises(SurgeryError) as error:
            load_everything(folder)
        for line in str(error.value).splitlines():
            assert re.search("never run here|Couldn't instantiate the backend tokenizer", line)
    assert questions == []


def test_a_prompt_of_somebody_else_is_left_as_it_was(poisoned: Poisoned) -> None:
    from transformers import dynamic_module_utils

    patience = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    with pytest.raises(SurgeryError):
        load_everything(poisoned(unnamed_processor))
    assert patience == dynamic_module_utils.TIME_OUT_REMOTE_CODE > 0


RUN = """
import sys
from surgery.cli.main import main

for command in {commands!r}:
    sys.argv = ["surgery", *command]
    try:
        main()
    except SystemExit as done:
        print(command[0], done.code, flush=True)
"""
SWEEP = """
models: {{in: {folder}, rl: specimen:rl}}
variants: {{plain: [in]}}
suites: [specimen]
samples: 1
"""
GRPO = """
model: {folder}
data: {{suites: [specimen], samples: 2}}
steps: 1
lr: 1.0e-3
batch: 2
group: 2
rewards: {{random: 1}}
"""


def test_yes_on_stdin_runs_nothing(tmp_path: Path, poisoned: Poisoned) -> None:
    """One real process, a real pipe full of y, every command that loads a model."""
    commands = []
    for folder in (poisoned(unknown_model_of_known_shape), poisoned(unnamed_processor)):
        sweep, grpo = (tmp_path / f"{folder.name}-{kind}.yaml" for kind in ("sweep", "grpo"))
        sweep.write_text(SWEEP.format(folder=folder))
        grpo.write_text(GRPO.format(folder=folder))
        for command in (
            ["eval", str(folder), "--suite", "specimen", "--samples", "1"],
            ["sweep", str(sweep)],
            ["probe", "ablation", str(folder), "--suite", "specimen", "--samples", "1"],
            ["train", "grpo", str(grpo)],
        ):
            commands.append([*command, "--out", f"out-{len(commands)}"])
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(commands=commands)],
        cwd=tmp_path,
        env=environment(),
        input="y\n" * 1000,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    codes = done.stdout.split()
    assert codes == [word for item in commands for word in (item[0], "2")], done.stderr
    assert done.stderr.count("never run here") == len(commands), done.stderr


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        name = getattr(node, "func", None)
        if isinstance(node, ast.Call) and LOADS & {
            getattr(name, "attr", ""),
            getattr(name, "id", ""),
        }:
            yield node


def test_every_load_says_that_it_trusts_no_code() -> None:
    """All of the packages and the helpers of the tests; what tests compare with may be plain."""
    helpers = [p for p in (ROOT / "tests").rglob("*.py") if not p.name.startswith("test_")]
    loads, bare = 0, []
    for path in [
        p for m in (surgery, eval, merge_recipes) for p in Path(m.__path__[0]).rglob("*.py")
    ] + helpers:
        for call in calls(ast.parse(path.read_text(), str(path))):
            loads += 1
            through = getattr(call.func, "id", "") == "load_pretrained"
            output = any(k.arg == "trust_remote_code" and getattr(k.value, "value", None) is False
                       for k in call.keywords)  # fmt: skip
            if not through and not output:
                bare.append(f"{path}:{call.lineno}")
    assert loads > 10
    assert bare == []
