"""Small checkpoints by hand, whole and broken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from surgery.checkpoint.source import TensorHeader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.checkpoint.dtype import DType

CONFIG = {"model_type": "qwen2", "num_hidden_layers": 1, "tie_word_embeddings": True}


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """A handful of tensors of every kind of shape and element type."""
    draw = torch.Generator().manual_seed(seed)
    return {
        "embed.weight": torch.randn(11, 4, generator=draw).to(torch.bfloat16),
        "layers.0.weight": torch.randn(4, 4, generator=draw),
        "layers.0.half": torch.randn(3, generator=draw).to(torch.float16),
        "layers.0.steps": torch.tensor(7),
        "layers.0.none": torch.zeros(0, 4),
        "layers.0.mask": torch.tensor([True, False, True]),
    }


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header, honest or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def single(folder: Path, seed: int = 0, config: Mapping[str, Any] = CONFIG) -> Path:
    """A checkpoint in one file."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors(seed), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def sharded(folder: Path) -> Path:
    """The same tensors in two files with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    items = list(tensors().items())
    shards = {
        "model-00001-of-00002.safetensors": dict(items[:3]),
        "model-00002-of-00002.safetensors": dict(items[3:]),
    }
    for name, content in shards.items():
        save_file(content, folder / name, {"format": "pt"})
    index = {name: shard for shard, content in shards.items() for name in content}
    write_index(folder, index)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def write_index(folder: Path, index: object) -> None:
    """An index with this map."""
    text = json.dumps({"metadata": {"total_size": 1}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)


def spec(name: str, dtype: DType, *shape: int) -> TensorHeader:
    """Properties of a tensor that a writer needs."""
    return TensorHeader(name, dtype, shape, "", 0)
