"""Checkpoints that resolving refuses, and the messages."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from typing import Any

import pytest

from surgery.arch import (
    Architecture,
    ArchitectureWarning,
    Component,
    Module,
    Site,
    find_family,
    resolve,
)
from surgery.errors import ArchitectureError, SurgeryError
from tests.waiting import cpu_limit


def names(layers: int, prefix: str = "model.", head: bool = True) -> list[str]:
    """The tensors of a small decoder."""
    blocks = [
        f"{prefix}layers.{n}.{leaf}.weight"
        for n in range(layers)
        for leaf in ("self_attn.q_proj", "mlp.up_proj", "input_layernorm")
    ]
    ends = [f"{prefix}embed_tokens.weight", f"{prefix}norm.weight"]
    return [*ends, *blocks, *(["lm_head.weight"] if head else [])]


LLAMA: dict[str, Any] = {"model_type": "llama", "num_hidden_layers": 3}


def test_another_number_of_layers_than_the_configuration_says() -> None:
    with pytest.raises(ArchitectureError) as error:
        resolve({**LLAMA, "num_hidden_layers": 5}, names(3))
    text = str(error.value)
    assert "language has 3 layers, 0 to 2" in text
    assert "'model.layers.2.self_attn.q_proj.weight'" in text
    assert "num_hidden_layers of the configuration is 5" in text
    assert "Expected layers 0 to 4" in text


def test_more_layers_than_the_configuration_says() -> None:
    with pytest.raises(ArchitectureError, match=r"language has 3 layers.*configuration is 2"):
        resolve({**LLAMA, "num_hidden_layers": 2}, names(3))


def test_layers_missing_in_the_middle() -> None:
    remaining = [name for name in names(6) if not re.search(r"layers\.[24]\.", name)]
    with pytest.raises(ArchitectureError, match=r"layers up to 5 .* no tensor of layers 2, 4\."):
        resolve({**LLAMA, "num_hidden_layers": 6}, remaining)
    remaining = [name for name in names(6) if ".0." not in name]
    with pytest.raises(ArchitectureError, match=r"no tensor of layer 0\. Expected every layer"):
        resolve({"model_type": "llama"}, remaining)


def test_two_spellings_of_one_tensor() -> None:
    both = [*names(3), "layers.1.mlp.up_proj.weight"]
    with pytest.raises(ArchitectureError) as error:
        resolve(LLAMA, both)
    assert "'model.layers.1.mlp.up_proj.weight' and 'layers.1.mlp.up_proj.weight'" in str(
        error.value
    )
    assert "language.layers.1.mlp.up_proj.weight" in str(error.value)


def test_a_name_given_twice_is_one_tensor() -> None:
    assert resolve(LLAMA, names(3) + names(3)).sites == resolve(LLAMA, names(3)).sites


def test_no_layers_at_all() -> None:
    with pytest.raises(ArchitectureError, match=r"no layer of language .*'transformer\.h\.0\.x'"):
        resolve(LLAMA, ["transformer.h.0.x"])
    with pytest.raises(ArchitectureError, match=r"among 0 tensors"):
        resolve(LLAMA, [])


def test_a_vision_tower_of_embeddings_alone() -> None:
    config = {"model_type": "llava", "vision_config": {"num_hidden_layers": 2}}
    tensors = [*names(2, "model.language_model."), "vision_tower.embeddings.class_embedding"]
    with pytest.raises(ArchitectureError, match="no layer of vision"):
        resolve(config, tensors)


def test_a_text_only_copy_of_a_vision_language_model() -> None:
    config = {"model_type": "qwen2_5_vl", "num_hidden_layers": 2, "vision_config": {"depth": 32}}
    architecture = resolve(config, names(2))
    assert architecture.layers == {Component.LANGUAGE: 2}


@pytest.mark.parametrize("count", ["28", 0, -1, 2.0, True, [3]])
def test_a_count_that_is_none(count: Any) -> None:
    with pytest.raises(ArchitectureError, match="num_hidden_layers of the configuration is"):
        resolve({**LLAMA, "num_hidden_layers": count}, names(3))


def test_counts_before_4_52_stood_at_the_top() -> None:
    flat = {"model_type": "qwen2_vl", "num_hidden_layers": 3, "vision_config": {"depth": 1}}
    tensors = [*names(3), "visual.blocks.0.attn.qkv.weight"]
    assert resolve(flat, tensors).layers == {Component.LANGUAGE: 3, Component.VISION: 1}
    with pytest.raises(ArchitectureError, match="num_hidden_layers of the configuration is 4"):
        resolve({**flat, "num_hidden_layers": 4}, tensors)


def test_without_a_count_the_names_decide() -> None:
    assert resolve({"model_type": "llama"}, names(7)).layers == {Component.LANGUAGE: 7}


def test_tensors_the_row_does_not_know() -> None:
    architecture = resolve(LLAMA, [*names(3), "v_head.summary.weight", "v_head.summary.bias"])
    site = Site(Component.OTHER, None, Module.OTHER, "v_head.summary.weight")
    assert architecture.sites["v_head.summary.weight"] == site
    (sentence,) = architecture.guessed
    assert "'v_head.summary.weight', 'v_head.summary.bias'" in sentence
    assert "treated as part of other" in sentence


def test_an_unknown_tower_inside_a_known_family() -> None:
    config = {"model_type": "llava", "vision_config": {"num_hidden_layers": 24}}
    tower = [f"vision_tower.trunk.stages.{n}.conv.weight" for n in range(4)]
    architecture = resolve(config, [*names(2, "language_model.model."), *tower])
    assert {architecture.sites[name].component for name in tower} == {Component.VISION}
    assert len({architecture.sites[name] for name in tower}) == 4
    assert "treated as part of vision, outside its layers" in architecture.guessed[0]
    assert "and 1 more" in architecture.guessed[0]


def test_prediction_layers_are_set_aside() -> None:
    config = {"model_type": "glm4v_moe", "text_config": {"num_hidden_layers": 3}}
    architecture = resolve(config, names(4, "model.language_model."))
    assert architecture.layers == {Component.LANGUAGE: 3}
    extra = architecture.sites["model.language_model.layers.3.mlp.up_proj.weight"]
    assert extra.component is Component.OTHER
    assert extra.leaf == "model.language_model.layers.3.mlp.up_proj.weight"


TIES = [
    ({"model_type": "qwen2_5_vl"}, True, False),
    ({"model_type": "qwen2_5_vl", "tie_word_embeddings": True}, False, True),
    ({"model_type": "qwen2_5_vl", "text_config": {"tie_word_embeddings": True}}, False, True),
    (
        {
            "model_type": "qwen2_5_vl",
            "tie_word_embeddings": False,
            "text_config": {"tie_word_embeddings": True},
        },
        False,
        True,
    ),
    # The text configuration of Qwen3-VL-MoE says true by default, and means nothing by it.
    (
        {
            "model_type": "qwen3_vl_moe",
            "tie_word_embeddings": False,
            "text_config": {"tie_word_embeddings": True},
        },
        True,
        False,
    ),
    # Published Gemma 3 and Mistral 3 configurations say nothing; only the latter has a head.
    ({"model_type": "gemma3", "text_config": {}}, False, True),
    ({"model_type": "mistral3", "text_config": {}}, True, False),
    ({"model_type": "mistral3", "tie_word_embeddings": True}, True, True),
    ({"model_type": "gemma2"}, False, True),
    ({"model_type": "gemma2", "tie_word_embeddings": False}, True, False),
    ({"model_type": "llama", "tie_word_embeddings": None}, True, False),
    ({"model_type": "llama", "text_config": None}, False, False),
]


@pytest.mark.parametrize(("config", "head", "tied"), TIES)
def test_tied_head(config: dict[str, Any], head: bool, tied: bool) -> None:
    prefix = "model." if "llama" in config.values() or "gemma2" in config.values() else ""
    tensors = names(2, prefix or "model.language_model.", head)
    assert resolve(config, tensors).tied_head is tied


def test_family_by_type_or_class() -> None:
    by_class = find_family({"architectures": ["Qwen2_5_VLForConditionalGeneration"]})
    assert by_class is find_family({"model_type": "qwen2_5_vl"})
    assert by_class is not None
    assert find_family({"model_type": "qwen2_5_vl_text"}) is by_class
    assert find_family({"model_type": "new", "architectures": ["LlamaForCausalLM"]}) is None
    assert find_family({"architectures": "LlamaForCausalLM"}) is None
    assert find_family({"architectures": [None, 3]}) is None
    assert find_family({}) is None


def guessed(config: dict[str, Any], tensors: list[str]) -> Architecture:
    with pytest.warns(ArchitectureWarning):
        return resolve(config, tensors)


def test_the_guess_says_what_it_guessed() -> None:
    tensors = [
        "transformer.wte.weight",
        *(f"transformer.h.{n}.{b}.weight" for n in range(3) for b in ("attn.c_proj", "mlp.c_fc")),
        *(f"vision_model.blocks.{n}.{b}.weight" for n in range(2) for b in ("attn.qkv", "norm1")),
        "vision_model.patch_embed.proj.weight",
        "transformer.ln_f.weight",
        "mlp1.0.weight",
        "mm_projector.0.weight",
        "lm_head.weight",
    ]
    architecture = guessed({"model_type": "qwen2_5_vll", "num_hidden_layers": 3}, tensors)
    assert architecture.layers == {Component.LANGUAGE: 3, Component.VISION: 2}
    assert {name: site.canonical for name, site in architecture.sites.items()}.items() >= {
        ("transformer.wte.weight", "embedding.embedding.wte.weight"),
        ("transformer.h.2.mlp.c_fc.weight", "language.layers.2.mlp.c_fc.weight"),
        ("transformer.ln_f.weight", "norm.norm.ln_f.weight"),
        ("vision_model.blocks.1.norm1.weight", "vision.layers.1.norm.norm1.weight"),
        ("mlp1.0.weight", "projector.other.mlp1.0.weight"),
        ("lm_head.weight", "head.other.lm_head.weight"),
    }
    assert architecture.sites["mm_projector.0.weight"].component is Component.PROJECTOR
    text = " ".join(architecture.guessed)
    assert "'qwen2_5_vll' is not in the family table (the nearest is 'qwen2_5_vl')" in text
    assert "transformer.h.# taken as the 3 layers of language." in text
    assert "vision_model.blocks.# taken as the 2 layers of vision." in text
    assert "Taken as projector: 'mlp1.0.weight', 'mm_projector.0.weight'." in text
    assert not architecture.tied_head


def test_the_guess_takes_the_largest_stack() -> None:
    tensors = [
        *(f"decoder.layers.{n}.{b}.weight" for n in range(6) for b in ("attn.q", "mlp.up")),
        *(f"draft.layers.{n}.{b}.weight" for n in range(2) for b in ("attn.q", "mlp.up")),
        *(f"audio_tower.layers.{n}.{b}.weight" for n in range(9) for b in ("attn.q", "mlp.up")),
    ]
    architecture = guessed({}, tensors)
    assert architecture.layers == {Component.LANGUAGE: 6}
    assert architecture.sites["audio_tower.layers.0.attn.q.weight"].component is Component.OTHER
    assert "audio_tower.layers.#, draft.layers.#" in " ".join(architecture.guessed)
    assert architecture.guessed[0].startswith("The configuration names no model_type")


def test_the_guess_refuses_what_has_no_layers_or_gaps() -> None:
    with pytest.raises(ArchitectureError, match=r"no numbered stack .* 'x' is not in the family"):
        resolve({"model_type": "x"}, ["a.weight", "b.0.weight", "b.1.weight"])
    gap = [f"enc.layers.{n}.{b}.w" for n in (0, 1, 3) for b in ("attn.q", "mlp.up")]
    with pytest.raises(ArchitectureError, match="no tensor of layer 2"):
        resolve({"model_type": "x"}, gap)


def test_the_warning_points_at_the_caller() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        resolve({"model_type": "x"}, names(2))
    assert [w.category for w in caught] == [ArchitectureWarning]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "config", [{}, {"model_type": 3}, {"text_config": [], "model_type": "gemma3"}]
)
def test_odd_configurations_end_in_an_error_or_a_guess(config: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ArchitectureWarning)
        try:
            resolve(config, names(2))
        except SurgeryError as error:
            assert str(error)


def test_a_large_mixture_of_experts_resolves_quickly() -> None:
    experts = [
        f"model.layers.{n}.mlp.experts.{e}.{p}.weight"
        for n in range(94)
        for e in range(128)
        for p in ("gate_proj", "up_proj", "down_proj")
    ]
    with cpu_limit(10):
        architecture = resolve(
            {"model_type": "qwen3_moe", "num_hidden_layers": 94}, names(94) + experts
        )
    assert len(architecture.sites) == len(experts) + 94 * 3 + 3


def test_importing_the_architectures_loads_nothing_heavy() -> None:
    code = (
        "import surgery.arch, sys;"
        "print([m for m in ('torch', 'transformers', 'mergekit', 'numpy') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
