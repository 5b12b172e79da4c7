"""Verifying proves everything that a loader would read, with the inputs and without."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file, save_file

from surgery.checkpoint.folder import INDEX
from surgery.checkpoint.ledger import LEDGER, read_ledger
from surgery.execute.verify import verify
from tests.execute.merging import merge, recipe_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS = "model.safetensors"
MOVE = "  - transplant: language[1]\n    from: rl"


@pytest.fixture(scope="module")
def merges(pair, tmp_path_factory) -> dict[str, Path]:
    """Make a merge in one file, and one in several."""
    root = tmp_path_factory.mktemp("merges")
    text = recipe_text(pair("llama"), MOVE)
    merge(text, root / "single")
    merge(text.replace("\nsteps:", "\noutput: {max_shard_size: 40KB}\nsteps:"), root / "several")
    return {name: root / name for name in ("single", "several")}


@pytest.fixture
def out(merges, tmp_path) -> Path:
    """Copy the merge in one file, for tampering."""
    return shutil.copytree(merges["single"], tmp_path / "out")


@pytest.fixture
def several(merges, tmp_path) -> Path:
    """Copy the merge in several files, for tampering."""
    return shutil.copytree(merges["several"], tmp_path / "several")


def faults(folder: Path, **mode: Any) -> set[str]:
    return {fault.where for fault in verify(folder, **mode).faults}


def found_always(folder: Path, *location: str) -> None:
    """Check that verifying, with the inputs and without, finds these and no other faults."""
    assert faults(folder) == faults(folder, inputs=False) == set(location)


def edit_ledger(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    ledger = json.loads((folder / LEDGER).read_text())
    change(ledger)
    (folder / LEDGER).write_text(json.dumps(ledger))


def hash_again(folder: Path, name: str) -> None:
    digest = sha256((folder / name).read_bytes()).hexdigest()

    def change(ledger: dict[str, Any]) -> None:
        next(f for f in ledger["files"] if f["name"] == name)["sha256"] = digest

    edit_ledger(folder, change)


def set_header(path: Path, change: Callable[[dict[str, Any]], object], pad: int = 0) -> None:
    """Rewrite a header over the same tensors."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header = change(header) or header
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 + pad)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def test_untouched_merges_hold(out, several):
    found_always(out)
    found_always(several)


def add_link_to_folder(out: Path) -> str:
    (out.parent / "elsewhere").mkdir()
    (out / "elsewhere").symlink_to(out.parent / "elsewhere")
    return "elsewhere"


def add_link_to_file(out: Path) -> str:
    (out / "adapter_config.json").symlink_to("config.json")
    return "adapter_config.json"


def turn_into_link(out: Path) -> str:
    (out / "config.json").rename(out.parent / "config.json")
    shutil.copy(out.parent / "config.json", out / "tokenizer.json")
    (out / "tokenizer.json").unlink()
    (out / ".config").write_bytes((out.parent / "config.json").read_bytes())
    (out / "config.json").symlink_to(".config")
    return "config.json"


def add_dangling_link(out: Path) -> str:
    (out / "pytorch_model.bin").symlink_to("nowhere")
    return "pytorch_model.bin"


def add_empty_folder(out: Path) -> str:
    (out / "additional_chat_templates").mkdir()
    return "additional_chat_templates"


def add_empty_folders(out: Path) -> str:
    (out / "a" / "b").mkdir(parents=True)
    return "a/b"


def add_file_below(out: Path) -> str:
    (out / "1_Pooling").mkdir()
    (out / "1_Pooling" / "config.json").write_text("{}")
    return "1_Pooling/config.json"


def add_pipe(out: Path) -> str:
    os.mkfifo(out / "tokenizer.json")
    return "tokenizer.json"


def add_weights_to_the_clients_folder(out: Path) -> str:
    name = ".cache/huggingface/download/model.safetensors"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_bytes((out / WEIGHTS).read_bytes())
    return name


def add_much_to_the_clients_folder(out: Path) -> str:
    name = ".cache/huggingface/download/model.safetensors.metadata"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_bytes(bytes(2 << 20))
    return name


def add_code_to_the_clients_folder(out: Path) -> str:
    name = ".cache/huggingface/modeling.py"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("import os")
    return name


def add_to_another_cache(out: Path) -> str:
    (out / ".cache" / "vllm").mkdir(parents=True)
    (out / ".cache" / "vllm" / "a.metadata").write_text("")
    return ".cache/vllm/a.metadata"


def add_index(out: Path) -> str:
    names = load_file(out / WEIGHTS)
    content = {"metadata": {}, "weight_map": dict.fromkeys(names, WEIGHTS)}
    (out / INDEX).write_text(json.dumps(content))
    return INDEX


def change_metadata(out: Path) -> str:
    set_header(out / WEIGHTS, lambda header: header["__metadata__"].update(format="tf"))
    return WEIGHTS


def add_metadata(out: Path) -> str:
    set_header(out / WEIGHTS, lambda header: header["__metadata__"].update(quantization="int4"))
    return WEIGHTS


def drop_metadata(out: Path) -> str:
    set_header(out / WEIGHTS, lambda header: header.pop("__metadata__") and None)
    return WEIGHTS


def pad_header(out: Path) -> str:
    set_header(out / WEIGHTS, lambda _: None, pad=8)
    return WEIGHTS


def turn_header_round(out: Path) -> str:
    set_header(out / WEIGHTS, lambda header: dict(reversed(header.items())))
    return WEIGHTS


def change_card(out: Path) -> str:
    (out / "README.md").write_text("# mine")
    return "README.md"


TAMPER = [
    add_link_to_folder,
    add_link_to_file,
    add_dangling_link,
    add_empty_folder,
    add_empty_folders,
    add_file_below,
    add_pipe,
    add_weights_to_the_clients_folder,
    add_much_to_the_clients_folder,
    add_code_to_the_clients_folder,
    add_to_another_cache,
    add_index,
    change_metadata,
    add_metadata,
    drop_metadata,
    pad_header,
    turn_header_round,
    change_card,
]


@pytest.mark.parametrize("tamper", TAMPER, ids=lambda tamper: tamper.__name__)
def test_whatever_a_loader_may_read_is_proven(out, tamper):
    found_always(out, tamper(out))


def test_a_file_turned_into_a_link_is_a_fault(out):
    found_always(out, turn_into_link(out), ".config")


@pytest.mark.parametrize("key", ["total_size", "more"])
def test_an_index_with_other_metadata_is_a_fault(several, key):
    index = json.loads((several / INDEX).read_text())
    index["metadata"][key] = 1
    (several / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    found_always(several, INDEX)


def test_what_the_hubs_client_writes_is_none(out):
    cache = out / ".cache" / "huggingface"
    for name in (
        ".gitignore",
        "CACHEDIR.TAG",
        "download/config.json.metadata",
        "download/additional_chat_templates/a.jinja.lock",
        "upload/model.safetensors.metadata",
        f"trees/{'0' * 40}.json",
    ):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text("x")
    (out / ".gitattributes").write_text("*.safetensors filter=lfs")
    found_always(out)


def test_a_snapshot_holds_links_to_its_blobs(out, tmp_path):
    repo = tmp_path / "models--me--out"
    shutil.move(out, repo / "snapshots" / ("0" * 40))
    snapshot = next((repo / "snapshots").iterdir())
    (repo / "blobs").mkdir()
    (snapshot / ".gitattributes").write_text("*.safetensors filter=lfs")
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(repo / "blobs" / str(number))
        path.symlink_to(f"../../blobs/{number}")
    found_always(snapshot)
    (snapshot / "adapter_config.json").symlink_to("../../blobs/0")
    (tmp_path / "other").write_text("")
    (snapshot / "notes.metadata").symlink_to(tmp_path / "other")
    (snapshot / "blobs").symlink_to("../../blobs")
    found_always(snapshot, "adapter_config.json", "notes.metadata", "blobs")


@pytest.mark.parametrize("tamper", [change_metadata, pad_header, add_index])
def test_headers_changed_with_their_hashes_are_found_from_the_inputs(out, tamper):
    name = tamper(out)
    data = (out / name).read_bytes()
    if name != INDEX:
        data = data[: 8 + int.from_bytes(data[:8], "little")]
    edit_ledger(out, lambda ledger: ledger["layout"].update({name: sha256(data).hexdigest()}))
    assert faults(out) == {name}


def test_a_card_changed_with_its_hash_is_found_from_the_inputs(out):
    hash_again(out, change_card(out))
    assert faults(out) == {"README.md"}


def test_a_card_is_compared_where_this_version_wrote_it(out):
    hash_again(out, change_card(out))
    edit_ledger(out, lambda ledger: ledger["versions"].update({"vlm-surgery": "0.0.1"}))
    assert faults(out) == set()


def test_a_file_given_another_source_is_a_fault(out):
    def change(ledger: dict[str, Any]) -> None:
        next(f for f in ledger["files"] if f["name"] == "config.json")["source"] = "rl"

    edit_ledger(out, change)
    assert faults(out) == {"config.json"}


def test_a_tensor_added_with_its_entry_is_found_from_the_inputs(out):
    tensors = load_file(out / WEIGHTS)
    tensors["zzz.weight"] = tensors["model.norm.weight"].clone()
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    ledger = read_ledger(out)
    entry = next(t for t in ledger.tensors if t.name == "model.norm.weight")
    more = (*ledger.tensors, replace(entry, name="zzz.weight"))
    (out / LEDGER).write_bytes(replace(ledger, tensors=more, layout={}).to_json())
    assert {"zzz.weight", WEIGHTS} <= faults(out)


def test_older_ledgers_are_read_and_proven(out, several):
    def older(ledger: dict[str, Any]) -> None:
        ledger["format"] = 1
        del ledger["layout"]

    for folder in (out, several):
        edit_ledger(folder, older)
        found_always(folder)
    change_metadata(out)
    pad_header(out)
    assert faults(out) == {WEIGHTS}
    assert faults(out, inputs=False) == {WEIGHTS}


def test_an_input_that_moved_changes_no_card(pair, tmp_path):
    models = {n: shutil.copytree(pair("llama")[n], tmp_path / n) for n in ("in", "rl")}
    merge(recipe_text(models, MOVE), tmp_path / "out")
    models["rl"].rename(tmp_path / "moved")
    assert verify(tmp_path / "out", {"rl": str(tmp_path / "moved")}).ok


def test_an_index_of_a_single_file_follows_the_base(pair, tmp_path):
    models = {n: shutil.copytree(pair("llama")[n], tmp_path / n) for n in ("in", "rl")}
    add_index(models["in"])
    merge(recipe_text(models, MOVE), tmp_path / "out")
    found_always(tmp_path / "out")
    (tmp_path / "out" / INDEX).unlink()
    found_always(tmp_path / "out", INDEX)
