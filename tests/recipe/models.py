"""Headers of Qwen2.5-VL models in their true shapes, made in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgery.arch import resolve
from surgery.checkpoint.dtype import DType
from surgery.checkpoint.source import CheckpointInfo, TensorHeader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surgery.arch import Architecture

VISION_7B = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584}
SIZES: dict[str, dict[str, Any]] = {
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
        "vision_config": VISION_7B,
    },
    "3b": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
        "vision_config": {**VISION_7B, "out_hidden_size": 2048},
    },
    "specimen": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 9,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 430,
        "tie_word_embeddings": True,
        "vision_config": {
            "depth": 4,
            "hidden_size": 64,
            "intermediate_size": 128,
            "out_hidden_size": 128,
        },
    },
}


def config(size: str) -> dict[str, Any]:
    """The configuration, as published checkpoints have it."""
    return {
        "model_type": "qwen2_5_vl",
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        **SIZES[size],
    }


def shapes(size: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names in the published spelling, with shapes."""
    c = SIZES[size]
    v = c["vision_config"]
    hidden, middle = c["hidden_size"], c["intermediate_size"]
    kv = hidden // c["num_attention_heads"] * c["num_key_value_heads"]
    yield "visual.patch_embed.proj.weight", (v["hidden_size"], 3, 2, 14, 14)
    for i in range(v["depth"]):
        position, wide, mid = f"visual.blocks.{i}", v["hidden_size"], v["intermediate_size"]
        yield from ((f"{position}.norm{n}.weight", (wide,)) for n in (1, 2))
        yield from _linear(f"{position}.attn.qkv", 3 * wide, wide)
        yield from _linear(f"{position}.attn.proj", wide, wide)
        yield from _linear(f"{position}.mlp.gate_proj", mid, wide)
        yield from _linear(f"{position}.mlp.up_proj", mid, wide)
        yield from _linear(f"{position}.mlp.down_proj", wide, mid)
    inner = 4 * v["hidden_size"]
    yield "visual.merger.ln_q.weight", (v["hidden_size"],)
    yield from _linear("visual.merger.mlp.0", inner, inner)
    yield from _linear("visual.merger.mlp.2", v["out_hidden_size"], inner)
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    for i in range(c["num_hidden_layers"]):
        position = f"model.layers.{i}"
        yield from _linear(f"{position}.self_attn.q_proj", hidden, hidden)
        yield from _linear(f"{position}.self_attn.k_proj", kv, hidden)
        yield from _linear(f"{position}.self_attn.v_proj", kv, hidden)
        yield f"{position}.self_attn.o_proj.weight", (hidden, hidden)
        yield f"{position}.mlp.gate_proj.weight", (middle, hidden)
        yield f"{position}.mlp.up_proj.weight", (middle, hidden)
        yield f"{position}.mlp.down_proj.weight", (hidden, middle)
        yield f"{position}.input_layernorm.weight", (hidden,)
        yield f"{position}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (c["vocab_size"], hidden)


def _linear(name: str, out: int, into: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, into)
    yield f"{name}.bias", (out,)


def info(size: str, reference: str) -> CheckpointInfo:
    """A checkpoint's headers in one file."""
    tensors: dict[str, TensorHeader] = {}
    offset = 0
    for name, shape in shapes(size):
        header = TensorHeader(name, DType.BF16, shape, "model.safetensors", offset)
        tensors[name] = header
        offset += header.nbytes
    return CheckpointInfo(
        reference=reference,
        revision=None,
        folder=Path(reference),
        config=config(size),
        tensors=tensors,
        shards=("model.safetensors",),
        metadata={"model.safetensors": {"format": "pt"}},
        fingerprint=f"{size}:{reference}",
    )


def architecture(size: str) -> Architecture:
    """A checkpoint's sites."""
    return resolve(config(size), [name for name, _ in shapes(size)])
