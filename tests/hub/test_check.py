"""An unusable merge is refused before a byte is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from surgery.errors import PublishError, SurgeryError
from surgery.hub.check import check_loads
from tests.hub.merges import merged, stage, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hub import Hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stage("in", tmp_path / "in")


def config(folder: Path, **changes: Any) -> dict[str, Any]:
    record = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(record))
    return record


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> str:
    """Change the weights; the name of the tensor that the tests are about."""
    tensors = load_file(folder / "model.safetensors")
    name = named(tensors)
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return name


def named(tensors: dict[str, torch.Tensor]) -> str:
    return next(n for n in tensors if ".layers.4." in n and n.endswith("down_proj.weight"))


def test_a_sound_model_loads(folder: Path) -> None:
    result = check_loads(folder, config(folder))
    assert result.auto == "AutoModelForImageTextToText"
    assert result.model == "Qwen2_5_VLForConditionalGeneration"
    assert (result.vision, result.unused) == (True, ())
    assert "Processor" in result.processor


def test_a_missing_tensor_is_named(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.pop(named(tensors)))
    with pytest.raises(PublishError, match=r"has no \S+layers\.4\.mlp\.down_proj\.weight\."):
        check_loads(folder, config(folder))


def test_so_are_several(folder: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in [n for n in tensors if ".layers.4." in n]:
            del tensors[name]

    rewrite(folder, change)
    with pytest.raises(PublishError, match=r"has no model\.\S+ and \d+ more\."):
        check_loads(folder, config(folder))


def test_another_shape_is_named(folder: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[named(tensors)] = torch.zeros(3, 5)

    rewrite(folder, change)
    with pytest.raises(PublishError) as error:
        check_loads(folder, config(folder))
    assert "torch.Size" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_tensor_too_many_is_told(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"extra.weight": torch.zeros(2)}))
    assert check_loads(folder, config(folder)).unused == ("extra.weight",)


def test_an_unknown_model_type(folder: Path) -> None:
    with pytest.raises(PublishError, match=r"no model of type 'nobody_knows'"):
        check_loads(folder, config(folder, model_type="nobody_knows"))


def test_code_of_its_own_is_not_run(folder: Path) -> None:
    (folder / "modeling.py").write_text("raise SystemExit('ran')")
    auto = {"AutoConfig": "modeling.C", "AutoModelForImageTextToText": "modeling.M"}
    text = config(folder, auto_map=auto)
    assert check_loads(folder, text).vision  # what transformers knows itself wins
    with pytest.raises(PublishError):
        check_loads(folder, config(folder, auto_map=auto, model_type="own"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("preprocessor_config.json", "{"),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "not json"),
        ("config.json", '{"model_type": "qwen2_5_vl", "text_config": {"hidden_size": "wide"}}'),
        ("config.json", '{"model_type": "qwen2_5_vl", "text_config": 5}'),
    ],
)
def test_a_broken_file_is_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    record = json.loads((folder / "config.json").read_text())
    with pytest.raises(PublishError, match=r"in (cannot be used|does not load|has no)") as error:
        check_loads(folder, record)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "preprocessor_config.json"])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PublishError):
        check_loads(folder, config(folder))


def spoil(folder: Path, label: str) -> None:
    if label == "processor":
        (folder / "preprocessor_config.json").write_text("{")
    elif label == "tokenizer":
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "NobodyKnowsTokenizer"}')
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "preprocessor_config.json").unlink()


@pytest.mark.parametrize("secret", ["processor", "tokenizer", "no processor"])
def test_nothing_of_it_leaves(hub: Hub, tmp_path: Path, folder: Path, secret: str) -> None:
    """The merge holds, for its parent is as broken; it is found out all the same."""
    from eval.publishing import publish_model

    spoil(folder, secret)
    out = merged(tmp_path / "out", **{"in": folder})
    with pytest.raises(SurgeryError, match=r"out (cannot be used|does not load)"):
        publish_model(out, "somebody/mixed")
    assert written(hub) == []
    assert hub.unknown == []
