from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants

from surgery.checkpoint.open import find_adapter, open_checkpoint, open_recorded
from surgery.errors import CheckpointError
from tests.checkpoint.files import sharded, single, tensors
from tests.hub import TOKEN, Hub

if TYPE_CHECKING:
    from pathlib import Path


def refused(reference: str, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(reference)
    for word in words:
        assert word in str(caught.value)
    assert TOKEN not in str(caught.value)


def publish(hub: Hub, folder: Path) -> str:
    extra = {
        "tokenizer.json": "{}",
        "chat_template.jinja": "hi",
        "additional_chat_templates/tool.jinja": "tool",
        "README.md": "card",
        "modeling.py": "raise SystemExit",
        "pytorch_model.bin": "pickle",
        "optimizer.pt": "pickle",
        "checkpoint-5/trainer_state.json": "{}",
        "onnx/model.safetensors": "other",
    }
    for name, text in extra.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return hub.add("org/in", folder, tag="v1")


@pytest.mark.parametrize(
    "reference", ["org/in", "org/in@main", "org/in@v1", "hf://org/in@{commit}"]
)
def test_fetches_a_model_by_any_revision(reference: str, hub: Hub, tmp_path: Path) -> None:
    commit = publish(hub, sharded(tmp_path / "made"))
    reference = reference.format(commit=commit)
    with open_checkpoint(reference) as checkpoint:
        assert checkpoint.info.reference == reference
        assert checkpoint.info.revision == commit
        assert list(checkpoint.info.tensors) != []
        for name, tensor in tensors().items():
            buffer = bytearray(checkpoint.info.tensors[name].nbytes)
            checkpoint.read_into(name, 0, memoryview(buffer))
            assert len(buffer) == tensor.numel() * tensor.element_size()
        assert (checkpoint.info.folder / "additional_chat_templates" / "tool.jinja").is_file()


def test_fetches_only_what_is_needed_and_only_once(hub: Hub, tmp_path: Path) -> None:
    publish(hub, sharded(tmp_path / "made"))
    open_checkpoint("org/in").close()
    assert hub.fetched() == [
        "additional_chat_templates/tool.jinja",
        "chat_template.jinja",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ]
    hub.requests.clear()
    open_checkpoint("org/in").close()
    assert hub.fetched() == []


def test_small_files_come_before_weights(hub: Hub, tmp_path: Path) -> None:
    publish(hub, single(tmp_path / "made"))
    open_checkpoint("org/in").close()
    order = [requests.split("/")[-1] for requests in hub.requests if requests.startswith("GET ")]
    assert order.index("config.json") < order.index("model.safetensors")


def test_the_cache_serves_without_a_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = publish(hub, sharded(tmp_path / "made"))
    open_checkpoint("org/in").close()
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with open_checkpoint("org/in") as checkpoint:
        assert checkpoint.info.revision == commit
    refused("org/other", "HF_HUB_OFFLINE forbids fetching it")
    assert hub.requests == []


def test_an_incomplete_cache_is_said_to_be(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, sharded(tmp_path / "made"))
    with open_checkpoint("org/in") as checkpoint:
        (checkpoint.info.folder / "model-00002-of-00002.safetensors").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("org/in", "not complete in the Hub's cache")


def test_no_network_is_said_to_be(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    refused("org/in", "org/in: there is no such folder here, the Hub could not be reached")


def test_wrong_names_revisions_and_permissions(hub: Hub, tmp_path: Path) -> None:
    publish(hub, single(tmp_path / "made"))
    refused("org/inn", "no such folder here", "no such model on the Hub")
    refused("org/in@v9", "has org/in but no revision 'v9'")
    refused("org/in..x", "neither a folder that exists nor a Hub id")
    hub.gated.add("org/in")
    refused("org/in", "is gated", "huggingface.co/org/in", "hf auth login")
    hub.broken = 418
    refused("org/in@main", "the Hub answered with status 418")


def test_a_model_without_safetensors_is_refused_before_it_is_fetched(
    hub: Hub, tmp_path: Path
) -> None:
    folder = single(tmp_path / "made")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    hub.add("org/old", folder)
    refused("org/old", "org/old on the Hub: found only pickle files (pytorch_model.bin)")
    assert hub.fetched() == ["config.json"]


def test_an_index_cannot_reach_out_of_the_cache(hub: Hub, tmp_path: Path) -> None:
    folder = sharded(tmp_path / "made")
    index = {"weight_map": {"a": "../../../../evil.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    hub.add("org/evil", folder)
    refused("org/evil", "is not a plain file name")


def test_a_token_is_sent_but_never_said(
    hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    publish(hub, single(tmp_path / "made"))
    with caplog.at_level(logging.DEBUG):
        open_checkpoint("org/in").close()
        refused("org/inn", "no such model")
    assert f"Bearer {TOKEN}" in hub.headers
    assert TOKEN not in "".join(capfd.readouterr()) + caplog.text
    for path in (tmp_path / "cache").rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_an_adapter_brings_its_weights_and_companions(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    for name in (
        "adapter_config.json",
        "adapter_model.safetensors",
        "optimizer.pt",
        "tokenizer.json",
        "chat_template.jinja",
        "additional_chat_templates/tools.jinja",
        "checkpoint-10/tokenizer.json",
    ):
        (tmp_path / "made" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "made" / name).write_text(name)
    commit = hub.add("org/lora", tmp_path / "made", tag="v1")
    folder, revision = find_adapter("org/lora@v1")
    assert revision == commit
    assert (folder / "adapter_model.safetensors").is_file()
    assert hub.fetched() == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "additional_chat_templates/tools.jinja",
        "chat_template.jinja",
        "tokenizer.json",
    ]


def test_a_recorded_commit_is_opened_again(hub: Hub, tmp_path: Path) -> None:
    publish(hub, single(tmp_path / "made"))
    with open_checkpoint("org/in") as first:
        info = first.info
    hub.requests.clear()
    with open_recorded(info.reference, info.revision) as again:
        assert again.info.fingerprint == info.fingerprint
    assert not any("/revision/main" in requests for requests in hub.requests)


def test_a_folder_that_exists_wins(hub: Hub, tmp_path: Path) -> None:
    single(tmp_path / "org" / "in")
    with open_checkpoint("org/in") as checkpoint:
        assert checkpoint.info.revision is None
    assert hub.requests == []
