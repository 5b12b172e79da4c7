"""Small plans without files, for tests of what is drawn and printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgery.checkpoint.dtype import DType
from surgery.checkpoint.source import CheckpointInfo, TensorHeader
from surgery.plan import make_plan
from surgery.recipe.grammar import parse_selector
from surgery.recipe.recipe import Add, Interpolate, Merge, Recipe, Transplant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surgery.plan import Plan
    from surgery.recipe.recipe import Step

_PARTS = ("self_attn.q_proj.weight", "self_attn.q_proj.bias", "self_attn.o_proj.weight",
          "mlp.up_proj.weight", "mlp.down_proj.weight", "input_layernorm.weight")  # fmt: skip


_SEEING = ("attn.qkv.weight", "mlp.up_proj.weight")


def _names(layers: int, vision: int) -> Iterator[str]:
    for i in range(vision):
        yield from (f"visual.blocks.{i}.{leaf}" for leaf in _SEEING)
    yield from ("visual.patch_embed.proj.weight", "visual.merger.mlp.0.weight")
    yield "model.embed_tokens.weight"
    for i in range(layers):
        yield from (f"model.layers.{i}.{leaf}" for leaf in _PARTS)
    yield from ("model.norm.weight", "lm_head.weight")


def info(reference: str, layers: int = 9, vision: int = 4) -> CheckpointInfo:
    """Headers of a model like Qwen2.5-VL, 2 kB to each tensor."""
    config: dict[str, Any] = {
        "model_type": "qwen2_5_vl",
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "num_hidden_layers": layers,
        "tie_word_embeddings": False,
        "vision_config": {"depth": vision},
    }
    shard = "model.safetensors"
    headers = [
        TensorHeader(name, DType.BF16, (32, 32), shard, 2048 * i)
        for i, name in enumerate(_names(layers, vision))
    ]
    return CheckpointInfo(
        reference=reference,
        revision=None,
        folder=Path("nowhere"),
        config=config,
        tensors={header.name: header for header in headers},
        shards=(shard,),
        metadata={shard: {}},
        fingerprint="0" * 64,
    )


def plan(*steps: Step, layers: int = 9, vision: int = 4, name: str = "example") -> Plan:
    """A plan over models `in` (the base) and `rl`."""
    recipe = Recipe(
        name=name,
        models={"in": "org/cold-start", "rl": "org/rl"},
        base="in",
        steps=steps,
        description="A variant for tests",
    )
    return make_plan(recipe, {n: info(str(r), layers, vision) for n, r in recipe.models.items()})


def transplant(selector: str) -> Transplant:
    """A step from `rl`."""
    return Transplant(parse_selector(selector), "rl")


def interpolate(selector: str, *t: float) -> Interpolate:
    """A spherical step towards `rl`."""
    return Interpolate(parse_selector(selector), "rl", "slerp", t)


def add(selector: str, weight: float) -> Add:
    """A step along rl - in."""
    return Add(parse_selector(selector), "rl", "in", (weight,))


def merge(selector: str) -> Merge:
    """TIES of both."""
    values = {"in": {"weight": 0.5}, "rl": {"weight": 0.5, "density": 0.8}}
    return Merge(parse_selector(selector), "ties", values, base="in")
