"""The layouts in which files store experts: distinguished by headers, and never mixed."""

from __future__ import annotations

import json
import shutil

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from surgery.arch import Component, Module, Site
from surgery.arch.experts import ExpertLayout, expert_layouts
from surgery.checkpoint.open import open_checkpoint
from surgery.errors import CheckpointError, PlanError
from surgery.recipe import parse_selector
from surgery.stats.align import align
from tests.execute.merging import merge, plan_of, recipe_text, tensors
from tests.families import FAMILIES, save_tiny

SEPARATE = ["mixtral", "qwen2_moe", "qwen3_moe", "qwen3_5_moe", "glm4v_moe"]


def site(leaf):
    return Site(Component.LANGUAGE, 0, Module.MLP, f"experts.{leaf}")


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_a_pair_of_shapes_has_one_layout(experts, hidden, inner):
    gate_up, down = (experts, 2 * inner, hidden), (experts, hidden, inner)
    result = expert_layouts({site("gate_up_proj"): gate_up, site("down_proj"): down})
    assert set(result.values()) == {ExpertLayout.FUSED}
    turned = {
        site("gate_up_proj"): (experts, hidden, 2 * inner),
        site("down_proj"): (experts, inner, hidden),
    }
    assert set(expert_layouts(turned).values()) == {ExpertLayout.TRANSPOSED}


def test_shapes_that_fit_neither_and_halves_are_not_named():
    assert expert_layouts({site("gate_up_proj"): (2, 8, 8), site("down_proj"): (2, 8, 8)}) == {}
    assert expert_layouts({site("gate_up_proj"): (2, 8, 8)}) == {}


def transposed(folder, out):
    """A copy with the experts as Qwen3-VL-MoE was published."""
    shutil.copytree(folder, out)
    file = load_file(out / "model.safetensors")
    turned = {n: t.mT.contiguous() if ".experts." in n else t for n, t in file.items()}
    save_file(turned, out / "model.safetensors", metadata={"format": "pt"})
    return out


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two models of a family in two layouts, by family."""
    root = tmp_path_factory.mktemp("moe")
    output = {}
    for family in SEPARATE:
        output[family] = {
            "in": save_tiny(family, root / family / "in"),
            "rl": save_tiny(family, root / family / "rl", seed=1, as_in_memory=True),
        }
    saved = save_tiny("qwen3_vl_moe", root / "qwen3_vl_moe" / "in")
    other = save_tiny("qwen3_vl_moe", root / "qwen3_vl_moe" / "v5", seed=1)
    output["qwen3_vl_moe"] = {"in": saved, "rl": transposed(other, root / "qwen3_vl_moe" / "rl")}
    return output


STEPS = {
    "transplant": "  - transplant: language[:].mlp\n    from: rl",
    "interpolate": "  - interpolate: language[1]\n    from: rl\n    t: 0.5",
    # Both are [4, 32, 32] in either layout of the tiny Qwen3-VL-MoE: the shapes do not differ.
    "square": "  - interpolate: language[:].mlp.experts.gate_up_proj\n    from: rl\n    t: 0.5",
    "merge": "  - merge: language[1].mlp\n    method: linear\n    models: {in: {weight: 1}, "
    "rl: {weight: 1}}",
}


@pytest.mark.parametrize("family", [*SEPARATE, "qwen3_vl_moe"])
@pytest.mark.parametrize("turn", [False, True], ids=["", "turned"])
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS.keys())
def test_two_layouts_are_refused_by_name(family, turn, steps, pairs):
    models = dict(
        zip(("in", "rl"), list(pairs[family].values())[:: -1 if turn else 1], strict=True)
    )
    if "gate_up_proj" in steps and family in SEPARATE and not turn:
        steps = steps.replace("experts.gate_up_proj", "experts.1")
    with pytest.raises(PlanError, match=r"experts of language layers? .* two layouts") as caught:
        plan_of(recipe_text(models, steps))
    assert "save_original_format=False" in str(caught.value)
    assert all(str(path) in str(caught.value) for path in models.values())


@pytest.mark.parametrize("family", [*SEPARATE, "qwen3_vl_moe"])
def test_the_rest_can_be_merged(family, pairs, tmp_path):
    out = tmp_path / "out"
    select = "language[:], !language[:].mlp.experts"
    merge(recipe_text(pairs[family], f'  - transplant: "{select}"\n    from: rl'), out)
    moved = [n for n, t in tensors(out).items() if not t.equal(tensors(pairs[family]["in"])[n])]
    assert moved
    assert not any(".experts." in name for name in moved)


@pytest.mark.parametrize("family", ["qwen3_moe", "qwen3_vl_moe"])
def test_statistics_say_so_too(family, pairs):
    infos = {}
    for name, path in pairs[family].items():
        with open_checkpoint(str(path)) as checkpoint:
            infos[name] = checkpoint.info
    for selector in (None, parse_selector("language[0]")):
        with pytest.raises(PlanError, match=r"experts of language layers? 0.* two layouts"):
            align(infos, selector)
    rest = align(infos, parse_selector("*, !language[:].mlp.experts"))
    assert rest.pieces
    assert rest.unmatched == ()


def converted(folder, out, family):
    """Convert as the message says."""
    kind = getattr(transformers, FAMILIES[family].model_class)
    kind.from_pretrained(folder).save_pretrained(out, save_original_format=False)
    return out


@pytest.mark.parametrize("family", ["mixtral", "qwen3_5_moe", "qwen3_vl_moe"])
def test_converted_as_the_message_says_they_line_up(family, tmp_path):
    # No matrix is square: transformers 5 itself takes a square one for turned already.
    size = {"mixtral": {"intermediate_size": 24}}.get(
        family, {"text_config": {"moe_intermediate_size": 24}}
    )
    first = save_tiny(family, tmp_path / "in", **size)
    saved = save_tiny(family, tmp_path / "rl", seed=1, **size)
    second = transposed(saved, tmp_path / "turned") if family == "qwen3_vl_moe" else saved
    models = {
        "in": converted(first, tmp_path / "a", family),
        "rl": converted(second, tmp_path / "b", family),
    }
    merge(recipe_text(models, '  - transplant: "*"\n    from: rl'), tmp_path / "out")
    expected = converted(saved, tmp_path / "wanted", family)
    output = tensors(tmp_path / "out")
    assert all(tensor.equal(output[name]) for name, tensor in tensors(expected).items())


@pytest.mark.filterwarnings("ignore::surgery.arch.ArchitectureWarning")
def test_one_layout_of_llama_4_merges(tmp_path):
    """Its fused experts are stored with the axes exchanged by every version."""
    text = {"hidden_size": 32, "intermediate_size": 24, "intermediate_size_mlp": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 8, "num_local_experts": 4, "vocab_size": 96, "pad_token_id": 0}  # fmt: skip
    models = {}
    for seed, name in enumerate(("in", "rl")):
        transformers.set_seed(seed)
        model = transformers.Llama4ForCausalLM(transformers.Llama4TextConfig(**text))
        model.save_pretrained(tmp_path / name)
        models[name] = tmp_path / name
    with open_checkpoint(str(models["in"])) as checkpoint:
        assert any("experts.gate_up_proj" in name for name in checkpoint.info.tensors)
    plan_of(recipe_text(models, "  - transplant: language[:]\n    from: rl"))


def test_another_kind_of_tensor_in_the_same_place_is_named(pair, tmp_path):
    folder = tmp_path / "fused"
    shutil.copytree(pair("llama")["rl"], folder)
    file = load_file(folder / "model.safetensors")
    renamed = {n.replace("gate_proj", "w13"): t for n, t in file.items()}
    save_file(renamed, folder / "model.safetensors")
    steps = "  - transplant: language[1].mlp\n    from: rl"
    with pytest.raises(
        PlanError, match=r"In the same place 'rl' has .*layers\.1\.mlp\.w13\.weight"
    ):
        plan_of(recipe_text({"in": pair("llama")["in"], "rl": folder}, steps))


def test_an_adapter_of_single_experts_meets_fused_ones(pairs, tmp_path):
    from tests.checkpoint.test_adapter import opened

    (tmp_path / "a").mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config))
    item = "model.layers.0.mlp.experts.1.down_proj"
    weight = load_file(pairs["qwen3_moe"]["in"] / "model.safetensors")[f"{item}.weight"]
    parts = {
        f"base_model.model.{item}.lora_A.weight": weight[:2].clone(),
        f"base_model.model.{item}.lora_B.weight": weight[:, :2].clone(),
    }
    save_file(parts, tmp_path / "a" / "adapter_model.safetensors")
    opened(pairs["qwen3_moe"]["in"], tmp_path / "a").close()
    with pytest.raises(CheckpointError, match="stores all experts of a layer in one tensor"):
        opened(pairs["qwen3_moe"]["rl"], tmp_path / "a")
