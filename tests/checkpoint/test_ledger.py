from __future__ import annotations

import json
import random
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.checkpoint.dtype import DType
from surgery.checkpoint.ledger import (
    FileEntry,
    InputEntry,
    Ledger,
    ModelEntry,
    TensorEntry,
    read_ledger,
)
from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

TENSOR = TensorEntry(
    name="model.layers.0.mlp.up_proj.weight",
    method="slerp",
    parameters={"t": [0.2, 0.8], "seed": None},
    inputs=(InputEntry("in", "a"), InputEntry("rl", "b")),
    dtype=DType.BF16,
    shape=(2, 3),
    shard="model.safetensors",
    sha256="3" * 64,
)
LEDGER = Ledger(
    recipe="name: rl-mid\n# für Menschen\n",
    models={"in": ModelEntry("./in", None, "4" * 64), "rl": ModelEntry("o/r", "c0", "5" * 64)},
    versions={"vlm-surgery": "0.1.0", "python": "3.11.9"},
    engine="surgery",
    tensors=(TENSOR, replace(TENSOR, name="b", shape=())),
    files=(FileEntry("config.json", "6" * 64, "in"), FileEntry("README.md", "7" * 64, None)),
    layout={"model.safetensors": "8" * 64, "model.safetensors.index.json": "9" * 64},
)


def write(folder: Path, data: bytes) -> Path:
    (folder / "surgery.json").write_bytes(data)
    return folder


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    assert read_ledger(write(tmp_path, LEDGER.to_json())) == LEDGER
    empty = replace(LEDGER, tensors=(), files=(), models={})
    assert read_ledger(write(tmp_path, empty.to_json())) == empty


def test_reads_the_format_before(tmp_path: Path) -> None:
    older = json.loads(LEDGER.to_json()) | {"format": 1}
    layout = older.pop("layout")
    assert read_ledger(write(tmp_path, json.dumps(older).encode())) == replace(LEDGER, layout={})
    with pytest.raises(CheckpointError, match="the ledger has 'layout'"):
        read_ledger(write(tmp_path, json.dumps(older | {"layout": layout}).encode()))


def test_the_same_content_is_the_same_bytes() -> None:
    shuffled = replace(
        LEDGER,
        versions=dict(reversed(LEDGER.versions.items())),
        tensors=tuple(
            replace(t, parameters=MappingProxyType({"t": (0.2, 0.8), "seed": None}))
            for t in LEDGER.tensors
        ),
    )
    assert shuffled.to_json() == LEDGER.to_json()


def test_one_line_says_all_of_one_tensor() -> None:
    lines = LEDGER.to_json().decode().splitlines()
    assert sum(TENSOR.name in line and TENSOR.sha256 in line for line in lines) == 1


def test_the_fingerprint_is_of_the_weights_alone() -> None:
    other = replace(
        LEDGER,
        recipe="",
        models={},
        tensors=tuple(
            replace(t, shard="x", method="copy", inputs=()) for t in reversed(LEDGER.tensors)
        ),
    )
    assert other.fingerprint == LEDGER.fingerprint
    for change in ({"sha256": "8" * 64}, {"name": "c"}, {"shape": (3, 2)}, {"dtype": DType.F16}):
        changed = replace(LEDGER, tensors=(replace(TENSOR, **change), LEDGER.tensors[1]))
        assert changed.fingerprint != LEDGER.fingerprint


def refused(folder: Path, change: dict[str, Any], words: str, tensor: bool = False) -> None:
    parsed = json.loads(LEDGER.to_json())
    (parsed["tensors"][0] if tensor else parsed).update(change)
    with pytest.raises(CheckpointError, match=words):
        read_ledger(write(folder, json.dumps(parsed).encode()))


def test_says_what_is_wrong_with_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"surgery\.json: is missing"):
        read_ledger(tmp_path)
    refused(tmp_path, {"format": 3}, "has format 3; this version reads up to 2")
    refused(tmp_path, {"tensor": []}, r"the ledger has 'tensor'. Did you mean 'tensors'\?")
    refused(tmp_path, {"engine": 3}, "engine is a number; expected text")
    refused(tmp_path, {"models": []}, "models is a list; expected an object")
    refused(tmp_path, {"fingerprint": "0" * 64}, "was altered")
    refused(tmp_path, {"sha256": "0" * 64}, "was altered", tensor=True)
    refused(tmp_path, {"sha256": "xyz"}, "is 'xyz'; expected 64 hexadecimal", tensor=True)
    refused(tmp_path, {"dtype": "BF15"}, r"Did you mean 'BF16'\?", tensor=True)
    refused(tmp_path, {"shape": [-1]}, "not a list of lengths", tensor=True)
    refused(tmp_path, {"inputs": [{}]}, "an input lacks 'model'", tensor=True)
    refused(tmp_path, {"name": "b"}, "lists a name twice", tensor=True)


def test_a_parameter_that_is_no_json_is_a_bug_and_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(LEDGER, tensors=(replace(TENSOR, parameters={"t": float("nan")}),)).to_json()


@given(seed=st.integers(0, 2**32), value=st.sampled_from([None, 3, "x", [], {}, [[]], {"a": 1}]))
@settings(max_examples=200, deadline=None, database=None, derandomize=True)
def test_mutated_ledgers_are_refused_or_whole(
    seed: int, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    draw = random.Random(seed)
    parsed = json.loads(LEDGER.to_json())
    node: Any = parsed
    while True:
        key: Any = draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not isinstance(node[key], dict | list) or not node[key] or draw.random() < 0.3:
            node[key] = value
            break
        node = node[key]
    folder = tmp_path_factory.mktemp("ledger")
    try:
        ledger = read_ledger(write(folder, json.dumps(parsed).encode()))
    except CheckpointError:
        return
    assert json.loads(ledger.to_json()) == parsed
