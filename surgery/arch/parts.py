"""The parts that rows of the family table are put together from.

Most parts have three spellings: that of transformers 4 (or of the model's own code), where vision,
projector and language model stand side by side; that of transformers 5 in memory, where they stand
under `model.`; and that of the bare model without its head.
"""

from __future__ import annotations

from surgery.arch.rules import Rule, under
from surgery.arch.site import Component, Module

_V, _P, _L = Component.VISION, Component.PROJECTOR, Component.LANGUAGE
_E, _N = Component.EMBEDDING, Component.NORM


def aside(*prefixes: str) -> tuple[Rule, ...]:
    """Place tensors of no part: audio, a talker, prediction layers. Leaves keep the prefix."""
    return tuple(Rule(prefix, Component.OTHER, Module.OTHER, keep=1) for prefix in prefixes)


def joins(*prefixes: str) -> tuple[Rule, ...]:
    """Place a projector's several parts at the model's top. Leaves keep the prefix."""
    return under(("model", ""), [Rule(prefix, _P, keep=1) for prefix in prefixes])


# A decoder, seen from its own top: nearly every language model has this shape.
DECODER = (
    Rule("layers.#", _L),
    Rule("embed_tokens", _E, Module.EMBEDDING, keep=1),
    Rule("norm", _N, Module.NORM, keep=1),
    # Buffers that old checkpoints carry (`rotary_emb.inv_freq`).
    Rule("rotary_emb", _L, Module.OTHER, keep=1),
)
HEAD = Rule("lm_head", Component.HEAD, Module.OTHER, keep=1)
LANGUAGE = (
    *under(
        (
            "model.language_model",
            "language_model.model",
            "language_model",
            # Some 4.52 and 5.x releases saved the language model's own prefix twice.
            "model.language_model.model",
        ),
        DECODER,
    ),
    *under(("", "language_model"), (HEAD,)),
)
# Gemma 3n and 4 put an embedding of its own into every layer.
PER_LAYER = under(
    ("model.language_model", "model"),
    (
        Rule("embed_tokens_per_layer", _E, Module.EMBEDDING, keep=1),
        Rule("per_layer_model_projection", _L, Module.OTHER, keep=1),
        Rule("per_layer_projection_norm", _L, Module.NORM, keep=1),
        Rule("altup_projections", _L, Module.OTHER, keep=1),
        Rule("altup_unembed_projections", _L, Module.OTHER, keep=1),
    ),
)
# OPT and T5, in BLIP-2 and InstructBLIP; the encoder of T5 has no layer numbers here.
OPT = (
    Rule("layers.#", _L),
    Rule("embed_tokens", _E, Module.EMBEDDING, keep=1),
    Rule("embed_positions", _E, Module.EMBEDDING, keep=1),
    Rule("final_layer_norm", _N, Module.NORM, keep=1),
)
T5 = (
    Rule("shared", _E, Module.EMBEDDING, keep=1),
    Rule("encoder", _L, Module.OTHER, keep=1),
    Rule("decoder.block.#", _L),
    Rule("decoder.embed_tokens", _E, Module.EMBEDDING, keep=2),
    Rule("decoder.final_layer_norm", _N, Module.NORM, keep=1),
)
# InternLM 2, in InternVL.
INTERNLM = (
    Rule("tok_embeddings", _E, Module.EMBEDDING, keep=1),
    *DECODER,
)
# Molmo, whose own code is OLMo's.
MOLMO = (
    Rule("blocks.#", _L),
    Rule("wte", _E, Module.EMBEDDING, keep=1),
    Rule("ln_f", _N, Module.NORM, keep=1),
    Rule("ff_out", Component.HEAD, Module.OTHER, keep=1),
)

# CLIP, SigLIP, Idefics, InternVL and Pixtral towers, seen from their own top.
VIT = (
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
VISUAL = (
    Rule("patch_embed", _V, Module.EMBEDDING, keep=1),
    Rule("pos_embed", _V, Module.EMBEDDING, keep=1),
    Rule("embeddings", _V, Module.EMBEDDING),
    Rule("rotary_pos_emb", _V, Module.OTHER, keep=1),
    Rule("blocks.#", _V),
    Rule("post_conv_layernorm", _V, Module.NORM, keep=1),
    Rule("post_layernorm", _V, Module.NORM, keep=1),
    Rule("downsample", _P, Module.OTHER, keep=1),
    Rule("merger", _P),
    Rule("merger_list", _P, keep=1),
    Rule("deepstack_merger_list", _P, keep=1),
)
# MoonViT of Kimi, under the names of its own code and of transformers.
MOONVIT = (
    *under(
        ("encoder", ""),
        (
            Rule("patch_embed", _V, Module.EMBEDDING, keep=1),
            Rule("blocks.#", _V),
            Rule("layers.#", _V),
            Rule("final_layernorm", _V, Module.NORM, keep=1),
            Rule("rope_2d", _V, Module.OTHER, keep=1),
        ),
    ),
)


def tower(*prefixes: str, rules: tuple[Rule, ...] = VIT) -> tuple[Rule, ...]:
    """Place a tower; tensors without a rule are vision too, and reported as guessed."""
    return under(prefixes, (*rules, Rule("", _V, certain=False)))


def sees(*patterns: str) -> tuple[Rule, ...]:
    """Place all under the patterns as vision; `#` numbers its layers."""
    return tuple(Rule(p, _V, keep=0 if p.endswith("#") else 1) for p in patterns)


TEXT_RULES = (*under(("model", ""), DECODER), HEAD)
VISUAL_RULES = (
    *tower("model.visual", "visual", rules=VISUAL),
    *under(("model.language_model", "model", "language_model"), DECODER),
    HEAD,
    # Qwen3.5's multi-token prediction, which transformers does not load.
    *aside("mtp"),
)
TOWERS = (
    "model.vision_tower",
    "vision_tower",
    "model.vision_tower.vision_model",
    "vision_tower.vision_model",
)
JOINS = under(
    ("model", ""),
    (Rule("multi_modal_projector", _P), Rule("image_newline", _P, Module.OTHER, keep=1)),
)
LLAVA_RULES = (
    *under(TOWERS, VIT),
    *under(TOWERS[:2], (Rule("", _V, certain=False),)),
    *JOINS,
    *LANGUAGE,
)
IDEFICS_RULES = (
    *tower("model.vision_model", "vision_model"),
    *under(("model.connector", "connector"), (Rule("", _P),)),
    *under(("model.text_model", "text_model"), DECODER),
    HEAD,
)
# LLaVA as its own code and its forks save it.
_ORIGINAL = ("model.vision_tower.vision_tower", "vision_tower.vision_tower")
LLAVA_ORIGINAL = (
    *under(("model", "llm.model"), DECODER),
    *under(("llm",), (HEAD,)),
    *sees(*_ORIGINAL),
    *under([f"{tower}.vision_model" for tower in _ORIGINAL], VIT),
    *joins("mm_projector", "vision_resampler"),
)
