"""Families without a row: names of any shape, placed by them and by the configuration's counts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.arch import Architecture, ArchitectureWarning, Component, Module, resolve
from surgery.arch.modules import decoder_modules
from surgery.arch.rules import block
from surgery.errors import ArchitectureError
from tests.families import build_tiny

if TYPE_CHECKING:
    from collections.abc import Iterable

V, P, E, L, N, H, O = Component  # noqa: E741
FEW = ("self_attn.q_proj.weight", "mlp.up_proj.weight", "input_layernorm.weight")
MANY = (*FEW, "self_attn.q_proj.bias", "mlp.up_proj.bias", "mlp.down_proj.weight", "norm2.weight")


def stack(prefix: str, count: int, leaves: Iterable[str] = FEW) -> list[str]:
    return [f"{prefix}.{n}.{leaf}" for n in range(count) for leaf in leaves]


def guess(config: dict[str, Any], *names: str | list[str]) -> Architecture:
    flat = [name for part in names for name in ([part] if isinstance(part, str) else part)]
    with pytest.warns(ArchitectureWarning):
        architecture = resolve({"model_type": "unheard_of", **config}, flat)
    assert len({site.canonical for site in architecture.sites.values()}) == len(flat)
    return architecture


def parts(architecture: Architecture, prefix: str) -> set[Component]:
    """Return the components of everything under a prefix."""
    result = {
        s.component for n, s in architecture.sites.items() if f"{n}.".startswith(f"{prefix}.")
    }
    assert result, prefix
    return result


COUNTED = {"text_config": {"num_hidden_layers": 3}, "vision_config": {"num_hidden_layers": 5}}


@pytest.mark.parametrize(
    ("beside", "part"),
    [
        ("clip_tower.layers", V),
        ("movie.video_backbone.layers", V),
        ("fusion.qformer.encoder.layer", P),
        ("perceiver_resampler.layers", P),
        ("protein_reader.encoder.layer", O),
        ("speech_encoder.layers", O),
        ("policy_with_expert.robot_expert.layers", O),
        ("action_head.blocks", O),
        ("talker.model.layers", O),
        ("draft_model.layers", O),
        ("gated_cross_attention.layers", P),
    ],
)
def test_what_stands_beside_a_smaller_decoder_is_not_the_language_model(
    beside: str, part: Component
) -> None:
    architecture = guess(
        COUNTED,
        stack("backbone.layers", 3),
        stack(beside, 3 if part is O else 5, MANY),
        f"{beside.rpartition('.')[0]}.norm.weight",
        "backbone.embed_tokens.weight",
        "backbone.norm.weight",
        "lm_head.weight",
    )
    assert architecture.layers[L] == 3
    assert parts(architecture, "backbone.layers") == {L}
    assert parts(architecture, "backbone.norm") == {N}
    assert parts(architecture, beside) == {part}
    assert L not in parts(architecture, beside.rpartition(".")[0])


def test_the_count_decides_between_two_stacks_without_a_telling_name() -> None:
    names = (stack("a.layers", 3), stack("b.layers", 5, MANY), "a.wte.weight", "lm_head.weight")
    architecture = guess(COUNTED, *names)
    assert architecture.layers == {L: 3, V: 5}
    assert parts(architecture, "a.layers") == {L}
    assert parts(architecture, "b.layers") == {V}


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"num_hidden_layers": 4}, "num_hidden_layers is 4"),
        ({"llm_config": {"n_layer": 2}}, "llm_config.n_layer is 2"),
        ({"text_config": {"decoder_layers": 6, "num_hidden_layers": 3}}, "decoder_layers is 6"),
        ({"vision_config": {"depth": 7}}, "vision_config.depth is 7"),
        ({"thinker_config": {"text_config": {"num_hidden_layers": 9}}}, "is 9"),
    ],
)
def test_a_guess_that_contradicts_the_configuration_is_refused(
    config: dict[str, Any], named: str
) -> None:
    names = [*stack("model.layers", 3), *stack("model.vision_tower.layers", 5)]
    with pytest.raises(ArchitectureError) as error:
        resolve({"model_type": "unheard_of", **config}, names)
    assert named in str(error.value)
    assert "a shard is missing" in str(error.value)


@pytest.mark.parametrize(
    "tower",
    [
        [
            f"image_encoder.stages.{s}.blocks.{b}.{x}"
            for s in range(4)
            for b in range(3)
            for x in FEW
        ],
        [f"vision.trunk.{s}.{b}.{x}" for s in range(3) for b in range(2 + s) for x in FEW],
        [f"visual.layer{s}.{b}.{x}" for s in range(1, 5) for b in range(3) for x in FEW],
        [f"vision.net.stages_{s}.blocks.{b}.{x}" for s in range(4) for b in range(4) for x in FEW],
        [
            f"davit.encoder.layers.{s}.layers.{b}.{x}"
            for s in range(4)
            for b in range(2)
            for x in FEW
        ],
    ],
)
def test_stages_are_no_layers(tower: list[str]) -> None:
    stem = f"{tower[0].split('.')[0]}.stem.0.proj.weight"
    architecture = guess({}, stack("model.layers", 3), tower, stem)
    assert architecture.layers == {L: 3}
    assert parts(architecture, tower[0].split(".")[0]) == {V}


def test_experts_and_sublayers_make_no_stages() -> None:
    experts = [f"mlp.experts.{e}.{leaf}.weight" for e in range(4) for leaf in ("up.a", "down.b")]
    t5 = ["layer.0.SelfAttention.q.weight", "layer.0.layer_norm.weight",
          "layer.1.DenseReluDense.wi.weight", "layer.1.layer_norm.weight"]  # fmt: skip
    assert guess({}, stack("model.layers", 3, (*FEW, *experts))).layers == {L: 3}
    blocks = guess({}, stack("decoder.block", 3, t5))
    assert blocks.layers == {L: 3}
    assert {s.module for s in blocks.sites.values()} == {Module.ATTENTION, Module.NORM, Module.MLP}


def test_an_encoder_of_text_has_places_of_its_own() -> None:
    sides = [f"text.{side}" for side in ("encoder", "decoder")]
    architecture = guess(
        {"text_config": {"encoder_layers": 5, "decoder_layers": 3, "num_hidden_layers": 5}},
        *(stack(f"{s}.layers", 5 if "enc" in s else 3, MANY) for s in sides),
        *(f"{s}.{x}.weight" for s in sides for x in ("embed_tokens", "embed_positions", "norm")),
        "text.shared.weight",
    )
    assert architecture.layers == {L: 3}
    assert parts(architecture, "text.decoder.layers") == {L}
    encoder = [s for n, s in architecture.sites.items() if n.startswith("text.encoder.layers")]
    assert {(s.component, s.layer) for s in encoder} == {(L, None)}
    assert parts(architecture, "text.decoder.norm") == {N}
    assert parts(architecture, "text.encoder.norm") == {L}
    for name in ("text.shared", "text.encoder.embed_tokens", "text.decoder.embed_positions"):
        assert parts(architecture, name) == {E}


def test_an_encoder_of_stages_sees_too() -> None:
    """As in Donut, a Swin before a BART."""
    stages = [f"encoder.encoder.layers.{s}.blocks.{b}.{x}"
              for s in range(4) for b in range(2) for x in MANY]  # fmt: skip
    config = {"encoder": {"image_size": 64, "depths": [2] * 4}, "decoder": {"decoder_layers": 3}}
    rest = ("encoder.embeddings.norm.weight", "decoder.model.decoder.embed_tokens.weight")
    architecture = guess(config, stages, stack("decoder.model.decoder.layers", 3), *rest)
    assert architecture.layers == {L: 3}
    assert parts(architecture, "encoder") == {V}
    assert parts(architecture, "decoder") == {L, E}


def test_an_encoder_whose_configuration_has_pixels_sees() -> None:
    config = {"encoder": {"num_hidden_layers": 5, "patch_size": 16}, "decoder": {"n_layer": 3}}
    architecture = guess(
        config,
        stack("encoder.encoder.layer", 5, MANY),
        "encoder.embeddings.cls_token",
        stack("decoder.transformer.h", 3),
        "decoder.transformer.wte.weight",
        "decoder.transformer.wpe.weight",
        "decoder.transformer.ln_f.weight",
        "decoder.lm_head.weight",
    )
    assert architecture.layers == {L: 3, V: 5}
    assert parts(architecture, "encoder") == {V}
    assert parts(architecture, "decoder") == {L, E, N, H}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("vision_tower.merger.0.weight", P),
        ("visual.proj_out.weight", P),
        ("visual.downsample.weight", P),
        ("embed_image.weight", P),
        ("image_projection.weight", P),
        ("text_projection.weight", P),
        ("spatial_projectors.0.weight", P),
        ("image_newline", P),
        ("vision2text_model.linear_1.weight", P),
        ("vision.proj_mlp.fc1.weight", P),
        ("mlp1.2.bias", P),
        ("robot.brain.mlp1.2.bias", P),
        ("time_embedder.mlp.0.weight", O),
        ("vision_tower.embeddings.patch_projection.weight", V),
        ("vision_tower.embeddings.position_embedding", V),
        ("patch_embed.proj.weight", V),
        ("llm.model.per_layer_projection_norm.weight", L),
        ("llm.model.rotary_emb.inv_freq", L),
        ("llm.model.embed_positions.weight", E),
        ("llm.unembed.weight", H),
        ("llm.model.output_layer.weight", H),
        ("llm.model.final_layer_norm.weight", N),
        ("audio_tower.audio_projector.weight", O),
        ("value_head.weight", O),
    ],
)
def test_words_place_what_has_no_layer(name: str, part: Component) -> None:
    rest = () if part is N else ("llm.model.final_layer_norm.weight",)
    tower = stack("vision_tower.layers", 5)
    architecture = guess(COUNTED, stack("llm.model.layers", 3, MANY), tower, name, *rest)
    assert architecture.sites[name].component is part


SEGMENTS = ["model", "vision_tower", "encoder", "decoder", "layers", "0", "1", "2", "mlp", "norm"]
CONFIGS: list[dict[str, Any]] = [
    {},
    COUNTED,
    {"encoder": {"patch_size": 2, "depth": 2}, "num_hidden_layers": 2},
    {"text_config": [], "vision_config": 3, "decoder": None, "num_nextn_predict_layers": True},
]


@given(
    st.lists(st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=7), min_size=1, max_size=40),
    st.sampled_from(CONFIGS),
)
def test_any_names_are_placed_one_to_one_or_refused(
    names: list[list[str]], config: dict[str, Any]
) -> None:
    flat = list(dict.fromkeys(".".join(name) for name in names))
    with warnings.catch_warnings(action="ignore"):
        try:
            architecture = resolve({"model_type": "unheard_of", **config}, flat)
            again = resolve({"model_type": "unheard_of", **config}, reversed(flat))
        except ArchitectureError as error:
            assert "Expected" in str(error)
            return
    assert list(architecture.sites) == flat
    assert len({site.canonical for site in architecture.sites.values()}) == len(flat)
    assert dict(again.sites) == dict(architecture.sites)


def test_the_order_of_names_does_not_matter() -> None:
    towers = [stack(f"{kind}_tower.layers", 5) for kind in ("image", "video")]
    forward = guess(COUNTED, stack("net.layers", 3), *towers)
    backward = guess(COUNTED, *reversed(towers), stack("net.layers", 3))
    assert dict(forward.sites) == dict(backward.sites)


def test_prediction_layers_are_no_decoder_layers() -> None:
    config = {"num_hidden_layers": 3, "num_nextn_predict_layers": 1}
    architecture = guess(config, stack("model.layers", 4))
    assert architecture.layers == {L: 3}
    assert parts(architecture, "model.layers.3") == {O}
    with pytest.raises(ArchitectureError, match="num_hidden_layers is 3"):
        resolve({"model_type": "unheard_of", **config}, stack("model.layers", 5))


def test_a_stored_head_is_not_called_tied() -> None:
    """As in LocateAnything, whose text configuration says so and whose files hold both."""
    config = {"text_config": {"num_hidden_layers": 3, "tie_word_embeddings": True}}
    names = [*stack("language_model.model.layers", 3), "language_model.model.embed_tokens.weight"]
    assert guess(config, names).tied_head
    assert not guess(config, names, "language_model.lm_head.weight").tied_head


WRAPPED = ["module.", "_orig_mod.", "base_model.model.", "policy.", "module._orig_mod.", "model.a."]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava", "llama", "idefics3"])
@pytest.mark.parametrize("prefix", WRAPPED)
def test_a_wrapper_before_every_name_is_read_past(family: str, prefix: str) -> None:
    model = build_tiny(family)
    config, names = model.config.to_dict(), list(model.state_dict())
    bare = resolve(config, names)
    wrapped = resolve(config, [prefix + name for name in names])
    assert {n.removeprefix(prefix): s for n, s in wrapped.sites.items()} == dict(bare.sites)
    assert wrapped.layers == bare.layers
    assert wrapped.guessed[0].startswith(f"Every name begins with '{prefix}'")
    assert bare.guessed == ()


def test_a_known_wrapper_lines_up_without_a_row() -> None:
    names = [*stack("net.layers", 3), *stack("net.visual.layers", 5), "net.visual.pos", "v_head.w"]
    bare = guess(COUNTED, names)
    wrapped = guess(COUNTED, [f"module._orig_mod.{name}" for name in names])
    assert list(wrapped.sites.values()) == list(bare.sites.values())
    assert wrapped.guessed[0].startswith("Every name begins with 'module._orig_mod.'")


def test_a_wrapper_before_most_names_is_named() -> None:
    names = [f"policy.{n}" for n in stack("model.layers", 3)] + ["value_head.weight"]
    with pytest.raises(ArchitectureError) as error:
        resolve({"model_type": "llama", "num_hidden_layers": 3}, names)
    assert "9 of them begin with 'policy.' and would fit without it" in str(error.value)
    names += stack("critic.layers", 3)
    with pytest.raises(ArchitectureError, match="no layer of language") as error:
        resolve({"model_type": "llama", "num_hidden_layers": 3}, names)
    assert "would fit" not in str(error.value)


@pytest.mark.parametrize(
    ("rest", "module"),
    [
        ("cross_attn.k_proj.weight", Module.ATTENTION),
        ("encoder_attn.out_proj.bias", Module.ATTENTION),
        ("crossattention.self.query.weight", Module.ATTENTION),
        ("multihead_attn.in_proj_weight", Module.ATTENTION),
        ("cross_attn_attn_gate", Module.ATTENTION),
        ("layer.1.EncDecAttention.q.weight", Module.ATTENTION),
        ("share_expert.up_proj.weight", Module.MLP),
        ("shared_experts.w1.weight", Module.MLP),
        ("moe.gate.weight", Module.MLP),
        ("shared_mlp.down_proj.weight", Module.MLP),
        ("router.proj.weight", Module.MLP),
        ("cross_attn_mlp_gate", Module.MLP),
        ("fc1.bias", Module.MLP),
        ("conv.in_proj.weight", Module.MIXER),
        ("short_conv.conv.weight", Module.MIXER),
        ("mamba.A_log", Module.MIXER),
        ("mixer.conv1d.bias", Module.MIXER),
        ("mixer.out_proj.weight", Module.MIXER),
        ("mixer.q_proj.weight", Module.ATTENTION),
        ("mixer.experts.3.down_proj.weight", Module.MLP),
        ("encoder_attn_layer_norm.weight", Module.NORM),
        ("post_ffn_norm.weight", Module.NORM),
        ("layer_scalar", Module.OTHER),
    ],
)
def test_every_block_has_a_module(rest: str, module: Module) -> None:
    assert block(tuple(rest.split(".")))[0] is module


def test_two_blocks_of_a_kind_keep_apart() -> None:
    leaves = (
        "self_attn.q_proj.weight",
        "cross_attn.q_proj.weight",
        "mlp.up.weight",
        "moe.up.weight",
    )
    architecture = guess({}, stack("model.layers", 2, leaves))
    result = {s.leaf for s in architecture.sites.values() if s.module is Module.ATTENTION}
    assert result == {"q_proj.weight", "cross_attn.q_proj.weight"}
    modules = decoder_modules(architecture)
    assert modules[1].attention == "model.layers.1.self_attn"
    assert modules[1].mlp == "model.layers.1.mlp"
    assert modules[1].layer == "model.layers.1"


@pytest.mark.parametrize(
    ("leaves", "reason"),
    [
        (("cross_attn.q_proj.weight", "mlp.up_proj.weight"), "its attention is cross_attn"),
        (("mixer.A_log", "mlp.up_proj.weight"), "it has mixer, mlp"),
        (("self_attn.q_proj.weight", "fc1.weight", "fc2.weight"), "its mlp is fc1, fc2"),
    ],
)
def test_layers_that_cannot_be_probed_say_why(leaves: tuple[str, ...], reason: str) -> None:
    architecture = guess({}, stack("model.layers", 2, (*leaves, "norm.weight")))
    with pytest.raises(ArchitectureError, match=reason):
        decoder_modules(architecture)
