"""The family table: one row per model family, put together from shared parts.

The parts are in `parts.py`, with every prefix that weights were published or saved under: the names
of transformers 4 up to 4.51 (`visual.*` next to `model.layers.*`, or `vision_tower.*` next to
`language_model.model.*`), those of 4.52 on (`model.visual.*`, `model.language_model.*`), which are
also the names in memory, and those of the bare model without its head. The sources are
`_checkpoint_conversion_mapping` of transformers 4.57's model classes,
`transformers.conversion_mapping` of transformers 5, and for models with code of their own the
headers of their published files.

Mixture-of-experts layers stand as each file spells them. Mixtral, Qwen2-MoE, Qwen3-MoE, Qwen3.5-MoE
and GLM-4.5V are saved with one tensor per expert (`experts.5.gate_proj.weight`; Mixtral `w1`, `w2`,
`w3`), which transformers 5 fuses in memory to `experts.gate_up_proj` and `experts.down_proj`. Those
are other tensors, of another shape, so they have other sites, and a file that holds them fused does
not line up with one that does not. Qwen3-VL-MoE is published and saved fused; in memory its two
tensors are transposed, under the same names. All of these, and the router `gate.weight`, are
`Module.MLP`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.arch.custom import CUSTOM
from surgery.arch.family import MM_COUNTS, TEXT_COUNTS, Family
from surgery.arch.parts import (
    IDEFICS_RULES,
    LLAVA_ORIGINAL,
    LLAVA_RULES,
    TEXT_RULES,
    VISUAL_RULES,
)

if TYPE_CHECKING:
    from surgery.arch.rules import Rule


def _text(name: str, stem: str, *, bare: str = "", tied: bool = False) -> Family:
    """Return the row of a causal language model; `bare` names its class without a head."""
    classes = (f"{stem}ForCausalLM", bare or f"{stem}Model")
    return Family(name, (name,), classes, TEXT_RULES, TEXT_COUNTS, tied)


def _visual(name: str, stem: str, *more: str, **flags: bool) -> Family:
    """Return the row of a model with `visual` next to its decoder; its text part alone fits too."""
    types = (name, f"{name}_text", *more)
    classes = (f"{stem}ForConditionalGeneration", f"{stem}Model")
    return Family(name, types, classes, VISUAL_RULES, MM_COUNTS, **flags)


def _llava(
    name: str, stem: str, *forks: str, rules: tuple[Rule, ...] = (), **flags: bool
) -> Family:
    """Return the row of a LLaVA-like model: vision tower, projector, whole language model."""
    classes = (f"{stem}ForConditionalGeneration", f"{stem}Model")
    return Family(name, (name, *forks), classes, (*LLAVA_RULES, *rules), MM_COUNTS, **flags)


def _idefics(name: str, stem: str) -> Family:
    """Return the row of an Idefics-like model: vision model, connector, text model."""
    classes = (f"{stem}ForConditionalGeneration", f"{stem}Model")
    return Family(name, (name,), classes, IDEFICS_RULES, MM_COUNTS)


# The types that LLaVA's own code and models built with it write.
_FORKS = ("llava_llama", "llava_qwen", "llava_qwen2", "llava_mistral", "llava_gemma")
FAMILIES: tuple[Family, ...] = (
    _visual("qwen2_vl", "Qwen2VL", text_ties=True),
    _visual("qwen2_5_vl", "Qwen2_5_VL", text_ties=True),
    _visual("qwen3_vl", "Qwen3VL"),
    _visual("qwen3_vl_moe", "Qwen3VLMoe"),
    _visual("qwen3_5", "Qwen3_5"),
    _visual("qwen3_5_moe", "Qwen3_5Moe"),
    _visual("glm4v", "Glm4v", text_ties=True),
    _visual("glm4v_moe", "Glm4vMoe", text_ties=True, prediction_layers=True),
    _visual("glm46v", "Glm46V", "glmga"),
    _visual("glm_ocr", "GlmOcr", text_ties=True, prediction_layers=True),
    _visual("glm5_next", "Glm5Next", prediction_layers=True),
    _llava("llava", "Llava", *_FORKS, rules=LLAVA_ORIGINAL, text_ties=True),
    _llava("llava_next", "LlavaNext"),
    _llava("llava_next_video", "LlavaNextVideo"),
    _llava("llava_onevision", "LlavaOnevision", text_ties=True),
    _llava("internvl", "InternVL", tied=True),
    _llava("gemma3", "Gemma3", tied=True),
    _llava("mistral3", "Mistral3", tied=True),
    _llava("paligemma", "PaliGemma", tied=True),
    _llava("aya_vision", "AyaVision", tied=True),
    _llava("cohere2_vision", "Cohere2Vision", tied=True),
    _idefics("idefics3", "Idefics3"),
    _idefics("smolvlm", "SmolVLM"),
    _idefics("idefics2", "Idefics2"),
    *CUSTOM,
    _text("llama", "Llama"),
    _text("mistral", "Mistral"),
    _text("mistral4", "Mistral4"),
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
