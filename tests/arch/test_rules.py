"""Names are read segment by segment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.arch import FAMILIES, Component, Module, Site
from surgery.arch.rules import Rule, RuleBook, block, is_norm, is_number, under

BOOKS = {family.name: RuleBook(family.rules) for family in FAMILIES}

SITES = [
    ("qwen2_5_vl", "visual.blocks.31.attn.qkv.bias", "vision.layers.31.attention.qkv.bias"),
    ("qwen2_5_vl", "visual.merger.mlp.0.weight", "projector.mlp.0.weight"),
    ("qwen2_5_vl", "visual.merger.ln_q.weight", "projector.norm.ln_q.weight"),
    ("qwen2_5_vl", "visual.rotary_pos_emb.inv_freq", "vision.other.rotary_pos_emb.inv_freq"),
    (
        "qwen3_vl",
        "model.visual.deepstack_merger_list.2.linear_fc1.weight",
        "projector.mlp.deepstack_merger_list.2.linear_fc1.weight",
    ),
    ("qwen3_moe", "model.layers.3.mlp.gate.weight", "language.layers.3.mlp.gate.weight"),
    (
        "qwen3_moe",
        "model.layers.3.mlp.experts.5.gate_proj.weight",
        "language.layers.3.mlp.experts.5.gate_proj.weight",
    ),
    (
        "mixtral",
        "model.layers.0.block_sparse_moe.experts.7.w1.weight",
        "language.layers.0.mlp.experts.7.w1.weight",
    ),
    ("mixtral", "model.layers.0.block_sparse_moe.gate.weight", "language.layers.0.mlp.gate.weight"),
    (
        "llava",
        "vision_tower.vision_model.embeddings.position_ids",
        "vision.embedding.position_ids",
    ),
    ("llava", "vision_tower.vision_model.pre_layrnorm.bias", "vision.norm.pre_layrnorm.bias"),
    ("internvl", "vision_tower.encoder.layer.2.lambda_1", "vision.layers.2.attention.lambda_1"),
    ("internvl", "vision_tower.encoder.layer.2.lambda_2", "vision.layers.2.mlp.lambda_2"),
    (
        "llama",
        "model.layers.9.self_attn.rotary_emb.inv_freq",
        "language.layers.9.attention.rotary_emb.inv_freq",
    ),
    (
        "gemma2",
        "model.layers.1.self_attn.q_norm.weight",
        "language.layers.1.attention.q_norm.weight",
    ),
    ("glm4v", "model.visual.downsample.weight", "projector.other.downsample.weight"),
    ("llava_next", "image_newline", "projector.other.image_newline"),
    ("qwen3_5", "mtp.layers.0.mlp.up_proj.weight", "other.other.mtp.layers.0.mlp.up_proj.weight"),
    ("qwen2", "lm_head.weight", "head.other.lm_head.weight"),
    ("qwen2", "model.rotary_emb.inv_freq", "language.other.rotary_emb.inv_freq"),
    ("gemma3", "vision_tower.vision_model.head.probe", "vision.other.head.probe"),
    (
        "gemma3",
        "language_model.model.rotary_emb.inv_freq",
        "language.other.rotary_emb.inv_freq",
    ),
    (
        "mistral3",
        "vision_tower.patch_positional_embedding.inv_freq",
        "vision.other.patch_positional_embedding.inv_freq",
    ),
    ("internvl", "vision_tower.layernorm.weight", "vision.norm.layernorm.weight"),
    ("idefics3", "model.vision_model.head.probe", "vision.other.head.probe"),
]


@pytest.mark.parametrize(("family", "name", "canonical"), SITES)
def test_sites(family: str, name: str, canonical: str) -> None:
    result = BOOKS[family].site(name)
    assert result is not None
    assert result[0].canonical == canonical


@pytest.mark.parametrize(
    "name",
    [
        "model.layers",
        "model.layers.",
        "model.layers.x.mlp.up_proj.weight",
        "model.layers.01.mlp.up_proj.weight",
        "model.layers.-1.mlp.up_proj.weight",
        "model.layers.1a.mlp.up_proj.weight",
        "model.layers.\u0661.mlp.up_proj.weight",
        "model.layers1.mlp.up_proj.weight",
        "xmodel.layers.1.mlp.up_proj.weight",
        "model.norm2.weight",
        "model_norm.weight",
        "lm_headweight",
        "",
        ".",
    ],
)
def test_a_segment_matches_whole_or_not_at_all(name: str) -> None:
    assert BOOKS["llama"].site(name) is None


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_layers_are_told_apart(lower: int, upper: int) -> None:
    sites = [BOOKS["llama"].site(f"model.layers.{n}.mlp.up_proj.weight") for n in (lower, upper)]
    assert [site[0].layer for site in sites if site] == [lower, upper]
    assert (sites[0] == sites[1]) == (lower == upper)


@given(st.lists(st.sampled_from(["model", "layers", "3", "mlp", "", "#", "norm", "weight", "é"])))
def test_any_name_has_a_site_or_none(segments: list[str]) -> None:
    name = ".".join(segments)
    for book in BOOKS.values():
        result = book.site(name)
        assert result is None or isinstance(result[0], Site)


@given(st.lists(st.sampled_from(["0", "7", "mlp", "attn", "norm1", "proj", "weight"]), min_size=1))
def test_a_block_drops_no_segment_but_its_container(segments: list[str]) -> None:
    module, leaf = block(tuple(segments))
    parts = leaf.split(".")
    assert len(segments) - len(parts) in (0, 1)
    assert len(parts) == len(segments) or module in (Module.ATTENTION, Module.MLP)
    assert leaf


def test_a_literal_hash_is_no_layer() -> None:
    result = BOOKS["llama"].site("model.layers.#.mlp.up_proj.weight")
    assert result is None


def test_a_parameter_that_is_a_container_keeps_its_name() -> None:
    assert block(("mlp",)) == (Module.MLP, "mlp")


def test_the_longest_rule_speaks() -> None:
    book = RuleBook(
        [
            Rule("tower", Component.VISION, certain=False),
            Rule("tower.layers.#", Component.VISION),
            Rule("tower.merger", Component.PROJECTOR),
        ]
    )
    assert [book.site(n)[0].component for n in ("tower.x", "tower.merger.x")] == [  # type: ignore[index]
        Component.VISION,
        Component.PROJECTOR,
    ]
    result = book.site("tower.layers.4.x")
    assert result is not None
    assert result[0].layer == 4
    assert result[1].certain


def test_under_repeats_rules_below_each_prefix() -> None:
    rules = under(("a.b", ""), (Rule("c.#", Component.VISION, keep=1),))
    assert [rule.pattern for rule in rules] == ["a.b.c.#", "c.#"]
    assert all(rule.keep == 1 for rule in rules)
    assert under(("a",), (Rule("", Component.VISION),))[0].pattern == "a"


@pytest.mark.parametrize(
    "segment",
    [
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_self_attn_layernorm",
        "post_mlp_layernorm",
        "layer_norm1",
        "layernorm_before",
        "norm1",
        "norm",
        "ln_q",
        "ln_pre",
        "ln_1",
        "attention_norm",
        "ffn_norm",
        "pre_layrnorm",
        "mm_soft_emb_norm",
        "post_projection_norm",
        "post_feedforward_layernorm",
        "post_ln",
        "norm_f",
        "layernorm_pre",
        "LayerNorm",
        "norm_2",
    ],
)
def test_norms(segment: str) -> None:
    assert is_norm(segment)


@pytest.mark.parametrize("segment", ["normal", "abnormal", "lnx", "linear", "self_attn", "0", ""])
def test_not_norms(segment: str) -> None:
    assert not is_norm(segment)


def test_numbers() -> None:
    assert [s for s in ("0", "10", "01", "", "-1", "1.", "²", "1" * 7) if is_number(s)] == [
        "0",
        "10",
    ]
