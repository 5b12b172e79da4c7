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
    result = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and text["tie_word_embeddings"]:
            continue
        published = name.replace("model.visual.", "visual.", 1)
        published = published.replace("model.language_model.", "model.", 1)
        result[published] = list(tensor.shape)
    return json.loads(config.to_json_string(use_diff=False)), result


def family(folder: Path, layers: int = 12, *names: str) -> dict[str, Path]:
    """Checkpoints of the 3B shape, 3.8 GB each with 12 layers, that differ by a little noise.

    Args:
        folder: Where they are made.
        layers: Decoder layers.
        names: Which of `base`, `in` and `rl`.
    """
    config, expected = shapes("3b", layers)
    pool = torch.randn(1 << 25, generator=torch.Generator().manual_seed(0)) * 0.02
    noise = torch.randn(1 << 25, generator=torch.Generator().manual_seed(1)) * 0.002
    steps = {"base": -1.0, "in": 0.0, "rl": 1.0}
    pools = {name: (pool + steps[name] * noise.roll(int(steps[name]))).bfloat16() for name in names}
    for name, source in pools.items():
        tensors = {}
        start = 0
        for tensor, shape in expected.items():
            count = int(torch.Size(shape).numel())
            start = (start + 977) % source.numel()
            end = start + count
            parts = [
                source[max(0, start - position) : end - position]
                for position in range(0, end, source.numel())
            ]
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
    return hollow_of(folder, *shapes(size), shards)


def hollow_of(
    folder: Path, config: dict[str, Any], expected: dict[str, list[int]], shards: int
) -> Path:
    """Write a checkpoint of bfloat16 headers for a configuration and shapes, its weights holes."""
    folder.mkdir(parents=True)
    names = list(expected)
    per_shard = -(-len(names) // shards)
    weight_map = {}
    for index in range(shards):
        file = f"model-{index + 1:05d}-of-{shards:05d}.safetensors"
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in names[index * per_shard : (index + 1) * per_shard]:
            begin, end = end, end + 2 * int(torch.Size(expected[name]).numel())
            header[name] = {"dtype": "BF16", "shape": expected[name], "data_offsets": [begin, end]}
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


def experts(layers: int, count: int) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Return configuration and tensor shapes of a model with many experts, spelt as Kimi-K2.5.

    Args:
        layers: Decoder layers; all but the first have experts.
        count: Experts of a layer, three matrices each.
    """
    result = {"language_model.model.embed_tokens.weight": [1024, 512]}
    for block in range(27):
        stem = f"vision_tower.encoder.blocks.{block}"
        result |= {f"{stem}.{leaf}.weight": [64] for leaf in ("norm0", "norm1")}
        result |= {
            f"{stem}.{leaf}.weight": [64, 64] for leaf in ("wqkv", "wo", "mlp.fc0", "mlp.fc1")
        }
    result |= {f"mm_projector.{leaf}.weight": [512, 64] for leaf in ("linear_1", "linear_2")}
    attention = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
    for layer in range(layers):
        stem = f"language_model.model.layers.{layer}"
        norms = ("input_layernorm", "post_attention_layernorm", "self_attn.q_a_layernorm")
        result |= {f"{stem}.{norm}.weight": [512] for norm in norms}
        result |= {f"{stem}.self_attn.{leaf}.weight": [512, 512] for leaf in attention}
        blocks = [f"experts.{expert}." for expert in range(count)] if layer else [""]
        if layer:
            result[f"{stem}.mlp.gate.weight"] = [count, 512]
            blocks.append("shared_experts.")
        result |= {
            f"{stem}.mlp.{block}{leaf}_proj.weight": [64, 512]
            for block in blocks
            for leaf in ("gate", "up", "down")
        }
    result |= {
        "language_model.model.norm.weight": [512],
        "language_model.lm_head.weight": [1024, 512],
    }
    text = {"model_type": "kimi_k2", "num_hidden_layers": layers}
    vision = {"model_type": "moonvit", "num_hidden_layers": 27, "vt_num_hidden_layers": 27}
    config = {"model_type": "kimi_k25", "text_config": text, "vision_config": vision}
    return {**config, "tie_word_embeddings": False}, result
