"""A variant in a loaded model equals the variant on disk, and leaves no trace."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from surgery.arch import Component
from surgery.errors import ExecutionError, PlanError
from surgery.execute.fingerprint import fingerprint
from surgery.execute.tensor import compute
from surgery.live import Resident, transplanted
from surgery.recipe import opened
from tests.execute.merging import merge, plan_of, recipe_text
from tests.execute.test_run import MIXED

VLM = ["qwen2_5_vl", "qwen3_vl", "llava", "internvl", "gemma3", "mistral3", "idefics3", "glm4v"]


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(result, expected):
    assert result.keys() == expected.keys()
    for name, tensor in result.items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", VLM)
def test_live_equals_merged(pair, tmp_path, family, dtype):
    text = recipe_text(pair(family), MIXED)
    plan, _ = merge(text, tmp_path / "out")
    load = AutoModelForImageTextToText.from_pretrained
    model = load(pair(family)["in"], dtype=dtype)
    before = state(model)
    with transplanted(model, plan) as changed:
        assert changed is model
        assert_same(state(model), load(tmp_path / "out", dtype=dtype).state_dict())
    assert_same(state(model), before)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl_moe"])
@pytest.mark.parametrize("limit", [0, 20_000, 10**9])
def test_resident_tensors_change_nothing_but_the_time(pair, tmp_path, family, limit):
    """With any cache, the variant equals the merged model, and the base is restored."""
    text = recipe_text(pair(family), "  - transplant: language[mid], vision[0]\n    from: rl")
    plan, _ = merge(text, tmp_path / "out")
    load = AutoModelForImageTextToText.from_pretrained
    model = load(pair(family)["in"])
    before, parameters = state(model), dict(model.named_parameters())
    places = {name: parameter.data_ptr() for name, parameter in parameters.items()}
    expected = load(tmp_path / "out").state_dict()
    resident = Resident(limit)
    with opened(plan.recipe) as checkpoints:
        digests = fingerprint(plan, checkpoints).digests
        for _ in range(2):
            with transplanted(model, plan, checkpoints, digests, resident):
                assert_same(state(model), expected)
                inside = dict(model.named_parameters())
                assert all(inside[name] is item for name, item in parameters.items())
            assert_same(state(model), before)
            assert {name: item.data_ptr() for name, item in parameters.items()} == places
    assert resident._size <= limit


def test_resident_tensors_are_read_once(pair, tmp_path, monkeypatch):
    text = recipe_text(pair("qwen2_5_vl"), "  - transplant: language[mid]\n    from: rl")
    plan = plan_of(text)
    model = AutoModelForImageTextToText.from_pretrained(pair("qwen2_5_vl")["in"])
    read = []

    def counted(op, checkpoints):
        read.append(op.name)
        return compute(op, checkpoints)

    monkeypatch.setattr("surgery.live.compute", counted)
    resident = Resident(10**9)
    with opened(plan.recipe) as checkpoints:
        digests = fingerprint(plan, checkpoints).digests
        for _ in range(3):
            with transplanted(model, plan, checkpoints, digests, resident):
                pass
        assert len(read) == len(set(read)) == len(list(plan.changes()))
        wrong = dict.fromkeys(digests, "0" * 64)
        before = state(model)
        refused = pytest.raises(ExecutionError, match="is not what the plan makes")
        with refused, transplanted(model, plan, checkpoints, wrong, resident):
            pass
    assert_same(state(model), before)


@pytest.mark.parametrize(
    "family", ["qwen3_moe", "qwen2_moe", "mixtral", "qwen3_vl_moe", "glm4v_moe"]
)
def test_fused_experts(pair, tmp_path, family):
    steps = "  - transplant: language[mid]\n    from: rl"
    plan, _ = merge(recipe_text(pair(family), steps), tmp_path / "out")
    vision = plan.architecture.layers.get(Component.VISION)
    load = (AutoModelForImageTextToText if vision else AutoModelForCausalLM).from_pretrained
    model = load(pair(family)["in"])
    before = state(model)
    with transplanted(model, plan):
        inside = state(model)
        assert_same(inside, load(tmp_path / "out").state_dict())
    assert any(not torch.equal(inside[name], before[name]) for name in before if "experts" in name)
    assert_same(state(model), before)


def test_fused_experts_as_published(pair, tmp_path):
    """Qwen3-VL-MoE's own files hold each expert's matrices the other way round."""
    from safetensors.torch import load_file, save_file

    load = AutoModelForImageTextToText.from_pretrained
    models = {}
    for name in ("in", "rl"):
        models[name] = tmp_path / name
        load(pair("qwen3_vl_moe")[name]).save_pretrained(models[name])
        weights = load_file(models[name] / "model.safetensors")
        for key in [key for key in weights if key.endswith("experts.down_proj")]:
            weights[key] = weights[key].transpose(1, 2).contiguous()
        save_file(weights, models[name] / "model.safetensors", metadata={"format": "pt"})
    text = recipe_text(models, "  - transplant: language[mid]\n    from: rl")
    plan, _ = merge(text, tmp_path / "out")
    model = load(models["in"])
    with transplanted(model, plan):
        assert_same(state(model), load(tmp_path / "out").state_dict())


def test_everything_comes_back_after_an_exception(pair):
    plan = plan_of(recipe_text(pair("llama"), "  - transplant: '*'\n    from: rl"))
    model = AutoModelForCausalLM.from_pretrained(pair("llama")["in"])
    before = state(model)
    with pytest.raises(ZeroDivisionError), transplanted(model, plan):
        assert not torch.equal(next(iter(state(model).values())), next(iter(before.values())))
        raise ZeroDivisionError
    assert_same(state(model), before)


def test_tied_weights_stay_tied(pair):
    plan = plan_of(recipe_text(pair("gemma2"), "  - transplant: embedding\n    from: rl"))
    model = AutoModelForCausalLM.from_pretrained(pair("gemma2")["in"])
    with transplanted(model, plan):
        head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
        assert head.weight.data_ptr() == embedding.weight.data_ptr()


def test_another_model_is_refused(pair):
    plan = plan_of(recipe_text(pair("llama"), "  - transplant: language[1]\n    from: rl"))
    other = AutoModelForImageTextToText.from_pretrained(pair("llava")["in"])
    refused = pytest.raises(PlanError, match="loaded LlavaForConditionalGeneration")
    with refused, transplanted(other, plan):
        pass


def test_only_differing_tensors_are_read(pair):
    plan = plan_of(recipe_text(pair("llama"), "  - transplant: language[1].mlp\n    from: rl"))
    model = AutoModelForCausalLM.from_pretrained(pair("llama")["in"])
    read = []

    class Spy:
        def __init__(self, inner):
            self.inner = inner
            self.info = inner.info

        def read_into(self, name, start, buffer):
            read.append(name)
            self.inner.read_into(name, start, buffer)

        def check_unchanged(self):
            self.inner.check_unchanged()

    from surgery.checkpoint.open import open_checkpoint

    with (
        open_checkpoint(str(pair("llama")["rl"])) as rl,
        transplanted(model, plan, {"rl": Spy(rl)}),
    ):
        pass
    assert set(read) == {f"model.layers.1.mlp.{n}_proj.weight" for n in ("up", "gate", "down")}
