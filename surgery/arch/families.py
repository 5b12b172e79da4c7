"""The family table: one row per model family, put together from shared parts.

Every prefix a family's weights were ever published or saved under stands here. For vision-language
models those are the names of transformers 4 up to 4.51 (`visual.*` beside `model.layers.*`, or
`vision_tower.*` beside `language_model.model.*`), those of 4.52 on (`model.visual.*`,
`model.language_model.*`), which are also the names in memory, and those of the bare model without
its head. The sources are `_checkpoint_conversion_mapping` of transformers 4.57's model classes and
`transformers.conversion_mapping` of transformers 5.

Mixture-of-experts layers stand as each file spells them. Mixtral, Qwen2-MoE, Qwen3-MoE, Qwen3.5-MoE
and GLM-4.5V are saved with one tensor per expert (`experts.5.gate_proj.weight`; Mixtral `w1`, `w2`,
`w3`), which transformers 5 fuses in memory to `experts.gate_up_proj` and `experts.down_proj`. Those
are other tensors, of another shape, so they have other sites, and a file that holds them fused does
not line up with one that does not. Qwen3-VL-MoE is published and saved fused; in memory its two
tensors are transposed, under the same names. All of these, and the router `gate.weight`, are
`Module.MLP`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from surgery.arch.rules import Rule, under
from surgery.arch.site import Component, Module

if TYPE_CHECKING:
    from collections.abc import Mapping

_V, _P, _L = Component.VISION, Component.PROJECTOR, Component.LANGUAGE


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes:
        name: What reports call it.
        model_types: The `model_type` values of `config.json` it serves.
        architectures: The class names it serves, for a configuration without `model_type`.
        rules: Where the tensors under each prefix live.
        counts: For each component with a stack, the dotted configuration keys that may hold its
            number of layers; the first one present counts.
        tied: Whether the head is tied to the embedding when the configuration does not say.
        text_ties: Whether `text_config.tie_word_embeddings: true` counts although the top level
            says false, as in families that kept the key there before transformers 5.
        prediction_layers: Whether checkpoints may end with extra multi-token-prediction layers,
            numbered on after the last decoder layer, which transformers does not load.
    """

    name: str
    model_types: tuple[str, ...]
    architectures: tuple[str, ...]
    rules: tuple[Rule, ...]
    counts: Mapping[Component, tuple[str, ...]] = field(default_factory=dict)
    tied: bool = False
    text_ties: bool = False
    prediction_layers: bool = False


# A decoder, seen from its own top: every language model here has this shape.
_DECODER = (
    Rule("layers.#", _L),
    Rule("embed_tokens", Component.EMBEDDING, Module.EMBEDDING, keep=1),
    Rule("norm", Component.NORM, Module.NORM, keep=1),
    # Buffers that old checkpoints carry (`rotary_emb.inv_freq`).
    Rule("rotary_emb", _L, Module.OTHER, keep=1),
)
_HEAD = Rule("lm_head", Component.HEAD, Module.OTHER, keep=1)

# CLIP, SigLIP, Idefics, InternVL and Pixtral towers, seen from their own top.
_VIT = (
    Rule("embeddings", _V, Module.EMBEDDING),
    Rule("patch_conv", _V, Module.EMBEDDING, keep=1),
    Rule("patch_positional_embedding", _V, Module.OTHER, keep=1),
    Rule("pre_layrnorm", _V, Module.NORM, keep=1),
    Rule("ln_pre", _V, Module.NORM, keep=1),
    Rule("encoder.layers.#", _V),
    Rule("encoder.layer.#", _V),
    Rule("transformer.layers.#", _V),
    Rule("post_layernorm", _V, Module.NORM, keep=1),
    Rule("layernorm", _V, Module.NORM, keep=1),
    # SigLIP's attention pooling, unused by the models here but present in some files.
    Rule("head", _V, Module.OTHER, keep=1),
)
# The towers of Qwen-VL and GLM-V, which hold the projector too.
_VISUAL = (
    Rule("patch_embed", _V, Module.EMBEDDING, keep=1),
    Rule("pos_embed", _V, Module.EMBEDDING, keep=1),
    Rule("embeddings", _V, Module.EMBEDDING),
    Rule("rotary_pos_emb", _V, Module.OTHER, keep=1),
    Rule("blocks.#", _V),
    Rule("post_conv_layernorm", _V, Module.NORM, keep=1),
    Rule("post_layernorm", _V, Module.NORM, keep=1),
    Rule("downsample", _P, Module.OTHER, keep=1),
    Rule("merger", _P),
    Rule("deepstack_merger_list", _P, keep=1),
)

_TEXT_COUNTS = {_L: ("num_hidden_layers",)}
_MM_COUNTS = {
    # Qwen2-VL and Qwen2.5-VL kept the language model's keys at the top before transformers 4.52.
    _L: ("text_config.num_hidden_layers", "num_hidden_layers"),
    _V: ("vision_config.num_hidden_layers", "vision_config.depth"),
}

_TEXT_RULES = (*under(("model", ""), _DECODER), _HEAD)
_VISUAL_RULES = (
    *under(("model.visual", "visual"), (*_VISUAL, Rule("", _V, certain=False))),
    *under(("model.language_model", "model", "language_model"), _DECODER),
    _HEAD,
    # Qwen3.5's multi-token prediction, which transformers does not load.
    Rule("mtp", Component.OTHER, Module.OTHER, keep=1),
)
_TOWERS = (
    "model.vision_tower",
    "vision_tower",
    "model.vision_tower.vision_model",
    "vision_tower.vision_model",
)
_LLAVA_RULES = (
    *under(_TOWERS, _VIT),
    *under(_TOWERS[:2], (Rule("", _V, certain=False),)),
    *under(
        ("model", ""),
        (Rule("multi_modal_projector", _P), Rule("image_newline", _P, Module.OTHER, keep=1)),
    ),
    *under(
        (
            "model.language_model",
            "language_model.model",
            "language_model",
            # Some 4.52 and 5.x releases saved the language model's own prefix twice.
            "model.language_model.model",
        ),
        _DECODER,
    ),
    *under(("", "language_model"), (_HEAD,)),
)
_IDEFICS_RULES = (
    *under(("model.vision_model", "vision_model"), (*_VIT, Rule("", _V, certain=False))),
    *under(("model.connector", "connector"), (Rule("", _P),)),
    *under(("model.text_model", "text_model"), _DECODER),
    _HEAD,
)


def _text(name: str, stem: str, *, bare: str = "", tied: bool = False) -> Family:
    """A causal language model; its bare class is `bare` where that is not the stem plus Model."""
    classes = (f"{stem}ForCausalLM", bare or f"{stem}Model")
    return Family(name, (name,), classes, _TEXT_RULES, _TEXT_COUNTS, tied)


def _visual(name: str, stem: str, **flags: bool) -> Family:
    """A model with `visual` beside its decoder; its text half alone is served too."""
    types = (name, f"{name}_text")
    classes = (f"{stem}ForConditionalGeneration", f"{stem}Model")
    return Family(name, types, classes, _VISUAL_RULES, _MM_COUNTS, **flags)


def _llava(name: str, stem: str, **flags: bool) -> Family:
    """A model of LLaVA's shape: vision tower, projector, whole language model."""
    classes = (f"{stem}ForConditionalGeneration", f"{stem}Model")
    return Family(name, (name,), classes, _LLAVA_RULES, _MM_COUNTS, **flags)


def _idefics(name: str, stem: str) -> Family:
    """A model of Idefics' shape: vision model, connector, text model."""
    classes = (f"{stem}ForConditionalGeneration", f"{stem}Model")
    return Family(name, (name,), classes, _IDEFICS_RULES, _MM_COUNTS)


FAMILIES: tuple[Family, ...] = (
    _visual("qwen2_vl", "Qwen2VL", text_ties=True),
    _visual("qwen2_5_vl", "Qwen2_5_VL", text_ties=True),
    _visual("qwen3_vl", "Qwen3VL"),
    _visual("qwen3_vl_moe", "Qwen3VLMoe"),
    _visual("qwen3_5", "Qwen3_5"),
    _visual("qwen3_5_moe", "Qwen3_5Moe"),
    _visual("glm4v", "Glm4v", text_ties=True),
    _visual("glm4v_moe", "Glm4vMoe", text_ties=True, prediction_layers=True),
    _visual("glm46v", "Glm46V"),
    _llava("llava", "Llava", text_ties=True),
    _llava("llava_next", "LlavaNext"),
    _llava("llava_next_video", "LlavaNextVideo"),
    _llava("llava_onevision", "LlavaOnevision", text_ties=True),
    _llava("internvl", "InternVL", tied=True),
    _llava("gemma3", "Gemma3", tied=True),
    _llava("mistral3", "Mistral3", tied=True),
    _llava("paligemma", "PaliGemma", tied=True),
    _llava("aya_vision", "AyaVision", tied=True),
    _idefics("idefics3", "Idefics3"),
    _idefics("smolvlm", "SmolVLM"),
    _text("llama", "Llama"),
    _text("mistral", "Mistral"),
    _text("ministral3", "Ministral3"),
    _text("mixtral", "Mixtral"),
    _text("qwen2", "Qwen2"),
    _text("qwen2_moe", "Qwen2Moe"),
    _text("qwen3", "Qwen3"),
    _text("qwen3_moe", "Qwen3Moe"),
    _text("gemma", "Gemma", tied=True),
    _text("gemma2", "Gemma2", tied=True),
    _text("gemma3_text", "Gemma3", bare="Gemma3TextModel", tied=True),
    _text("phi3", "Phi3"),
    _text("cohere", "Cohere", tied=True),
    _text("cohere2", "Cohere2", tied=True),
    _text("granite", "Granite"),
    _text("olmo2", "Olmo2"),
    _text("smollm3", "SmolLM3", tied=True),
    _text("glm4", "Glm4"),
)
