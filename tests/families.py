"""Tiny real models of every family, built by transformers itself.

`TINY[family]()` gives a model in memory, `save_tiny` one on disk, `spell_v4` the same weights under
the names that transformers 4 and the published checkpoints of that time used. Every parameter is
drawn from the seed, norms and biases too, so that two seeds differ in every tensor.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, PreTrainedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Renames = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tiny:
    """Options to build one family small.

    Attributes:
        model_type: The configuration's `model_type`.
        model_class: Name of the class in transformers.
        config: Arguments of the configuration.
        v4: Patterns and replacements, tried in order, first match wins, that turn the names of
            `save_pretrained` or of the model in memory into those published at the time of
            transformers 4; empty where they never changed.
    """

    model_type: str
    model_class: str
    config: Mapping[str, Any] = field(default_factory=dict)
    v4: Renames = ()


_TEXT: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_HEAD = {"head_dim": 8}
_MROPE = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
}
# For a family that rotates only half of each head unless told.
_WHOLE_MROPE = {"rope_parameters": {**_MROPE["rope_parameters"], "partial_rotary_factor": 1.0}}
_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "decoder_sparse_step": 1,
}
_GLM_EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}
_LINEAR_ATTENTION = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
_VIT: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_CLIP = {"model_type": "clip_vision_model", **_VIT, "projection_dim": 24}
_SIGLIP = {"model_type": "siglip_vision_model", **_VIT, "vision_use_head": False}
_QWEN_VIT: dict[str, Any] = {"depth": 2, "num_heads": 2, "patch_size": 14}
_QWEN_IDS = {
    "image_token_id": 90, "video_token_id": 91, "vision_start_token_id": 92,
    "vision_end_token_id": 93,
}  # fmt: skip
_GLM_IDS = {
    "image_token_id": 88, "video_token_id": 89, "image_start_token_id": 90,
    "image_end_token_id": 91, "video_start_token_id": 92, "video_end_token_id": 93,
}  # fmt: skip
_QWEN3_VIT = {
    **_QWEN_VIT,
    "depth": 3,
    "hidden_size": 32,
    "intermediate_size": 48,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
}
_GLM_VIT = {**_QWEN_VIT, "hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 32}

# Published Qwen2-VL and Qwen2.5-VL checkpoints hold `visual.*` next to `model.layers.*`.
_V4_QWEN: Renames = ((r"^model\.visual\.", "visual."), (r"^model\.language_model\.", "model."))
# LLaVA and its relatives: separate parts, with a whole language model.
_V4_LLAVA: Renames = (
    (r"^model\.language_model\.", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.(vision_tower|multi_modal_projector|image_newline)", r"\1"),
)
# CLIP and SigLIP towers had one level more.
_V4_CLIP: Renames = (
    (r"^(?:model\.)?vision_tower\.(?!vision_model\.)", "vision_tower.vision_model."),
    *_V4_LLAVA,
)


def _llava(model_type: str, model_class: str, text: Mapping[str, Any], **more: Any) -> Tiny:
    config = {
        "text_config": text,
        "vision_config": _CLIP,
        "image_token_index": 90,
        **more,
    }
    return Tiny(model_type, model_class, config, _V4_CLIP)


_CAUSAL = {
    "llama": ("llama", "LlamaForCausalLM", {}),
    "mistral": ("mistral", "MistralForCausalLM", _HEAD),
    "ministral3": (
        "ministral3",
        "Ministral3ForCausalLM",
        {
            **_HEAD,
            # By default YaRN, whose original length would not fit the small one.
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1e4,
                "factor": 2.0,
                "original_max_position_embeddings": 64,
                "llama_4_scaling_beta": 0.1,
            },
        },
    ),
    "mixtral": ("mixtral", "MixtralForCausalLM", {"num_local_experts": 4}),
    "qwen2": ("qwen2", "Qwen2ForCausalLM", {}),
    "qwen2_moe": (
        "qwen2_moe",
        "Qwen2MoeForCausalLM",
        {**_EXPERTS, "shared_expert_intermediate_size": 24},
    ),
    "qwen3": ("qwen3", "Qwen3ForCausalLM", _HEAD),
    "qwen3_moe": ("qwen3_moe", "Qwen3MoeForCausalLM", {**_EXPERTS, **_HEAD}),
    "gemma": ("gemma", "GemmaForCausalLM", _HEAD),
    "gemma2": ("gemma2", "Gemma2ForCausalLM", _HEAD),
    "gemma3_text": ("gemma3_text", "Gemma3ForCausalLM", _HEAD),
    "phi3": ("phi3", "Phi3ForCausalLM", {}),
    "cohere": ("cohere", "CohereForCausalLM", {"use_qk_norm": True}),
    "cohere2": ("cohere2", "Cohere2ForCausalLM", _HEAD),
    "granite": ("granite", "GraniteForCausalLM", {}),
    "olmo2": ("olmo2", "Olmo2ForCausalLM", {}),
    "smollm3": ("smollm3", "SmolLM3ForCausalLM", {}),
    "glm4": ("glm4", "Glm4ForCausalLM", _HEAD),
}

FAMILIES: dict[str, Tiny] = {
    **{name: Tiny(kind, cls, {**_TEXT, **more}) for name, (kind, cls, more) in _CAUSAL.items()},
    "qwen2_vl": Tiny(
        "qwen2_vl",
        "Qwen2VLForConditionalGeneration",
        {
            "text_config": {**_TEXT, **_MROPE},
            "vision_config": {**_QWEN_VIT, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2},
            **_QWEN_IDS,
        },
        _V4_QWEN,
    ),
    "qwen2_5_vl": Tiny(
        "qwen2_5_vl",
        "Qwen2_5_VLForConditionalGeneration",
        {
            "text_config": {**_TEXT, **_MROPE},
            "vision_config": {
                **_QWEN_VIT,
                "hidden_size": 32,
                "intermediate_size": 48,
                "out_hidden_size": 32,
                "fullatt_block_indexes": [1],
            },
            **_QWEN_IDS,
        },
        _V4_QWEN,
    ),
    "qwen3_vl": Tiny(
        "qwen3_vl",
        "Qwen3VLForConditionalGeneration",
        {
            "text_config": {**_TEXT, **_HEAD, **_MROPE},
            "vision_config": {**_QWEN3_VIT, "deepstack_visual_indexes": [0, 1]},
            **_QWEN_IDS,
        },
    ),
    "qwen3_vl_moe": Tiny(
        "qwen3_vl_moe",
        "Qwen3VLMoeForConditionalGeneration",
        {
            "text_config": {**_TEXT, **_HEAD, **_MROPE, **_EXPERTS},
            "vision_config": {**_QWEN3_VIT, "deepstack_visual_indexes": [0, 1]},
            **_QWEN_IDS,
        },
    ),
    "qwen3_5": Tiny(
        "qwen3_5",
        "Qwen3_5ForConditionalGeneration",
        {
            "text_config": {
                **_TEXT,
                **_HEAD,
                **_MROPE,
                **_LINEAR_ATTENTION,
            },
            "vision_config": _QWEN3_VIT,
            **_QWEN_IDS,
        },
    ),
    "qwen3_5_moe": Tiny(
        "qwen3_5_moe",
        "Qwen3_5MoeForConditionalGeneration",
        {
            "text_config": {
                **_TEXT,
                **_HEAD,
                **_MROPE,
                **_EXPERTS,
                **_LINEAR_ATTENTION,
                "shared_expert_intermediate_size": 24,
            },
            "vision_config": _QWEN3_VIT,
            **_QWEN_IDS,
        },
    ),
    "llava": _llava("llava", "LlavaForConditionalGeneration", {"model_type": "llama", **_TEXT}),
    "llava_next": _llava(
        "llava_next",
        "LlavaNextForConditionalGeneration",
        {"model_type": "mistral", **_TEXT, **_HEAD},
        image_grid_pinpoints=[[28, 56], [56, 28]],
    ),
    "llava_next_video": _llava(
        "llava_next_video",
        "LlavaNextVideoForConditionalGeneration",
        {"model_type": "llama", **_TEXT},
        image_grid_pinpoints=[[28, 56], [56, 28]],
        video_token_index=91,
    ),
    "llava_onevision": _llava(
        "llava_onevision",
        "LlavaOnevisionForConditionalGeneration",
        {"model_type": "qwen2", **_TEXT},
        vision_config=_SIGLIP,
        video_token_index=91,
        image_grid_pinpoints=[[28, 56], [56, 28]],
    ),
    "internvl": Tiny(
        "internvl",
        "InternVLForConditionalGeneration",
        {
            "text_config": {"model_type": "qwen2", **_TEXT},
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 40,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "image_size": [28, 28],
                "patch_size": [14, 14],
                "use_qk_norm": True,
                "attention_bias": True,
            },
            "image_token_id": 90,
            "tie_word_embeddings": False,
        },
        _V4_LLAVA,
    ),
    "gemma3": Tiny(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        {
            "text_config": {**_TEXT, **_HEAD},
            "vision_config": _SIGLIP,
            "mm_tokens_per_image": 4,
            "image_token_index": 90,
            "boi_token_index": 91,
            "eoi_token_index": 92,
        },
        _V4_CLIP,
    ),
    "mistral3": Tiny(
        "mistral3",
        "Mistral3ForConditionalGeneration",
        {
            "text_config": {"model_type": "mistral", **_TEXT, **_HEAD},
            "vision_config": {"model_type": "pixtral", **_VIT, "head_dim": 12},
            "image_token_index": 10,
            "tie_word_embeddings": False,
        },
        _V4_LLAVA,
    ),
    "pixtral": Tiny(
        "llava",
        "LlavaForConditionalGeneration",
        {
            "text_config": {"model_type": "mistral", **_TEXT, **_HEAD},
            "vision_config": {"model_type": "pixtral", **_VIT, "head_dim": 12},
            "image_token_index": 10,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        _V4_LLAVA,
    ),
    "idefics3": Tiny(
        "idefics3",
        "Idefics3ForConditionalGeneration",
        {
            "text_config": {"model_type": "llama", **_TEXT},
            "vision_config": _VIT,
            "image_token_id": 90,
            "pad_token_id": 0,
        },
    ),
    "smolvlm": Tiny(
        "smolvlm",
        "SmolVLMForConditionalGeneration",
        {
            "text_config": {"model_type": "llama", **_TEXT},
            "vision_config": _VIT,
            "image_token_id": 90,
            "pad_token_id": 0,
        },
    ),
    "glm4v": Tiny(
        "glm4v",
        "Glm4vForConditionalGeneration",
        {
            "text_config": {**_TEXT, **_MROPE},
            "vision_config": {**_GLM_VIT, "image_size": 28},
            **_GLM_IDS,
        },
    ),
    "glm4v_moe": Tiny(
        "glm4v_moe",
        "Glm4vMoeForConditionalGeneration",
        {
            "text_config": {**_TEXT, **_WHOLE_MROPE, **_GLM_EXPERTS},
            "vision_config": {**_GLM_VIT, "image_size": 28},
            **_GLM_IDS,
        },
    ),
    "glm46v": Tiny(
        "glm46v",
        "Glm46VForConditionalGeneration",
        {
            "text_config": {"model_type": "glm4v_text", **_TEXT, **_MROPE},
            "vision_config": {"model_type": "glm4v_vision", **_GLM_VIT, "image_size": 28},
            **_GLM_IDS,
        },
    ),
    "paligemma": Tiny(
        "paligemma",
        "PaliGemmaForConditionalGeneration",
        {
            "text_config": {"model_type": "gemma", **_TEXT, **_HEAD},
            "vision_config": {**_SIGLIP, "projection_dim": 32},
            "image_token_index": 90,
            "projection_dim": 32,
        },
        _V4_CLIP,
    ),
    "aya_vision": Tiny(
        "aya_vision",
        "AyaVisionForConditionalGeneration",
        {
            "text_config": {"model_type": "cohere2", **_TEXT, **_HEAD},
            "vision_config": _SIGLIP,
            "image_token_index": 90,
        },
        _V4_CLIP,
    ),
}


def _merged(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides applied to a configuration, nested keys one by one."""
    result = {**config, **overrides}
    for key in ("text_config", "vision_config"):
        if key in config and key in overrides:
            result[key] = {**config[key], **overrides[key]}
    return result


def build_tiny(family: str, *, seed: int = 0, **config_overrides: Any) -> PreTrainedModel:
    """Build a tiny model in float32.

    Args:
        family: A key of `FAMILIES`.
        seed: Decides every parameter.
        **config_overrides: Laid over the configuration; `text_config` and `vision_config` are
            merged key by key.

    Returns:
        The model, in evaluation mode.
    """
    return built(FAMILIES[family], seed=seed, **config_overrides)


def built(tiny: Tiny, *, seed: int = 0, **config_overrides: Any) -> PreTrainedModel:
    """Build a tiny model from how it is built; as `build_tiny`."""
    # for_model fills the dictionaries it is given: hand it copies.
    arguments = json.loads(json.dumps(_merged(tiny.config, config_overrides)))
    config = AutoConfig.for_model(tiny.model_type, **arguments)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = getattr(transformers, tiny.model_class)(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model.eval()


TINY: dict[str, Callable[[], PreTrainedModel]] = {
    family: partial(build_tiny, family) for family in FAMILIES
}


def save_tiny(
    family: str,
    folder: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.bfloat16,
    as_in_memory: bool = False,
    **config_overrides: Any,
) -> Path:
    """Build a tiny model and save it as transformers does.

    `save_pretrained` goes back to the names (and unfused experts) of the published checkpoints.

    Args:
        family: A key of `FAMILIES`.
        folder: Where to; made if need be.
        seed: Decides every weight.
        dtype: Element type of the weights.
        as_in_memory: Save under the names the model has in memory instead.
        **config_overrides: As for `build_tiny`.

    Returns:
        The folder.
    """
    model = build_tiny(family, seed=seed, **config_overrides).to(dtype)
    model.save_pretrained(folder, save_original_format=not as_in_memory)
    return folder


def renamed(name: str, renames: Renames) -> str:
    """The name after the first pattern that matches it."""
    for pattern, replacement in renames:
        new, hits = re.subn(pattern, replacement, name)
        if hits:
            return new
    return name


def spell_v4(family: str, folder: Path, out: Path) -> Path:
    """Write the checkpoint in `folder` once more, under the names of transformers 4.

    Args:
        family: A key of `FAMILIES`.
        folder: A checkpoint from `save_tiny`, in one file.
        out: Where to; made if need be.

    Returns:
        The folder `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    tensors = load_file(folder / "model.safetensors")
    spelled = {renamed(name, FAMILIES[family].v4): tensor for name, tensor in tensors.items()}
    save_file(spelled, out / "model.safetensors", metadata={"format": "pt"})
    for extra in folder.glob("*.json"):
        (out / extra.name).write_bytes(extra.read_bytes())
    return out
