"""Tensor names of every image-text-to-text type that the installed transformers knows.

Each type's default configuration is built on the meta device, so nothing but names is made. Where
the defaults do not build, the few keys that are missing stand in `OVERRIDES`. Towers of timm, which
is not installed, are stood in for by modules with such towers' names.

`python -m tests.atlas` rewrites the table of surgery/arch/README.md.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers.core_model_loading import revert_weight_conversion
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from surgery.arch import Component, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from surgery.arch import Architecture, Site

TYPES: Mapping[str, str] = dict(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
OVERRIDES: Mapping[str, Mapping[str, Any]] = {
    "aya_vision": {
        "vision_config": {"model_type": "siglip_vision_model", "num_attention_heads": 16}
    },
    "chameleon": {"vocabulary_map": {"<image>": 4}},
    "cohere_compass": {
        "text_config": {
            "rope_parameters": {
                kind: {"rope_type": "default", "rope_theta": 1e4}
                for kind in ("full_attention", "sliding_attention")
            }
        }
    },
    "deepseek_ocr2": {"text_config": {"mlp_layer_types": ["dense"] + ["sparse"] * 31}},
    "diffusion_gemma": {
        "text_config": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 64}
    },
    "emu3": {"vocabulary_map": {"<image>": 4, "<|extra_200|>": 5}},
    "gemma4": {"vision_config": {}, "audio_config": {}},
    "gemma4_unified": {"vision_config": {}, "audio_config": {}},
    "granite4_vision": {"deepstack_layer_map": [[3, 0], [6, 1]], "downsample_rate": "4/8"},
    "hunyuan_vl": {"text_config": {"head_dim": 128}},
    "perception_lm": {
        "vision_config": {"model_type": "timm_wrapper", "model_args": {"embed_dim": 1024}}
    },
    "qwen4_exp": {
        "text_config": {
            "indexer_budget": 64,
            "indexer_compress_ratio": 4,
            "indexer_n_heads": 4,
            "indexer_kv_heads": 1,
            "indexer_head_dim": 256,
        }
    },
}
# What timm's towers call their tensors, a few of each kind.
_TIMM = {
    "fast_vlm": (
        *(f"stem.{n}.reparam_conv" for n in range(3)),
        *(f"stages.{s}.blocks.{b}.{leaf}" for s in range(5) for b in range(2 + s % 3)
          for leaf in ("token_mixer.reparam_conv", "mlp.fc1", "mlp.fc2")),
        "final_conv.reparam_conv",
    ),
    "gemma3n": (
        "conv_stem.conv",
        *(f"blocks.{s}.{b}.{leaf}" for s in range(4) for b in range(3 + s)
          for leaf in ("conv_exp", "bn1", "conv_pwl", "bn2")),
        "msfa.ffn.pw_exp.conv",
    ),
    "perception_lm": (
        "patch_embed.proj",
        *(f"blocks.{n}.{leaf}" for n in range(23)
          for leaf in ("attn.qkv", "attn.proj", "norm1", "norm2", "mlp.fc1", "mlp.fc2")),
        "norm_pre",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One type's configuration and names.

    Attributes:
        config: As `save_pretrained` writes it.
        disk: The names that `save_pretrained` writes.
        memory: The names of the model's `state_dict`.
        failure: The reason why it was not built; empty if it was.
    """

    config: dict[str, Any] = field(default_factory=dict)
    disk: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    failure: str = ""


def _tower(names: Iterable[str]) -> nn.Module:
    """Return a module whose parameters have these names under `timm_model`."""
    root = nn.Module()
    for name in names:
        module = root
        for segment in ("timm_model", *name.split(".")):
            if segment not in dict(module.named_children()):
                module.add_module(segment, nn.Module())
            module = module.get_submodule(segment)
        module.weight = nn.Parameter(torch.empty(1))
    return root


def _few_experts(config: Any) -> None:
    """Leave four experts a layer: the names of the others differ in nothing but their number."""
    for key, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            _few_experts(value)
        elif key.endswith("experts") and isinstance(value, int) and value > 4:
            setattr(config, key, 4)


@cache
def entry(model_type: str) -> Entry:
    """Build a type on the meta device, once."""
    built = AutoModel.from_config

    def from_config(config: Any, **kwargs: Any) -> nn.Module:
        if config.model_type in ("timm_wrapper", "gemma3n_vision"):
            return _tower(_TIMM[model_type])
        return built(config, **kwargs)

    arguments = json.loads(json.dumps(OVERRIDES.get(model_type, {})))
    with warnings.catch_warnings(action="ignore"), torch.device("meta"):
        try:
            config = AutoConfig.for_model(model_type, **arguments)
            _few_experts(config)
            with mock.patch.object(AutoModel, "from_config", from_config):
                model = getattr(transformers, TYPES[model_type])(config)
        except (ImportError, KeyError, TypeError, ValueError, AttributeError) as error:
            return Entry(failure=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
    memory = model.state_dict()
    tied = model.all_tied_weights_keys or {}
    disk = revert_weight_conversion(model, {k: v for k, v in memory.items() if k not in tied})
    text = json.loads(config.to_json_string(use_diff=False))
    return Entry(text, tuple(disk), tuple(memory))


README = Path(__file__).parents[1] / "surgery" / "arch" / "README.md"
_HEADER = "| type | by | layers | components |\n|---|---|---|---|\n"


def resolved(model_type: str, names: Iterable[str]) -> Architecture:
    """Resolve names with a type's configuration."""
    with warnings.catch_warnings(action="ignore"):
        return resolve(entry(model_type).config, names)


def row(model_type: str) -> str:
    """Return a type's line of the table in surgery/arch/README.md."""
    built = entry(model_type)
    if built.failure:
        return f"| {model_type} | not built | | {built.failure} |\n"
    sites: dict[str, Site] = {}
    for names in (built.memory, built.disk):
        architecture = resolved(model_type, names)
        sites |= architecture.sites
    family = architecture.family
    by = "structure" if family == "unknown" else "row" if family == model_type else f"row {family}"
    layers = ", ".join(f"{part} {count}" for part, count in architecture.layers.items())
    return f"| {model_type} | {by} | {layers} | {_components(sites)} |\n"


def _components(sites: Mapping[str, Site]) -> str:
    """Return the shortest prefixes that determine every component; the longest match counts."""
    tree: dict[tuple[str, ...], Counter[Component]] = defaultdict(Counter)
    for name, site in sites.items():
        path = [s for s in name.split(".") if s not in ("model", "weight", "bias")]
        cut = next((i for i, s in enumerate(path) if s.isdigit()), len(path))
        for n in range(1, cut + 1):
            tree[tuple(path[:n])][site.component] += 1
    text: dict[Component, list[str]] = defaultdict(list)
    parent: dict[tuple[str, ...], Component | None] = {(): None}
    for prefix in sorted(tree):
        counts, above = tree[prefix], parent[prefix[:-1]]
        (most, number), *rest = counts.most_common()
        inner = (rest and 2 * number < sum(counts.values())) or len(rest) > 2
        parent[prefix] = above if inner else most
        if not inner and most is not above:
            text[most].append(".".join(prefix))
    return "; ".join(
        f"{part}: {', '.join(f'`{p}`' for p in text[part])}" for part in Component if text[part]
    )


def main() -> None:
    """Write the table."""
    text = README.read_text()
    start = text.index(_HEADER) + len(_HEADER)
    README.write_text(text[:start] + "".join(map(row, sorted(TYPES))))


if __name__ == "__main__":
    main()
