"""A model's outline: built once, cached, and enough for `surgery freeze` without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from surgery import specimen
from surgery.errors import CheckpointError
from surgery.train import model as models
from surgery.train.model import skeleton
from surgery.train.outline import ModelOutline, load_outline
from tests.families import TINY, build_tiny

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = json.loads((specimen.path("in") / "config.json").read_text())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLM_SURGERY_CACHE", str(tmp_path))
    return tmp_path / "outlines"


def fail(_: Any) -> None:
    raise AssertionError("the model was built")


@pytest.mark.parametrize("family", sorted(TINY))
def test_a_cached_outline_names_what_the_model_has(
    family: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = build_tiny(family).config.to_dict()
    built = load_outline(config)
    monkeypatch.setattr(models, "skeleton", fail)
    cached = load_outline(config)
    monkeypatch.undo()
    expected = ModelOutline.of(skeleton(config))
    for result in (built, cached):
        for name in ("tensors", "groups", "sizes", "modules", "linear"):
            assert getattr(result, name) == getattr(expected, name)


def test_another_configuration_is_another_model(cache: Path) -> None:
    text = CONFIG["text_config"]
    fewer = CONFIG | {"text_config": text | {"num_hidden_layers": 3, "layer_types": None}}
    assert len(load_outline(fewer).tensors) < len(load_outline(CONFIG).tensors)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"groups": [], "sizes": []}', "\0"])
def test_a_damaged_cache_is_replaced(text: str, cache: Path) -> None:
    outline = load_outline(CONFIG)
    (file,) = cache.iterdir()
    good = file.read_bytes()
    file.write_text(text)
    assert load_outline(CONFIG).groups == outline.groups
    assert file.read_bytes() == good


def test_without_a_cache_it_works_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLM_SURGERY_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_outline(CONFIG)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VLM_SURGERY_CACHE", str(tmp_path / "file"))
    load_outline(CONFIG)


def test_an_unknown_model_is_refused_each_time(cache: Path) -> None:
    for _ in range(2):
        with pytest.raises(CheckpointError, match="no model of type 'nosuch'"):
            load_outline({"model_type": "nosuch"})
    assert not cache.exists()


def test_the_command_needs_no_torch_for_a_model_it_knows(cache: Path) -> None:
    load_outline(CONFIG)
    code = (
        "import sys; from typer.main import get_command; from surgery.cli.main import build\n"
        "command = ['freeze', 'specimen:in', 'vision', '--format', 'json']\n"
        "get_command(build())(command, standalone_mode=False)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frozen"]
