"""Rows of the family table for models with a unique layout, or saved by custom code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.arch import parts
from surgery.arch.family import ANY_TOWER, LLM_COUNTS, MM_COUNTS, MM_TEXT, THINKER_COUNTS, Family
from surgery.arch.parts import aside, joins, sees, tower
from surgery.arch.rules import Rule, under
from surgery.arch.site import Component, Module

if TYPE_CHECKING:
    from collections.abc import Mapping

_V, _P, _L = Component.VISION, Component.PROJECTOR, Component.LANGUAGE


def _row(
    name: str,
    *rules: Rule,
    types: tuple[str, ...] = (),
    stem: str = "",
    counts: Mapping[Component, tuple[str, ...]] = MM_COUNTS,
    **flags: bool,
) -> Family:
    """Make a row with rules of its own; `stem` begins its classes' names in transformers."""
    classes = (f"{stem}ForConditionalGeneration", f"{stem}Model") if stem else ()
    return Family(name, types or (name,), classes, rules, counts, **flags)


CUSTOM: tuple[Family, ...] = (
    _row(
        "video_llava",
        *tower("model.image_tower", "image_tower", "image_tower.vision_model"),
        *sees("model.video_tower", "video_tower"),
        *parts.JOINS,
        *parts.LANGUAGE,
        stem="VideoLlava",
    ),
    # InternVL as its own code saves it, and others that took its names.
    _row(
        "internvl_chat",
        *tower("vision_model"),
        *sees("vision_model.encoder.blocks.#"),
        *joins("mlp1"),
        *parts.LANGUAGE,
        *under(("language_model.model",), parts.INTERNLM[:1]),
        Rule("language_model.output", Component.HEAD, Module.OTHER, keep=1),
        types=("internvl_chat", "NVLM_D", "h2ovl_chat", "eagle_chat"),
        counts=LLM_COUNTS,
    ),
    _row(
        "minicpmv",
        *under(("llm.model",), parts.DECODER),
        *under(("llm",), (parts.HEAD,)),
        *tower("vpm"),
        *sees("vpm.blocks.#", "vpm.patch_embed", "vpm.pos_embed", "vpm.norm"),
        *joins("resampler"),
        *aside("apm", "audio_projection_layer", "audio_avg_pooler", "tts"),
        types=("minicpmv", "minicpmo"),
        counts=ANY_TOWER,  # some drop the tower's last layer
    ),
    _row(
        "minicpmv4_6",
        *tower("model.vision_tower"),
        *under(("model.vision_tower",), (Rule("vit_merger", _P, keep=1),)),
        *joins("merger"),
        *parts.LANGUAGE,
        types=("minicpmv4_6", "minicpmv4_7", "minicpm_ocr"),
        stem="MiniCPMV4_6",
    ),
    _row(
        "qwen2_5_omni",
        *under(("thinker", ""), parts.VISUAL_RULES),
        *under(
            ("thinker.model", "thinker", "model", ""),
            aside("audio_tower", "talker", "token2wav", "code2wav"),
        ),
        types=(
            "qwen2_5_omni",
            "qwen2_5_omni_thinker",
            "qwen3_omni_moe",
            "qwen3_omni_moe_thinker",
        ),
        counts=THINKER_COUNTS,
    ),
    _row(
        "gemma3n",
        *sees("model.vision_tower"),
        *joins("embed_vision"),
        *under(("model",), aside("audio_tower", "embed_audio")),
        *parts.PER_LAYER,
        *parts.LANGUAGE,
        *under(("model",), parts.DECODER),
        types=("gemma3n", "gemma3n_text"),
        stem="Gemma3n",
        counts=ANY_TOWER,
        tied=True,
    ),
    _row(
        "gemma4",
        *tower("model.vision_tower"),
        *sees("model.vision_tower.patch_embedder"),
        *joins("embed_vision"),
        # The unified model's patches go straight to the projector.
        Rule("model.vision_embedder", _V),
        *sees("model.embed_vision.patch_ln1", "model.embed_vision.patch_ln2"),
        *sees("model.embed_vision.patch_dense", "model.embed_vision.pos_embedding"),
        Rule("model.embed_vision.pos_norm", _V, Module.NORM, keep=1),
        *under(("model",), aside("audio_tower", "embed_audio")),
        *parts.PER_LAYER,
        *parts.LANGUAGE,
        *under(("model",), parts.DECODER),
        types=("gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text"),
        stem="Gemma4",
        tied=True,
    ),
    _row(
        "mllama",
        *under(
            ("model.vision_model", "vision_model"),
            (
                *sees("transformer.layers.#", "global_transformer"),
                *sees("layernorm_pre", "layernorm_post", "class_embedding", "patch_embedding"),
                *sees("gated_positional_embedding", "pre_tile_positional_embedding"),
                *sees("post_tile_positional_embedding"),
            ),
        ),
        *parts.JOINS,
        *parts.LANGUAGE,
        *under(("model",), parts.DECODER),
        types=("mllama", "mllama_text_model"),
        stem="Mllama",
    ),
    _row(
        "llama4",
        *under(
            ("model.vision_model", "vision_model"),
            (
                *sees("model.layers.#", "layernorm_pre", "layernorm_post", "class_embedding"),
                *sees("patch_embedding", "positional_embedding_vlm", "rotary_embedding"),
                Rule("vision_adapter", _P, keep=1),
            ),
        ),
        *parts.JOINS,
        *parts.LANGUAGE,
        *under(("model",), parts.DECODER),
        types=("llama4", "llama4_text"),
    ),
    _row(
        "lfm2_vl",
        *under(parts.TOWERS, parts.VIT),
        *under(
            parts.TOWERS[:2], (*sees("layers.#", "embedding_norm", "patchifier", "patch_embed"),)
        ),
        *parts.JOINS,
        *parts.LANGUAGE,
        *under(("model",), parts.DECODER),
        *under(
            ("model.language_model", "language_model.model", "language_model", "model"),
            (Rule("embedding_norm", Component.NORM, Module.NORM, keep=1),),
        ),
        types=("lfm2_vl", "lfm3_vl", "lfm2", "lfm2_moe", "lfm3"),
        stem="Lfm2Vl",
        tied=True,
    ),
    _row(
        "kimi_vl",
        *under(("model.vision_tower", "vision_tower"), parts.MOONVIT),
        *parts.JOINS,
        *joins("mm_projector"),
        *parts.LANGUAGE,
        Rule("language_model.model.blocks.#", _L),  # transformers 5.23 saves K2.5 so
        types=("kimi_vl", "kimi_k25", "kimi_k2_5"),
        counts={**MM_COUNTS, _V: (*MM_COUNTS[_V], "vision_config.vt_num_hidden_layers")},
        prediction_layers=True,
    ),
    # DeepSeek-VL2, and DeepSeek-OCR 1 and 2, which give its type as theirs.
    _row(
        "deepseek_vl_v2",
        *sees("vision.blocks.#", "vision.patch_embed", "vision.pos_embed", "vision.norm"),
        *sees("vision.attn_pool", "model.sam_model"),
        *sees("model.vision_model.transformer.layers.#", "model.vision_model.embeddings"),
        *sees("model.vision_model.pre_layrnorm"),
        *sees("model.qwen2_model.model.model.layers.#", "model.qwen2_model.layers.#"),
        *sees("model.qwen2_model", "model.vision_tower", "model.vision_tower.vision_encoder"),
        *sees("model.vision_tower.vision_encoder.layers.#"),
        *sees("model.vision_tower.vision_encoder.encoder.layers.#"),
        *joins("projector", "multi_modal_projector", "image_newline"),
        *joins("view_seperator", "view_separator", "tile_indicators"),
        *under(("model", "language.model"), parts.DECODER),
        *under(("language",), (parts.HEAD,)),
        *parts.LANGUAGE,
        types=("deepseek_vl_v2", "deepseek_ocr", "deepseek_ocr2", "unlimited_ocr"),
        counts={
            _L: ("language_config.num_hidden_layers", *MM_TEXT),
            _V: ("vision_config.encoder_config.num_hidden_layers",),
        },
        prediction_layers=True,
    ),
    _row(
        "paddleocr_vl",
        *tower("model.visual.vision_model", "visual.vision_model"),
        *under(("",), (Rule("mlp_AR", _P), Rule("model.projector", _P))),
        *parts.TEXT_RULES,
        *under(("model.language_model",), parts.DECODER),
        stem="PaddleOCRVL",
    ),
    _row(
        "ovis2",
        *tower("model.vision_tower.transformer"),
        *sees("model.vision_tower.transformer.rms_norm"),
        *sees("model.vision_tower.head_linear", "model.vision_tower.head_norm"),
        # Its own code: 1.6 has a SigLIP, 2 an AIMv2, 2.5 a SigLIP of its own.
        *tower("visual_tokenizer.backbone", "visual_tokenizer.vit.vision_model"),
        *tower("visual_tokenizer.backbone.vision_model"),
        *sees("visual_tokenizer.backbone.trunk.blocks.#", "visual_tokenizer.head"),
        *joins("visual_embeddings_table", "vte"),
        *parts.LANGUAGE,
        *under(("llm.model",), parts.DECODER),
        *under(("llm",), (parts.HEAD,)),
        types=("ovis2", "ovis", "ovis2_5"),
        stem="Ovis2",
        counts=LLM_COUNTS,
    ),
    _row(
        "hunyuan_vl",
        *under(
            ("vit", "model.vision_tower", "vision_tower"),
            (
                *sees("embeddings", "layers.#"),
                Rule("perceive", _P, keep=1),
                Rule("patch_merger", _P, keep=1),
            ),
        ),
        *parts.TEXT_RULES,
        *parts.LANGUAGE[:-2],
        stem="HunYuanVL",
        tied=True,
    ),
    _row(
        "ernie4_5_vl_moe",
        *tower("model.vision_model", "vision_model", "model.vision_tower", rules=parts.VISUAL),
        *sees("model.vision_model.ln", "vision_model.ln", "model.vision_tower.ln"),
        *joins("resampler_model"),
        *parts.TEXT_RULES,
        *under(("model.language_model",), parts.DECODER),
        types=("ernie4_5_vl_moe", "ernie4_5_moe_vl"),
        stem="Ernie4_5_VLMoe",
        tied=True,
        prediction_layers=True,
    ),
    _row(
        "molmo2",
        *sees("model.vision_backbone.image_vit.transformer.resblocks.#"),
        *sees("model.vision_backbone.image_vit", "model.vision_tower"),
        *sees("model.vision_tower.layers.#"),
        *under(
            ("model.vision_backbone",),
            (
                Rule("image_pooling_2d", _P, keep=1),
                Rule("image_projector", _P, keep=1),
                Rule("pad_embed", _P, Module.OTHER, keep=1),
            ),
        ),
        *joins("multi_modal_projector"),
        *under(("model.transformer",), parts.MOLMO),
        *parts.LANGUAGE,
        types=("molmo2", "molmo"),
        stem="Molmo2",
        counts=ANY_TOWER,
    ),
    _row(
        "blip-2",
        *tower("vision_model"),
        *joins("query_tokens", "qformer", "language_projection"),
        *under(("language_model.model.decoder",), parts.OPT),
        *under(("language_model",), parts.T5),
        *parts.LANGUAGE,
        types=("blip-2", "instructblip", "instructblipvideo"),
        text_ties=True,
    ),
    _row(
        "idefics",
        *tower("model.vision_model"),
        *joins("perceiver_resampler", "gated_cross_attn_layers"),
        *parts.TEXT_RULES,
        counts={_L: ("num_hidden_layers",), _V: ("vision_config.num_hidden_layers",)},
    ),
    _row(
        "cosmos3_omni",
        *parts.VISUAL_RULES,
        *under(("",), parts.VISUAL),
        *under(("",), parts.DECODER),
        stem="Cosmos3Omni",
    ),
    _row(
        "janus",
        *tower("model.vision_model", "vision_model"),
        *sees("model.vqmodel"),
        *joins("aligner", "generation_aligner", "generation_embeddings"),
        *under(("model",), aside("generation_head")),
        *parts.LANGUAGE,
        stem="Janus",
    ),
)
