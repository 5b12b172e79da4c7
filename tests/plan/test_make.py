"""The decisions and refusals of plans, from real headers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.arch import Component, Module, Site
from surgery.errors import PlanError, RecipeError
from surgery.methods.operations import ByteCopy, Slerp
from surgery.plan.steps import spread
from surgery.plan.validate import check_vocabularies
from tests.execute.merging import merge, plan_of, recipe_text, tensors
from tests.families import save_tiny, spell_v4


def copy_of(folder, target):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_every_tensor_of_the_base_has_one_op(pair):
    plan = plan_of(recipe_text(pair("qwen2_5_vl"), "  - transplant: language[mid]\n    from: rl"))
    assert [op.name for op in plan.ops] == list(plan.base.tensors)
    assert {op.source for op in plan.ops} == {"in", "rl"}
    for op in plan.ops:
        assert (op.step == 0) == (op.site.component is Component.LANGUAGE and op.site.layer == 1)


def test_conservation_names_every_tensor_once(pair):
    plan = plan_of(recipe_text(pair("llava"), "  - transplant: language[mid].mlp\n    from: rl"))
    for name, result in plan.conservation.items():
        parts = [*result.used, *result.replaced, *result.unused, *result.absent]
        assert sorted(parts) == sorted(plan.models[name].tensors)
    assert len(plan.conservation["in"].replaced) == len(plan.conservation["rl"].used) > 0


def test_two_steps_for_one_tensor_name_both(pair):
    steps = (
        "  - transplant: language[0:2]\n    from: rl\n"
        "  - transplant: language[1:3].mlp\n    from: rl"
    )
    with pytest.raises(PlanError) as caught:
        plan_of(recipe_text(pair("llama"), steps))
    text = str(caught.value)
    assert "step 1 (language[0:2]" in text
    assert "step 2 (language[1:3].mlp" in text
    assert "language.layers.1.mlp." in text


def test_other_layer_counts_are_refused(tmp_path, pair):
    models = {"in": pair("llama")["in"]}
    models["rl"] = save_tiny("llama", tmp_path / "rl", num_hidden_layers=6)
    with pytest.raises(PlanError, match=r"language has \d layers in 'in' .* but 6 in 'rl'"):
        plan_of(recipe_text(models, "  - transplant: language[0]\n    from: rl"))


def test_other_shapes_are_refused_by_name(tmp_path, pair):
    models = {"in": pair("llama")["in"]}
    models["rl"] = save_tiny("llama", tmp_path / "rl", intermediate_size=64)
    with pytest.raises(PlanError, match=r"mlp\.down_proj\.weight is \[.*\] in 'in' but \[.*\]"):
        plan_of(recipe_text(models, "  - transplant: language[0]\n    from: rl"))
    plan_of(recipe_text(models, "  - transplant: language[0].attention\n    from: rl"))


def test_other_vocabularies_are_refused_unless_ignored(tmp_path, pair):
    models = {"in": pair("llama")["in"]}
    models["rl"] = save_tiny("llama", tmp_path / "rl", vocab_size=128)
    steps = "  - transplant: language[0]\n    from: rl"
    with pytest.raises(PlanError, match=r"embed_tokens.weight has 96 rows in 'in', 128 in 'rl'"):
        merge(recipe_text(models, steps), tmp_path / "out")
    merge(recipe_text(models, steps, rest="vocabulary: ignore"), tmp_path / "out")


def test_renumbered_tokens_are_refused(tmp_path, pair):
    models = {name: copy_of(pair("llama")[name], tmp_path / name) for name in ("in", "rl")}
    for name, vocabulary in (("in", {"a": 0, "b": 1}), ("rl", {"a": 0, "c": 1})):
        text = json.dumps({"model": {"vocab": vocabulary}, "added_tokens": []})
        (models[name] / "tokenizer.json").write_text(text)
    plan = plan_of(recipe_text(models, "  - transplant: language[0]\n    from: rl"))
    with pytest.raises(PlanError, match="these tokens have different ids: 'b', 'c'"):
        check_vocabularies(plan)


def untied(tmp_path, name, seed):
    return save_tiny("qwen2", tmp_path / name, seed=seed, tie_word_embeddings=False)


def tied(tmp_path, name, seed):
    return save_tiny("qwen2", tmp_path / name, seed=seed, tie_word_embeddings=True)


def test_head_of_a_tied_model_is_its_embedding(tmp_path):
    models = {"in": untied(tmp_path, "in", 0), "rl": tied(tmp_path, "rl", 1)}
    merge(recipe_text(models, "  - transplant: head\n    from: rl"), tmp_path / "out")
    rl, out = tensors(models["rl"]), tensors(tmp_path / "out")
    assert "lm_head.weight" not in rl
    assert (out["lm_head.weight"] == rl["model.embed_tokens.weight"]).all()


def test_embedding_of_an_untied_model_cannot_go_into_a_tied_one(tmp_path):
    models = {"in": tied(tmp_path, "in", 0), "rl": untied(tmp_path, "rl", 1)}
    with pytest.raises(PlanError, match="keeps a head of its own"):
        plan_of(recipe_text(models, "  - transplant: embedding\n    from: rl"))
    plan = plan_of(recipe_text(models, "  - transplant: language[:]\n    from: rl"))
    assert plan.conservation["rl"].absent == ("lm_head.weight",)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava", "internvl", "gemma3"])
def test_old_and_new_spellings_line_up(tmp_path, family):
    """A base in the names of transformers 4 takes layers from a file in those of transformers 5."""
    new = {
        name: save_tiny(family, tmp_path / name, seed=seed, as_in_memory=True)
        for seed, name in enumerate(("in", "rl"))
    }
    old = spell_v4(family, new["in"], tmp_path / "old")
    steps = "  - transplant: language[mid]\n    from: rl"
    mixed, _ = merge(recipe_text({"in": old, "rl": new["rl"]}, steps), tmp_path / "mixed")
    plain, _ = merge(recipe_text(new, steps), tmp_path / "plain")
    assert {op.name for op in mixed.ops} == set(mixed.base.tensors)
    assert {op.name for op in mixed.ops} != {op.name for op in plain.ops}
    names = plain.architecture.names()
    result, expected = tensors(tmp_path / "mixed"), tensors(tmp_path / "plain")
    for op in mixed.ops:
        assert (result[op.name] == expected[names[op.site]]).all(), op.name


def test_ends_of_an_interpolation_are_copies(pair):
    steps = "  - interpolate: language[:]\n    from: rl\n    method: slerp\n    t: [0, 1]"
    plan = plan_of(recipe_text(pair("llama"), steps))
    last = plan.architecture.layers[Component.LANGUAGE] - 1
    for op in plan.changes():
        ends = {0: "in", last: "rl"}
        if op.site.layer in ends:
            assert (op.operation, op.source) == (ByteCopy(), ends[op.site.layer])
        else:
            assert isinstance(op.operation, Slerp)


def test_anchors_want_layers(pair):
    steps = "  - interpolate: '*'\n    from: rl\n    method: linear\n    t: [0, 1]"
    with pytest.raises((PlanError, RecipeError), match="belongs to no layer"):
        plan_of(recipe_text(pair("llama"), steps))


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
    st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True),
)
def test_anchors_spread_evenly(anchors, layers):
    sites = [Site(Component.LANGUAGE, layer, Module.MLP, "x") for layer in layers]
    result = {site.layer: value for site, value in spread(anchors, sites)}
    assert result.keys() == set(layers)
    ordered = [result[layer] for layer in sorted(layers)]
    assert min(anchors) - 1e-12 <= min(ordered)
    assert max(ordered) <= max(anchors) + 1e-12
    assert ordered[0] == anchors[0]
    if len(layers) > 1:
        assert ordered[-1] == pytest.approx(anchors[-1], abs=1e-12)
