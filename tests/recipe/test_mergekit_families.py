"""mergekit files about families of all kinds: translated as mergekit merges, or refused."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache

import pytest
import torch
import transformers
import yaml

from surgery.arch import Component, resolve
from surgery.checkpoint.open import open_checkpoint
from surgery.errors import RecipeError, SurgeryError
from surgery.plan import make_plan
from surgery.recipe import parse_recipe
from surgery.recipe.dump import to_mapping, to_yaml
from surgery.recipe.mergekit import architecture_of, bound, from_mergekit, local_model, to_mergekit
from surgery.recipe.mergekit.tables import stand_in
from tests.execute.merging import merge
from tests.families import save_tiny, spell_v4
from tests.recipe.test_mergekit import run, tensors

# What people filter by, and pieces of names that some families have and others do not.
MARKS = [
    "self_attn", "mlp", "lm_head", "embed_tokens", "norm", "layernorm", "post_", "q_proj",
    "o_proj", "down_proj", "gate", "q_norm", "mlp.gate.", "experts", "feedforward_layernorm",
    "visual", "vision_tower", "language_model", "multi_modal_projector", "merger", "attn",
    "model.layers.1.", "layers.2.", ".bias", "model.norm", "attention", "block_sparse_moe",
]  # fmt: skip
FAMILIES = [
    "llama", "qwen3", "qwen3_moe", "mixtral", "gemma2", "glm4", "phi3", "olmo2",
    "qwen2_5_vl", "mistral3", "gemma3",
]  # fmt: skip


def save_llama_4(folder, seed):
    text = {"hidden_size": 32, "intermediate_size": 24, "intermediate_size_mlp": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 8, "num_local_experts": 4, "vocab_size": 96, "pad_token_id": 0}  # fmt: skip
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
              "intermediate_size": 128, "image_size": 28, "patch_size": 14,
              "vision_output_dim": 32, "projector_input_dim": 32,
              "projector_output_dim": 32}  # fmt: skip
    transformers.set_seed(seed)
    config = transformers.Llama4Config(text_config=text, vision_config=vision)
    transformers.Llama4ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Make two tiny models of a family in the names that mergekit looks for, once."""
    root = tmp_path_factory.mktemp("families")

    @cache
    def make(family):
        result = {}
        for seed, name in enumerate("ab"):
            if family == "llama4":
                result[name] = save_llama_4(root / family / name, seed)
                continue
            folder = save_tiny(family, root / family / name, seed=seed, dtype=torch.float32)
            if family == "gemma3":
                folder = spell_v4(family, folder, root / family / f"{name}4")
            result[name] = folder
        return result

    return make


def linear(a, b, setting, form="models"):
    """Return a linear merge with a weight of the second model."""
    if form == "models":
        sources = {"models": [{"model": str(a)}, {"model": str(b)}]}
        entries = sources["models"]
    else:
        entries = [{"model": str(m), "layer_range": [0, form]} for m in (a, b)]
        sources = {"slices": [{"sources": entries}]}
    entries[0]["parameters"] = {"weight": 1.0}
    entries[1]["parameters"] = {"weight": setting}
    head = {"merge_method": "linear", "base_model": str(a), "parameters": {"normalize": False}}
    return yaml.safe_dump({**head, **sources})


def fused(results):
    """Return tensors with single experts fused, as mergekit writes them."""
    result, single = {}, {}
    for published, tensor in results.items():
        name = published.replace("block_sparse_moe", "mlp")
        stem, _, rest = name.partition(".experts.")
        number, _, part = rest.removesuffix(".weight").partition(".")
        if number.isdigit():
            single.setdefault(f"{stem}.experts", {}).setdefault(part, []).append(tensor)
        else:
            result[name] = tensor
    for stem, parts in single.items():
        gate, up, down = (
            ("w1", "w3", "w2") if "w1" in parts else ("gate_proj", "up_proj", "down_proj")
        )
        halves = torch.stack(parts[gate]), torch.stack(parts[up])
        result[f"{stem}.gate_up_proj"] = torch.cat(halves, 1)
        result[f"{stem}.down_proj"] = torch.stack(parts[down])
    return result


FILTERS = [
    {"filter": "mlp.gate.", "value": 0.0},
    {"filter": "q_norm", "value": 0.0},
    {"filter": "self_attn", "value": 0.75},
    {"filter": "vision_tower", "value": 0.125},
    {"filter": "feedforward_layernorm", "value": 0.25},
    {"filter": "multi_modal_projector", "value": 0.875},
    {"filter": "mlp", "value": 0.625},
    {"value": 0.5},
]


@pytest.mark.parametrize("family", [*FAMILIES, "llama4"])
def test_with_the_model_known_filters_pick_what_mergekit_picks(family, models, tmp_path):
    folders = models(family)
    text = linear(folders["a"], folders["b"], FILTERS)
    recipe = from_mergekit(text, architecture=architecture_of(local_model(text)))
    merge(to_yaml(recipe), tmp_path / "ours")
    expected, result = run(text, tmp_path / "mergekit"), fused(tensors(tmp_path / "ours"))
    assert result.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(result[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


def planned(recipe, infos):
    """Return every tensor's operation, or None where the planner refuses."""
    try:
        ops = make_plan(recipe, infos).ops
    except SurgeryError:
        return None
    return {op.name: (op.operation, op.inputs) for op in ops}


@pytest.mark.parametrize("form", ["models", "slices"])
@pytest.mark.parametrize("mark", MARKS)
def test_without_a_model_a_recipe_is_right_or_refused(mark, form, models):
    setting = [{"filter": mark, "value": 0.5}, {"value": 0.25}]
    size = "models" if form == "models" else 4
    try:
        guess = from_mergekit(linear("x/a", "x/b", setting, size))
    except RecipeError as error:
        assert repr(mark) in str(error), str(error)
        assert "--model REF" in str(error)
        return
    cached = 0
    for family in FAMILIES:
        if form == "slices" and family in ("qwen2_5_vl", "mistral3", "gemma3"):
            continue  # mergekit takes slices for text models only
        with open_checkpoint(str(models(family)["a"])) as checkpoint:
            info = checkpoint.info
        infos = {"a": info, "b": replace(info, reference="b")}
        architecture = resolve(info.config, info.tensors)
        text = linear("x/a", "x/b", setting, "models")
        expected = from_mergekit(text, architecture=architecture)
        result = planned(guess, infos)
        assert result is None or result == planned(expected, infos), (family, str(guess.steps))
        cached += result is not None
        assert result is None or family in guess.description
    assert cached


SLICES = """\
merge_method: slerp
base_model: x/a
slices:
  - sources: [{model: x/a, layer_range: [0, 2]}, {model: x/b, layer_range: [0, 2]}]
  - sources: [{model: x/a, layer_range: [2, 4]}, {model: x/b, layer_range: [2, 4]}]
parameters: {t: [{filter: self_attn, value: FIRST}, {value: REST}]}
"""


@pytest.mark.parametrize(
    ("first", "rest"), [("[0.25, 0.75]", "0"), ("1", "[0.2, 0.4, 0.6]"), ("0", "[0.1, 0.9]")]
)
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "glm4"])
def test_gradients_without_a_model_are_right_or_refused(first, rest, family, models):
    text = SLICES.replace("FIRST", first).replace("REST", rest)
    with open_checkpoint(str(models(family)["a"])) as checkpoint:
        infos = dict.fromkeys("ab", checkpoint.info)
    architecture = resolve(infos["a"].config, infos["a"].tensors)
    expected = planned(from_mergekit(text, architecture=architecture), infos)
    try:
        guess = from_mergekit(text)
    except RecipeError as error:
        assert "'self_attn'" in str(error)
        return
    result = planned(guess, infos)
    assert result is None or result == expected


def test_a_gradient_meets_a_projector_that_mergekit_counts_in_layers():
    """Qwen3-VL's mergers are layers to mergekit, and tensors without a layer here."""
    text = (
        "merge_method: linear\nmodels: [{model: x/a, parameters: {weight: [0.25, 0.75]}}, "
        "{model: x/b, parameters: {weight: 0.5}}]"
    )
    architecture = stand_in("qwen3_vl", {Component.LANGUAGE: 4, Component.VISION: 3})
    steps = from_mergekit(text, architecture=architecture).steps
    picked = [site for step in steps for site in step.selector.match(architecture)]
    assert len(picked) == len(set(picked)) == len(architecture.sites)
    with pytest.raises(RecipeError, match="--model REF"):
        from_mergekit(text)


@pytest.mark.parametrize(
    ("mark", "says"),
    [
        ("vision_tower", "the filter 'vision_tower' cannot be resolved"),
        ("language_model", "the filter 'language_model' cannot be resolved"),
        ("multi_modal_projector", "the filter 'multi_modal_projector' cannot be resolved"),
        ("feedforward_layernorm", "the filter 'feedforward_layernorm' cannot be resolved"),
        ("mlp.gate.", "the filter 'mlp.gate.' cannot be resolved"),
        ("q_norm", "the filter 'q_norm' cannot be resolved"),
        ("self_attn", "the filter 'self_attn' may pick other tensors"),
        ("norm", "the filter 'norm' may pick other tensors"),
    ],
)
def test_filters_that_depend_on_the_family_are_refused_by_name(mark, says):
    setting = [{"filter": mark, "value": 0.5}, {"value": 0.25}]
    with pytest.raises(RecipeError, match=says) as caught:
        from_mergekit(linear("x/a", "x/b", setting))
    assert caught.value.place is not None


def test_a_text_model_is_not_asked_for_a_projector(models, tmp_path):
    folders = models("llama")
    head = linear("x/a", "x/b", [{"filter": "lm_head", "value": 0}, {"value": 0.5}])
    ends = "merge_method: passthrough\nmodels: [{model: x/a, parameters: {scale: [{filter: o_proj, "
    ends += "value: 0.5}, {filter: down_proj, value: 0.5}, {value: 1}]}}]"
    for number, text in enumerate((head, ends)):
        guess = from_mergekit(text)
        recipe = bound(guess, [(n, str(folders[n])) for n in guess.models])
        local = text.replace("x/a", str(folders["a"])).replace("x/b", str(folders["b"]))
        merge(to_yaml(recipe), tmp_path / f"ours{number}")
        expected, result = run(local, tmp_path / f"mk{number}"), tensors(tmp_path / f"ours{number}")
        assert result.keys() == expected.keys()
        assert all(torch.allclose(tensor, expected[name]) for name, tensor in result.items())


def test_gradients_of_unknown_length_are_refused():
    uneven = (
        "merge_method: ties\nbase_model: x/a\nmodels: [{model: x/a}, {model: x/b, parameters: "
        "{density: [0.9, 0.5, 0.2], weight: [0.1, 0.9]}}]"
    )
    vision = (
        "merge_method: ties\nbase_model: x/a\nmodules:\n"
        "  text_decoder: {slices: [{sources: [{model: x/a, layer_range: [0, 9]}, "
        "{model: x/b, layer_range: [0, 9], parameters: {weight: 1}}]}]}\n"
        "  vision_tower: {models: [{model: x/a}, {model: x/b, parameters: {weight: [0, 1, 0.5]}}]}"
    )
    for text in (uneven, vision):
        with pytest.raises(RecipeError, match=r"depends on the number of layers.* --model REF"):
            from_mergekit(text)


@pytest.mark.parametrize(
    ("spelled", "stands"), [("1.0", True), ("1", True), ("0.0", False), ("true", True)]
)
def test_numbers_for_true_and_false(spelled, stands):
    text = (
        "merge_method: ties\nbase_model: x/a\nparameters: {int8_mask: 1, lambda: true, normalize: "
        f"{spelled}}}\nmodels: [{{model: x/b, parameters: {{weight: 0.5, density: 0.5}}}}]"
    )
    recipe = from_mergekit(text)
    assert recipe.steps[0].parameters["normalize"] is stands
    assert recipe.steps[0].parameters["int8_mask"] is True
    assert recipe.steps[0].parameters["lambda"] == 1.0
    assert parse_recipe(to_yaml(recipe)).steps == recipe.steps
    with pytest.raises(RecipeError, match=r"normalize is true or false; found 0\.5"):
        from_mergekit(text.replace(f"normalize: {spelled}", "normalize: 0.5"))
    whole = "merge_method: karcher\nparameters: {max_iter: 40.0}\nmodels: [{model: a}, {model: b}]"
    assert from_mergekit(whole).steps[0].parameters["max_iter"] == 40
    with pytest.raises(RecipeError, match=r"max_iter is a whole number; found 40\.5"):
        from_mergekit(whole.replace("40.0", "40.5"))


def test_out_to_mergekit_for_families_with_a_prefix(models, tmp_path):
    folders = models("mistral3")
    text = (
        f"models: {{in: {folders['a']}, rl: {folders['b']}}}\nbase: in\nsteps:\n"
        "  - {interpolate: 'language[:].mlp, vision', from: rl, t: 0.5}"
    )
    recipe = parse_recipe(text)
    out = to_mergekit(recipe, architecture_of(str(folders["a"])))
    merge(to_yaml(recipe), tmp_path / "ours")
    expected, result = run(out, tmp_path / "mergekit"), tensors(tmp_path / "ours")
    assert result.keys() == expected.keys()
    assert all(torch.allclose(tensor, expected[name]) for name, tensor in result.items())
    assert to_mapping(from_mergekit(out, architecture=architecture_of(str(folders["a"]))))["steps"]


def test_names_that_mergekit_does_not_look_for_are_refused(tmp_path):
    for family in ("gemma3", "qwen2_5_vl"):
        memory = save_tiny(family, tmp_path / family, as_in_memory=True)
        recipe = parse_recipe(
            f"models: {{in: {memory}, rl: {memory}}}\nbase: in\nsteps:\n"
            "  - {interpolate: language, from: rl, t: 0.5}"
        )
        with pytest.raises(RecipeError, match="another version of transformers"):
            to_mergekit(recipe, architecture_of(str(memory)))


def test_single_experts_are_one_to_mergekit(models, tmp_path):
    folders = models("qwen3_moe")
    text = (
        f"models: {{in: {folders['a']}, rl: {folders['b']}}}\nbase: in\nsteps:\n"
        "  - {interpolate: 'language[:].mlp.experts.SOME', from: rl, t: 0.5}"
    )
    architecture = architecture_of(str(folders["a"]))
    whole = parse_recipe(text.replace(".SOME", ""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = run(to_mergekit(whole, architecture), tmp_path / "mergekit")
    merge(to_yaml(whole), tmp_path / "ours")
    result = fused(tensors(tmp_path / "ours"))
    assert all(torch.allclose(tensor, expected[name]) for name, tensor in result.items())
    with pytest.raises(RecipeError, match=r"fuses the experts of a layer to .*experts\.down_proj"):
        to_mergekit(parse_recipe(text.replace("SOME", "1")), architecture)
