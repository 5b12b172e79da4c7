"""Checkpoints of true shapes: random weights where bytes matter, holes where headers do."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

if TYPE_CHECKING:
    from pathlib import Path

_TEXT = {
    "3b": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
}


def shapes(size: str, layers: int | None = None) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Configuration and tensor shapes of Qwen2.5-VL as published (names of transformers 4).

    Args:
        size: `3b` or `7b`.
        layers: Decoder layers, where not the published number.
    """
    text = dict(_TEXT[size])
    if layers:
        text["num_hidden_layers"] = layers
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": text["hidden_size"],
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    rope = {"type": "mrope", "mrope_section": [16, 24, 24]}
    config = Qwen2_5_VLConfig(
        text_config={**text, "rope_scaling": rope},
        vision_config=vision,
        tie_word_embeddings=text["tie_word_embeddings"],
    )
    config.architectures = ["Qwen2_5_VLForConditionalGeneration"]
    config.dtype = "bfloat16"
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    found = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and text["tie_word_embeddings"]:
            continue
        published = name.replace("model.visual.", "visual.", 1)
        published = published.replace("model.language_model.", "model.", 1)
        found[published] = list(tensor.shape)
    return json.loads(config.to_json_string(use_diff=False)), found


def family(folder: Path, layers: int = 12, *names: str) -> dict[str, Path]:
    """Checkpoints of the 3B shape, 3.8 GB each with 12 layers, that differ by a little noise.

    Args:
        folder: Where they are made.
        layers: Decoder layers.
        names: Which of `base`, `in` and `rl`.
    """
    config, wanted = shapes("3b", layers)
    pool = torch.randn(1 << 25, generator=torch.Generator().manual_seed(0)) * 0.02
    noise = torch.randn(1 << 25, generator=torch.Generator().manual_seed(1)) * 0.002
    steps = {"base": -1.0, "in": 0.0, "rl": 1.0}
    pools = {name: (pool + steps[name] * noise.roll(int(steps[name]))).bfloat16() for name in names}
    for name, source in pools.items():
        tensors = {}
        start = 0
        for tensor, shape in wanted.items():
            count = int(torch.Size(shape).numel())
            start = (start + 977) % source.numel()
            end = start + count
            parts = [source[max(0, start - at) : end - at] for at in range(0, end, source.numel())]
            tensors[tensor] = torch.cat(parts).reshape(shape)
        (folder / name).mkdir(parents=True)
        save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps(config, indent=2))
    return {name: folder / name for name in pools}


def hollow(folder: Path, size: str = "7b", shards: int = 5) -> Path:
    """A checkpoint of true headers whose weights are holes in sparse files.

    Args:
        folder: What is made.
        size: `3b` or `7b`.
        shards: Number of weight files.
    """
    config, wanted = shapes(size)
    folder.mkdir(parents=True)
    names = list(wanted)
    per_shard = -(-len(names) // shards)
    weight_map = {}
    for index in range(shards):
        file = f"model-{index + 1:05d}-of-{shards:05d}.safetensors"
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in names[index * per_shard : (index + 1) * per_shard]:
            begin, end = end, end + 2 * int(torch.Size(wanted[name]).numel())
            header[name] = {"dtype": "BF16", "shape": wanted[name], "data_offsets": [begin, end]}
            weight_map[name] = file
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / file).open("wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            out.truncate(8 + len(text) + end)
    index_text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(index_text)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder
