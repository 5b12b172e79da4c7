"""Names that published checkpoints have and no class of transformers writes.

Each case is a configuration's counts and, by component, the names of a file, thinned. `#` stands
for every layer of the count beside it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import pytest

from surgery.arch import FAMILIES, Architecture, Component, find_family, resolve

V, P, E, L, N, H, O = Component  # noqa: E741
ATTENTION = ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.o_proj.weight")
LLAMA = (*ATTENTION, "mlp.up_proj.weight", "mlp.down_proj.weight", "input_layernorm.weight")
VIT = ("self_attn.q_proj.weight", "mlp.fc1.weight", "layer_norm1.weight", "layer_norm1.bias")
QKV = ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "norm1.weight")


@dataclass(frozen=True)
class File:
    """A published file.

    Attributes:
        config: Its configuration.
        language: Prefix of its decoder's layers, and how many.
        vision: Prefix of its tower's layers, and how many; empty if they have no numbers.
        rest: Other names, by the component they belong to.
        towers: What a layer of the tower holds.
    """

    config: dict[str, Any]
    language: tuple[str, int]
    vision: tuple[str, int] | tuple[()]
    rest: dict[Component, tuple[str, ...]] = field(default_factory=dict)
    towers: tuple[str, ...] = VIT

    def names(self) -> dict[str, Component]:
        """Return every name and its place."""
        result = {name: part for part, names in self.rest.items() for name in names}
        for part, stack, leaves in ((L, self.language, LLAMA), (V, self.vision, self.towers)):
            if stack:
                prefix, count = stack
                result |= {f"{prefix}.{n}.{leaf}": part for n in range(count) for leaf in leaves}
        return result


def ends(prefix: str, head: str = "lm_head.weight") -> dict[Component, tuple[str, ...]]:
    """Return a decoder's embedding and norm, and a head."""
    heads = (head,) if head else ()
    return {E: (f"{prefix}.embed_tokens.weight",), N: (f"{prefix}.norm.weight",), H: heads}


FILES = {
    "MiniCPM-V 2.6": File(
        {
            "model_type": "minicpmv",
            "num_hidden_layers": 4,
            "vision_config": {"num_hidden_layers": 3},
        },
        ("llm.model.layers", 4),
        ("vpm.encoder.layers", 3),
        {
            **ends("llm.model", "llm.lm_head.weight"),
            V: ("vpm.embeddings.position_embedding.weight", "vpm.post_layernorm.bias"),
            P: ("resampler.query", "resampler.attn.in_proj_weight", "resampler.ln_kv.weight"),
        },
    ),
    "MiniCPM-Llama3-V 2.5, whose tower lacks its last layer": File(
        {
            "model_type": "minicpmv",
            "num_hidden_layers": 3,
            "vision_config": {"num_hidden_layers": 6},
        },
        ("llm.model.layers", 3),
        ("vpm.encoder.layers", 5),
        {**ends("llm.model", "llm.lm_head.weight"), P: ("resampler.kv_proj.weight",)},
    ),
    "MiniCPM-o": File(
        {"model_type": "minicpmo", "num_hidden_layers": 3},
        ("llm.model.layers", 3),
        ("vpm.encoder.layers", 4),
        {
            **ends("llm.model", "llm.lm_head.weight"),
            P: ("resampler.proj",),
            O: (
                *(f"apm.layers.{n}.self_attn.q_proj.weight" for n in range(6)),
                "audio_projection_layer.linear1.weight",
                *(f"tts.model.layers.{n}.self_attn.q_proj.weight" for n in range(9)),
                "tts.emb_text.weight",
            ),
        },
    ),
    "InternVL 2.5, by its own code": File(
        {
            "model_type": "internvl_chat",
            "llm_config": {"num_hidden_layers": 3},
            "vision_config": {"num_hidden_layers": 5},
        },
        ("language_model.model.layers", 3),
        ("vision_model.encoder.layers", 5),
        {
            **ends("language_model.model", "language_model.lm_head.weight"),
            V: ("vision_model.embeddings.class_embedding",),
            P: ("mlp1.0.weight", "mlp1.1.weight", "mlp1.3.bias"),
        },
        QKV,
    ),
    "InternVL with InternLM": File(
        {"model_type": "internvl_chat", "llm_config": {"num_hidden_layers": 3}},
        ("language_model.model.layers", 3),
        ("vision_model.encoder.layers", 2),
        {
            E: ("language_model.model.tok_embeddings.weight",),
            N: ("language_model.model.norm.weight",),
            H: ("language_model.output.weight",),
            P: ("mlp1.0.weight",),
        },
        QKV,
    ),
    "LLaVA 1.5, by its own code": File(
        {"model_type": "llava", "num_hidden_layers": 4, "mm_vision_tower": "openai/clip"},
        ("model.layers", 4),
        ("model.vision_tower.vision_tower.vision_model.encoder.layers", 6),
        {
            **ends("model"),
            V: ("model.vision_tower.vision_tower.vision_model.embeddings.class_embedding",),
            P: ("model.mm_projector.0.weight", "model.mm_projector.2.bias"),
        },
    ),
    "LLaVA-OneVision, by its own code": File(
        {"model_type": "llava_qwen", "num_hidden_layers": 3},
        ("model.layers", 3),
        ("model.vision_tower.vision_tower.vision_model.encoder.layers", 4),
        {**ends("model"), P: ("model.mm_projector.0.weight", "model.image_newline")},
    ),
    "Kimi-VL": File(
        {
            "model_type": "kimi_vl",
            "text_config": {"num_hidden_layers": 3},
            "vision_config": {"num_hidden_layers": 5},
        },
        ("language_model.model.layers", 3),
        ("vision_tower.encoder.blocks", 5),
        {
            **ends("language_model.model", "language_model.lm_head.weight"),
            V: (
                "vision_tower.patch_embed.pos_emb.weight",
                "vision_tower.encoder.final_layernorm.weight",
            ),
            P: ("multi_modal_projector.linear_1.weight", "multi_modal_projector.pre_norm.bias"),
        },
        ("wqkv.weight", "wo.bias", "mlp.fc0.weight", "norm0.weight"),
    ),
    "Kimi K2.5": File(
        {
            "model_type": "kimi_k25",
            "text_config": {"num_hidden_layers": 4},
            "vision_config": {"vt_num_hidden_layers": 3},
        },
        ("language_model.model.layers", 4),
        ("vision_tower.encoder.blocks", 3),
        {
            **ends("language_model.model", "language_model.lm_head.weight"),
            P: ("mm_projector.proj.0.weight", "mm_projector.pre_norm.weight"),
            O: (),
        },
        ("wqkv.weight", "wo.bias", "mlp.fc0.weight", "norm0.weight"),
    ),
    "DeepSeek-VL2": File(
        {"model_type": "deepseek_vl_v2", "language_config": {"num_hidden_layers": 3}},
        ("language.model.layers", 3),
        ("vision.blocks", 4),
        {
            **ends("language.model", "language.lm_head.weight"),
            V: ("vision.patch_embed.proj.weight", "vision.pos_embed", "vision.attn_pool.latent"),
            P: ("projector.layers.0.weight", "image_newline", "view_seperator"),
        },
        QKV,
    ),
    "DeepSeek-OCR": File(
        {"model_type": "deepseek_vl_v2", "num_hidden_layers": 3},
        ("model.layers", 3),
        ("model.vision_model.transformer.layers", 4),
        {
            **ends("model"),
            V: (
                *(f"model.sam_model.blocks.{n}.{leaf}" for n in range(3) for leaf in QKV),
                "model.sam_model.net_2.weight",
            ),
            P: ("model.projector.layers.weight", "model.image_newline", "model.view_seperator"),
        },
        ("self_attn.qkv_proj.weight", "mlp.fc1.weight", "layer_norm1.weight"),
    ),
    "DeepSeek-OCR 2": File(
        {"model_type": "deepseek_vl_v2", "num_hidden_layers": 3},
        ("model.layers", 3),
        ("model.qwen2_model.model.model.layers", 5),
        {
            **ends("model"),
            V: (
                "model.qwen2_model.query_768.weight",
                "model.qwen2_model.model.model.norm.weight",
                *(f"model.sam_model.blocks.{n}.{leaf}" for n in range(3) for leaf in QKV),
            ),
            P: ("model.projector.layers.weight",),
        },
        LLAMA,
    ),
    "Ovis 2": File(
        {"model_type": "ovis", "llm_config": {"num_hidden_layers": 3}},
        ("llm.model.layers", 3),
        ("visual_tokenizer.backbone.trunk.blocks", 4),
        {
            **ends("llm.model", "llm.lm_head.weight"),
            V: ("visual_tokenizer.head.0.weight",),
            P: ("vte.weight",),
        },
        QKV,
    ),
    "Ovis 2.5": File(
        {"model_type": "ovis2_5", "llm_config": {"num_hidden_layers": 3}},
        ("llm.model.layers", 3),
        ("visual_tokenizer.vit.vision_model.encoder.layers", 4),
        {**ends("llm.model", "llm.lm_head.weight"), P: ("vte.weight",)},
    ),
    "ERNIE 4.5 VL": File(
        {
            "model_type": "ernie4_5_moe_vl",
            "num_hidden_layers": 3,
            "vision_config": {"depth": 5},
        },
        ("model.layers", 3),
        ("vision_model.blocks", 5),
        {
            **ends("model"),
            V: ("vision_model.ln.weight", "vision_model.patch_embed.proj.weight"),
            P: ("model.resampler_model.mlp.weight", "model.resampler_model.spatial_linear.0.bias"),
        },
        QKV,
    ),
    "Molmo 1": File(
        {"model_type": "molmo", "num_hidden_layers": 3},
        ("model.transformer.blocks", 3),
        ("model.vision_backbone.image_vit.transformer.resblocks", 5),
        {
            E: ("model.transformer.wte.embedding", "model.transformer.wte.new_embedding"),
            N: ("model.transformer.ln_f.weight",),
            H: ("model.transformer.ff_out.weight",),
            P: (
                "model.vision_backbone.image_projector.w1.weight",
                "model.vision_backbone.image_pooling_2d.wq.weight",
                "model.vision_backbone.pad_embed",
            ),
        },
        ("attention.wq.weight", "feed_forward.w1.weight", "attention_norm.weight"),
    ),
    "Qwen3.6, which is Qwen3.5 to transformers": File(
        {
            "model_type": "qwen3_5_moe",
            "text_config": {"num_hidden_layers": 4},
            "vision_config": {"depth": 3},
        },
        ("model.language_model.layers", 4),
        ("model.visual.blocks", 3),
        {
            **ends("model.language_model"),
            P: ("model.visual.merger.norm.weight",),
            O: ("mtp.layers.0.self_attn.q_proj.weight",),
        },
        QKV,
    ),
    "Mistral Small 4": File(
        {
            "model_type": "mistral3",
            "text_config": {"model_type": "mistral4", "num_hidden_layers": 3},
            "vision_config": {"num_hidden_layers": 4},
        },
        ("language_model.model.layers", 3),
        ("vision_tower.transformer.layers", 4),
        {
            **ends("language_model.model", "language_model.lm_head.weight"),
            P: ("multi_modal_projector.patch_merger.merging_layer.weight",),
        },
        ("attention.q_proj.weight", "feed_forward.up_proj.weight", "attention_norm.weight"),
    ),
    "InstructBLIP with Vicuna": File(
        {
            "model_type": "instructblip",
            "text_config": {"num_hidden_layers": 3},
            "vision_config": {"num_hidden_layers": 4},
        },
        ("language_model.model.layers", 3),
        ("vision_model.encoder.layers", 4),
        {
            **ends("language_model.model", "language_model.lm_head.weight"),
            P: (
                "query_tokens",
                *(f"qformer.encoder.layer.{n}.attention.attention.query.weight" for n in range(5)),
                "language_projection.bias",
            ),
        },
    ),
}


def quietly(config: dict[str, Any], names: Any) -> Architecture:
    """Resolve without a guess."""
    with warnings.catch_warnings(action="error"):
        return resolve(config, names)


@pytest.mark.parametrize("name", FILES)
def test_published_names_have_their_places(name: str) -> None:
    file = FILES[name]
    expected = file.names()
    architecture = quietly(file.config, expected)
    assert {n: s.component for n, s in architecture.sites.items()} == expected
    assert architecture.layers[L] == file.language[1]
    assert architecture.layers.get(V) == (file.vision[1] if file.vision else None)


def omni(thinker: str) -> dict[str, Component]:
    """Return a thinker's names behind a prefix."""
    names = {f"{thinker}model.layers.{n}.{leaf}": L for n in range(3) for leaf in LLAMA}
    names |= {f"{thinker}visual.blocks.{n}.{leaf}": V for n in range(4) for leaf in QKV}
    names |= {f"{thinker}audio_tower.layers.{n}.fc1.weight": O for n in range(5)}
    names |= {f"{thinker}visual.merger.mlp.{n}.weight": P for n in (0, 2)}
    return names | {
        f"{thinker}model.embed_tokens.weight": E,
        f"{thinker}model.norm.weight": N,
        f"{thinker}lm_head.weight": H,
    }


@pytest.mark.parametrize("version", ["qwen2_5_omni", "qwen3_omni_moe"])
def test_a_thinker_lines_up_with_its_whole_omni(version: str) -> None:
    counts = {"text_config": {"num_hidden_layers": 3}, "vision_config": {"depth": 4}}
    talker = {f"talker.model.layers.{n}.{leaf}": O for n in range(7) for leaf in LLAMA}
    talker |= dict.fromkeys(
        (
            "talker.model.embed_tokens.weight",
            "talker.codec_head.weight",
            "talker.model.norm.weight",
        ),
        O,
    )
    talker |= {f"token2wav.dit.blocks.{n}.attn.to_q.weight": O for n in range(9)}
    talker |= {f"code2wav.decoder.{n}.block.1.conv.weight": O for n in range(3)}
    whole_names = {**omni("thinker."), **talker}
    whole = quietly({"model_type": version, "thinker_config": counts}, whole_names)
    assert {n: s.component for n, s in whole.sites.items()} == whole_names
    assert dict(whole.layers) == {L: 3, V: 4}
    alone = quietly({"model_type": f"{version}_thinker", **counts}, omni(""))
    assert {s.canonical for n, s in whole.sites.items() if n.startswith("thinker.")} == {
        s.canonical for s in alone.sites.values()
    }


def test_every_row_that_transformers_cannot_build_is_published_here() -> None:
    from tests.atlas import TYPES
    from tests.families import FAMILIES as TINY

    families = (find_family(file.config) for file in FILES.values())
    displayed = {family.name for family in families if family is not None}
    built = {tiny.model_type for tiny in TINY.values()} | set(TYPES)
    for family in FAMILIES:
        assert family.name in displayed or built & set(family.model_types), family.name
