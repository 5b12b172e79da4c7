from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from surgery.checkpoint.local import LocalCheckpoint
from surgery.errors import CheckpointError
from tests.checkpoint.files import CONFIG, sharded, single, tensors, write_index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST_SHARD = "model-00001-of-00002.safetensors"
TWO = "model-00002-of-00002.safetensors"


def read(checkpoint: LocalCheckpoint, name: str) -> bytes:
    buffer = bytearray(checkpoint.info.tensors[name].nbytes)
    checkpoint.read_into(name, 0, memoryview(buffer))
    return bytes(buffer)


def as_bytes(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def refused(folder: Path, *words: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        LocalCheckpoint(folder)
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("make", [single, sharded])
def test_every_byte_is_what_was_saved(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with LocalCheckpoint(make(tmp_path / "m")) as checkpoint:
        assert {name: read(checkpoint, name) for name in checkpoint.info.tensors} == {
            name: as_bytes(tensor) for name, tensor in tensors().items()
        }
        for name, tensor in tensors().items():
            header = checkpoint.info.tensors[name]
            assert header.shape == tuple(tensor.shape)
            place = checkpoint.file_range(name)
            assert place is not None
            assert os.pread(place[0], header.nbytes, place[1]) == as_bytes(tensor)


def test_tensors_stand_in_the_order_of_files_and_bytes(tmp_path: Path) -> None:
    with LocalCheckpoint(sharded(tmp_path / "m")) as checkpoint:
        places = [(t.shard, t.offset) for t in checkpoint.info.tensors.values()]
        assert places == sorted(places)
        assert checkpoint.info.shards == (FIRST_SHARD, TWO)
        assert checkpoint.info.metadata[FIRST_SHARD] == {"format": "pt"}
        assert checkpoint.info.config == CONFIG


def test_parts_can_be_read_by_many_threads(tmp_path: Path) -> None:
    whole = torch.arange(100_000, dtype=torch.int32)
    folder = single(tmp_path / "m")
    save_file({"a": whole}, folder / "model.safetensors")
    with LocalCheckpoint(folder) as checkpoint, ThreadPoolExecutor(4) as pool:

        def part(start: int) -> bytes:
            buffer = bytearray(1000)
            checkpoint.read_into("a", start, memoryview(buffer))
            return bytes(buffer)

        assert b"".join(pool.map(part, range(0, 400_000, 1000))) == as_bytes(whole)
        with pytest.raises(ValueError, match="has 400000"):
            checkpoint.read_into("a", 399_999, memoryview(bytearray(2)))


def test_a_file_that_shrinks_is_an_error_not_garbage(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    with LocalCheckpoint(folder) as checkpoint:
        path = folder / "model.safetensors"
        os.truncate(path, path.stat().st_size - 3)
        with pytest.raises(CheckpointError, match=r"ended inside '.*was truncated"):
            for name in checkpoint.info.tensors:
                read(checkpoint, name)


def test_one_oddly_named_file_will_do(tmp_path: Path) -> None:
    folder = single(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    with LocalCheckpoint(folder) as checkpoint:
        assert checkpoint.info.shards == ("weights.safetensors",)
    shutil.copy(folder / "weights.safetensors", folder / "other.safetensors")
    refused(folder, "found 2 safetensors files", "no model.safetensors.index.json")


def test_unknown_tensors_are_named_with_the_nearest(tmp_path: Path) -> None:
    near = pytest.raises(CheckpointError, match=r"Did you mean 'embed\.weight'")
    with LocalCheckpoint(single(tmp_path / "m")) as checkpoint, near:
        checkpoint.file_range("embd.weight")


def test_fingerprint_follows_headers_config_and_sizes(tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        with LocalCheckpoint(folder) as checkpoint:
            return checkpoint.info.fingerprint

    first = fingerprint(single(tmp_path / "a"))
    assert first == fingerprint(single(tmp_path / "b", seed=1))  # weights are not read
    assert first != fingerprint(single(tmp_path / "c", config={**CONFIG, "hidden_size": 3}))
    assert first != fingerprint(sharded(tmp_path / "d"))


class TestMissing:
    def test_folder(self, tmp_path: Path) -> None:
        single(tmp_path / "qwen-in")
        refused(tmp_path / "qwen-inn", "no such folder", "Did you mean 'qwen-in'?")

    def test_file_instead_of_folder(self, tmp_path: Path) -> None:
        folder = single(tmp_path / "m")
        refused(folder / "model.safetensors", "is a file", f"Did you mean {str(folder)!r}?")

    def test_config(self, tmp_path: Path) -> None:
        single(tmp_path / "m" / "checkpoint-50")
        text = refused(tmp_path / "m", "no config.json")
        assert text.endswith(f"Did you mean {str(tmp_path / 'm' / 'checkpoint-50')!r}?")

    def test_weights(self, tmp_path: Path) -> None:
        folder = single(tmp_path / "m")
        (folder / "model.safetensors").unlink()
        refused(folder, "found no weights; expected model.safetensors")

    def test_index(self, tmp_path: Path) -> None:
        folder = sharded(tmp_path / "m")
        (folder / "model.safetensors.index.json").unlink()
        refused(folder, "but no model.safetensors.index.json", "fetch the index too")

    def test_shard(self, tmp_path: Path) -> None:
        folder = sharded(tmp_path / "m")
        (folder / TWO).unlink()
        refused(folder, f"{TWO}: is missing")

    def test_blob_of_the_hubs_cache(self, tmp_path: Path) -> None:
        folder = single(tmp_path / "m")
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").symlink_to("gone")
        refused(folder, "is a link to nothing")


class TestRefused:
    def test_pickles(self, tmp_path: Path) -> None:
        folder = single(tmp_path / "m")
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")
        refused(folder, "pytorch_model.bin", "never opened", "save_pretrained")

    def test_adapters(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "adapter_config.json").write_text("{}")
        refused(tmp_path / "a", "found a PEFT adapter", "{base: ORG/MODEL, adapter: ")

    @pytest.mark.parametrize(
        "config",
        [
            {"quantization_config": {"quant_method": "gptq"}},
            {"text_config": {"quantization_config": {"quant_method": "gptq"}}},
            {"quantization": {"group_size": 64}},
        ],
    )
    def test_quantised_configurations(self, config: dict[str, object], tmp_path: Path) -> None:
        refused(single(tmp_path / "m", config=config), "quantization_config says", "dequantise")

    @pytest.mark.parametrize(
        "name", ["q.qweight", "q.weight.absmax", "q.weight_scale_inv", "q.weight.quant_state.nf4"]
    )
    def test_quantised_tensors(self, name: str, tmp_path: Path) -> None:
        folder = single(tmp_path / "m")
        save_file({name: torch.ones(2)}, folder / "model.safetensors")
        refused(folder, repr(name), "belongs to a quantised weight")

    def test_quantization_config_of_none_is_fine(self, tmp_path: Path) -> None:
        LocalCheckpoint(single(tmp_path / "m", config={"quantization_config": None})).close()

    @pytest.mark.parametrize("config", ["[]", "{", "", "[" * 100_000])
    def test_broken_configurations(self, config: str, tmp_path: Path) -> None:
        folder = single(tmp_path / "m")
        (folder / "config.json").write_text(config)
        refused(folder, "config.json: ")

    @pytest.mark.parametrize("index", [[], {}, {"a": 3}, {"a": "pytorch_model.bin"}, "x"], ids=repr)
    def test_broken_indexes(self, index: object, tmp_path: Path) -> None:
        folder = sharded(tmp_path / "m")
        write_index(folder, index)
        refused(folder, "model.safetensors.index.json: ")

    @pytest.mark.parametrize(
        "shard",
        [
            "../x.safetensors",
            "/etc/x.safetensors",
            "a/b.safetensors",
            "a\\b.safetensors",
            "a\0.safetensors",
        ],
    )
    def test_shards_elsewhere(self, shard: str, tmp_path: Path) -> None:
        folder = sharded(tmp_path / "m")
        write_index(folder, {"a": shard})
        refused(folder, "is not a plain file name")

    def test_index_and_shards_of_different_saves(self, tmp_path: Path) -> None:
        folder = sharded(tmp_path / "m")
        index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
        write_index(folder, {**index, "new": FIRST_SHARD})
        refused(folder, "1 tensors are promised by the index", "'new'")
        write_index(folder, {k: v for k, v in index.items() if k != "embed.weight"})
        refused(folder, "1 tensors stand in a shard but not in the index", "'embed.weight'")
        write_index(folder, {**index, "embed.weight": TWO})
        refused(folder, "are promised by the index", "'embed.weight'")

    def test_a_tensor_in_two_shards(self, tmp_path: Path) -> None:
        folder = sharded(tmp_path / "m")
        save_file(tensors(), folder / TWO)
        refused(folder, "is in both", FIRST_SHARD, TWO)

    def test_a_file_without_tensors(self, tmp_path: Path) -> None:
        folder = single(tmp_path / "m")
        save_file({}, folder / "model.safetensors")
        refused(folder, "found no tensor")


class TestLinks:
    def test_out_of_the_folder_are_refused(self, tmp_path: Path) -> None:
        folder = single(tmp_path / "m")
        outside = tmp_path / "secret.safetensors"
        (folder / "model.safetensors").rename(outside)
        (folder / "model.safetensors").symlink_to(outside)
        refused(folder, "a link that points outside its folder", str(outside))

    def test_config_too(self, tmp_path: Path) -> None:
        folder = single(tmp_path / "m")
        (folder / "config.json").rename(tmp_path / "config.json")
        (folder / "config.json").symlink_to("../config.json")
        refused(folder, "a link that points outside its folder")

    def test_a_linked_folder_is_fine(self, tmp_path: Path) -> None:
        single(tmp_path / "m")
        (tmp_path / "link").symlink_to("m")
        LocalCheckpoint(tmp_path / "link").close()

    def test_the_hubs_cache_is_fine_but_only_its_own_blobs(self, tmp_path: Path) -> None:
        repo = tmp_path / "models--org--name"
        folder = single(repo / "snapshots" / ("a" * 40))
        (repo / "blobs").mkdir()
        (folder / "model.safetensors").rename(repo / "blobs" / "beef")
        (folder / "model.safetensors").symlink_to("../../blobs/beef")
        LocalCheckpoint(folder).close()
        (repo / "blobs" / "beef").rename(tmp_path / "beef")
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").symlink_to(tmp_path / "beef")
        refused(folder, "a link that points outside its folder")

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        folder = single(tmp_path / "m")
        (folder / "model.safetensors").unlink()
        os.mkfifo(folder / "model.safetensors")
        refused(folder, "is not a regular file")


def test_no_descriptor_stays_open_after_an_error(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    write_index(folder, {"embed.weight": FIRST_SHARD, "layers.0.none": TWO})
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    refused(folder, "stand in a shard but not in the index")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_reading_checkpoints_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from surgery.checkpoint.open import open_checkpoint;"
        "from surgery.checkpoint import digest, ledger, write, lora, adapter;"
        f"open_checkpoint({str(single(tmp_path / 'm'))!r}).close();"
        "print({'torch', 'transformers', 'mergekit', 'huggingface_hub'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
