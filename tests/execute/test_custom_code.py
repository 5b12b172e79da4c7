"""Checkpoints with custom Python code: copied, hashed, reported, and never run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import snapshot_download

from surgery.checkpoint.custom_code import CustomCode, find_code
from surgery.checkpoint.ledger import read_ledger
from surgery.errors import CheckpointError, PublishError
from surgery.execute.verify import verify
from surgery.hub.check import check_loads
from surgery.train.model import load_model
from tests.cli.conftest import surgery
from tests.execute.merging import merge, recipe_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.hub import Hub

pytestmark = pytest.mark.filterwarnings("ignore::surgery.arch.resolve.ArchitectureWarning")

__all__ = ["surgery"]  # the command line's fixture

MOVE = "  - transplant: language[1]\n    from: rl"
RUN = "import os, pathlib\npathlib.Path(os.environ['SENTINEL'], __name__.split('.')[-1]).touch()\n"
CODE = {
    "configuration_own.py": f"""{RUN}
from transformers import LlamaConfig

class OwnConfig(LlamaConfig):
    model_type = "own_llama"
""",
    "modeling_own.py": f"""{RUN}
from transformers import LlamaForCausalLM
from .configuration_own import OwnConfig
from .blocks import scale

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
""",
    "blocks.py": f"{RUN}\nscale = 1\n",
}
AUTO_MAP = {
    "AutoConfig": "configuration_own.OwnConfig",
    "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
}


def give_code(folder: Path, code: Mapping[str, str] = CODE, model_type: str = "own_llama") -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": model_type, "auto_map": AUTO_MAP, "architectures": ["OwnForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    for name, text in code.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def models(pair, tmp_path) -> dict[str, Path]:
    """Make IN and RL of a type that transformers does not have."""
    result = {n: shutil.copytree(pair("llama")[n], tmp_path / n) for n in ("in", "rl")}
    for folder in result.values():
        give_code(folder)
    return result


@pytest.fixture
def ran(tmp_path, monkeypatch) -> Callable[[], set[str]]:
    """Return the names of the modules that any process imported."""
    (tmp_path / "ran").mkdir()
    monkeypatch.setenv("SENTINEL", str(tmp_path / "ran"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return lambda: {path.name for path in (tmp_path / "ran").iterdir()}


LOAD = """
import sys
from transformers import AutoModelForCausalLM
model, found = AutoModelForCausalLM.from_pretrained(
    sys.argv[1], trust_remote_code=True, output_loading_info=True, dtype="auto")
assert not found["missing_keys"] and not found["unexpected_keys"], found
print(type(model).__name__)
"""


def test_the_output_loads_with_trust_and_nothing_ran_before(models, tmp_path, ran):
    out = tmp_path / "out"
    merge(recipe_text(models, MOVE), out)
    assert {name: (out / name).read_text() for name in CODE} == CODE
    listed = {entry.name: entry.source for entry in read_ledger(out).files}
    assert all(listed[name] == "in" for name in CODE)
    assert verify(out).ok
    card = (out / "README.md").read_text()
    assert "`blocks.py`, `configuration_own.py`, `modeling_own.py`" in card
    assert "trust_remote_code=True" in card
    assert "- custom_code" in card
    config = json.loads((out / "config.json").read_text())
    with pytest.raises(CheckpointError, match="Custom code is never run here"):
        load_model(out, config)
    with pytest.raises(PublishError, match="Custom code is never run here"):
        check_loads(out, config)
    assert ran() == set()
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(out)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.stdout.strip() == "OwnForCausalLM", done.stderr
    assert ran() == {"blocks", "configuration_own", "modeling_own"}


def test_changed_code_is_a_fault(models, tmp_path):
    merge(recipe_text(models, MOVE), tmp_path / "out")
    (tmp_path / "out" / "blocks.py").write_text("import os")
    (tmp_path / "out" / "other.py").write_text("import os")
    for inputs in (True, False):
        result = {fault.where for fault in verify(tmp_path / "out", inputs=inputs).faults}
        assert result == {"blocks.py", "other.py"}


def test_every_command_that_would_run_it_refuses(models, tmp_path, ran, surgery):
    (tmp_path / "recipe.yaml").write_text(recipe_text(models, MOVE))
    done = surgery("merge", tmp_path / "recipe.yaml", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stderr.split())
    assert "names custom Python code (blocks.py, configuration_own.py, modeling_own.py)" in words
    for command in (
        ("eval", tmp_path / "out", "--suite", "specimen", "--out", tmp_path / "run"),
        ("publish", tmp_path / "out", "me/out", "--dry-run", "--license", "mit"),
    ):
        done = surgery(*command)
        words = " ".join(done.stderr.split())
        assert done.returncode == 2, done.stderr
        assert "Custom code is never run here" in words, words
    assert ran() == set()


def test_a_type_that_transformers_has_needs_no_code(pair, tmp_path, ran):
    models = {n: shutil.copytree(pair("llama")[n], tmp_path / n) for n in ("in", "rl")}
    give_code(models["in"], model_type="llama")
    merge(recipe_text(models, MOVE), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert type(load_model(tmp_path / "out", config)).__name__ == "LlamaForCausalLM"
    assert ran() == set()


@pytest.mark.parametrize(
    ("config", "files", "code_files"),
    [
        (
            {"auto_map": {"AutoModel": "org/name--modeling.Own"}},
            {"a.py": ""},
            ([], [], ["org/name"]),
        ),
        ({"auto_map": {"AutoTokenizer": ["t.Slow", None]}}, {"t.py": ""}, (["t.py"], [], [])),
        ({"auto_map": {"AutoModel": "gone.Own"}}, {"a.py": ""}, ([], ["gone.py"], [])),
        ({"text_config": {"auto_map": {"AutoConfig": "c.Own"}}}, {"c.py": ""}, (["c.py"], [], [])),
        (
            {"auto_map": {"AutoModel": "own-2/m-1.Own"}},
            {"own-2/m-1.py": ""},
            (["own-2/m-1.py"], [], []),
        ),
        ({"auto_map": {"AutoModel": "/etc/m.Own"}}, {"a.py": ""}, ([], [], [])),
        ({"auto_map": {}}, {"a.py": ""}, ([], [], [])),
        ({"auto_map": "text", "model": "a.b"}, {"a.py": ""}, ([], [], [])),
        ({"auto_map": {"AutoModel": "../../up.Own"}}, {}, ([], [], [])),
        (
            {"auto_map": {"AutoModel": "m.Own"}},
            {
                "m.py": "from .sub.inner import x\nfrom . import (\n  near,\n  other as o)\n",
                "sub/__init__.py": "",
                "sub/inner.py": "from ..far import y\nfrom .leaf import z\nfrom ...out import no",
                "sub/leaf.py": "this is (not python",
                "sub/unused.py": "",
                "near/__init__.py": "",
                "far.py": "",
                "beside.py": "",
                "no module.py": "",
                "no`module.py": "",
                "train/script.py": "",
            },
            (
                [
                    "beside.py",
                    "far.py",
                    "m.py",
                    "near/__init__.py",
                    "sub/__init__.py",
                    "sub/inner.py",
                    "sub/leaf.py",
                ],
                [],
                [],
            ),
        ),
    ],
)
def test_code_is_found_as_loaders_find_it(tmp_path, config, files, code_files):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "processor_config.json").write_text(json.dumps(config))
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    custom_code = CustomCode(*map(tuple, code_files))
    assert find_code(folder, ["processor_config.json", "absent_config.json"]) == custom_code


def test_code_that_leads_out_of_the_folder_is_refused(models, tmp_path):
    (tmp_path / "outside.py").write_text("secret = 1")
    (models["in"] / "blocks.py").unlink()
    (models["in"] / "blocks.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(CheckpointError, match="points outside its folder"):
        merge(recipe_text(models, MOVE), tmp_path / "out")


def test_code_comes_from_the_hub_and_goes_there(models, tmp_path, ran, hub: Hub, surgery):
    for name, folder in models.items():
        (folder / "deep").mkdir()
        (folder / "deep" / "__init__.py").write_text(RUN)
        with (folder / "modeling_own.py").open("a") as file:
            file.write("from .deep import x\n")
        hub.add(f"somebody/{name}", folder)
    text = recipe_text({"in": "somebody/in", "rl": "somebody/rl"}, MOVE)
    merge(text, tmp_path / "out")
    assert {*CODE, "deep/__init__.py"} <= {e.name for e in read_ledger(tmp_path / "out").files}
    assert verify(tmp_path / "out").ok
    hub.add("somebody/out", tmp_path / "out")
    done = surgery("verify", "hf://somebody/out")
    assert done.returncode == 0, done.stdout + done.stderr
    snapshot_download("somebody/out", local_dir=tmp_path / "downloaded")
    assert verify(tmp_path / "downloaded").ok
    (tmp_path / "out" / "more.py").write_text(RUN)
    hub.add("somebody/more", tmp_path / "out")
    done = surgery("verify", "hf://somebody/more", "--no-inputs")
    assert done.returncode == 2
    assert "fault more.py is not part of the merge" in done.stdout
    assert ran() == set()
