"""Our engine against mergekit's, tensor by tensor, and against plain torch."""

from __future__ import annotations

import pytest
import torch

from surgery.methods.table import METHODS, BaseRule, Scope
from tests.execute.merging import merge, recipe_text, tensors
from tests.support.with_mergekit import merge_with_mergekit

WEIGHTED = {"weight": 0.7, "density": 0.6, "gamma": 0.05, "epsilon": 0.2, "scale": 0.9}
SHARED = {"t": 0.4, "r": 0.2, "alpha": 0.3, "max_iter": 5}
# nearswap's t is a threshold on differences, which are about 1 here.
SHARED_FOR = {"nearswap": {"t": 0.01}, "sce": {"select_topk": 0.5}}


def ulps(result: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Distance in units in the last place of the tensors' element type."""
    kinds = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}
    ordered = []
    for tensor in (result, expected):
        bits = tensor.contiguous().view(kinds[tensor.dtype]).long()
        half = 1 << (8 * tensor.element_size() - 1)
        ordered.append(torch.where(bits < 0, -(bits + half), bits))
    return (ordered[0] - ordered[1]).abs()


def assert_close(result, expected, inputs):
    """One unit in the last place, or 1e-6 of the larger input where the two cancel."""
    assert result.keys() == expected.keys()
    for name, tensor in result.items():
        other = expected[name]
        assert tensor.dtype == other.dtype
        if not tensor.is_floating_point():
            assert torch.equal(tensor, other)
            continue
        larger = torch.stack([model[name].double().abs() for model in inputs]).amax(0)
        near = (tensor.double() - other.double()).abs() <= 1e-6 * larger
        assert (near | (ulps(tensor, other) <= 1)).all(), name


def both(models, steps, tmp_path, **rest):
    text = recipe_text(models, steps, **rest)
    merge(text, tmp_path / "ours")
    return tensors(tmp_path / "ours"), merge_with_mergekit(text)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava", "gemma3", "qwen3_moe"])
def test_transplant_is_bit_identical(pair, family, tmp_path):
    models = pair(family)
    actual, reference = both(models, "  - transplant: language[mid]\n    from: rl", tmp_path)
    rl, base = tensors(models["rl"]), tensors(models["in"])
    moved = {name for name in base if torch.equal(actual[name], rl[name])}
    assert moved
    for name, tensor in actual.items():
        source = rl if ".layers.1." in name and "vis" not in name else base
        assert torch.equal(tensor, source[name]), name
        assert torch.equal(tensor, reference[name]), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_interpolation(tmp_path, dtype, method):
    from tests.families import save_tiny

    models = {
        name: save_tiny("qwen2_5_vl", tmp_path / name, seed=seed, dtype=dtype)
        for seed, name in enumerate(("in", "rl"))
    }
    steps = f"  - interpolate: '*'\n    from: rl\n    method: {method}\n    t: 0.3"
    actual, reference = both(models, steps, tmp_path)
    assert_close(actual, reference, [tensors(path) for path in models.values()])


def test_interpolation_with_anchors_against_float64(pair, tmp_path):
    models = {name: path for name, path in pair("llama").items() if name != "base"}
    base, rl = (tensors(models[name]) for name in ("in", "rl"))
    steps = "  - interpolate: language[:]\n    from: rl\n    method: linear\n    t: [0.0, 0.5, 1.0]"
    plan, _ = merge(recipe_text(models, steps), tmp_path / "out")
    result = tensors(tmp_path / "out")
    count = plan.architecture.layers[plan.ops[-1].site.component.LANGUAGE]
    for op in plan.ops:
        t = 0.0 if op.site.layer is None else op.site.layer / (count - 1)
        exact = (1 - t) * base[op.name].double() + t * rl[op.name].double()
        expected = {op.name: exact.to(result[op.name].dtype)}
        assert_close({op.name: result[op.name]}, expected, [base, rl])


@pytest.mark.parametrize("minus", ["base", "in"])
def test_add(pair, tmp_path, minus):
    models = pair("qwen2_5_vl")
    steps = f"  - add: language[:].mlp\n    plus: rl\n    minus: {minus}\n    weight: 0.5"
    actual, reference = both(models, steps, tmp_path)
    assert_close(actual, reference, [tensors(path) for path in models.values()])


def merge_step(name: str) -> str:
    """A step that uses every parameter a method has."""
    method = METHODS[name]
    count = method.beside_base or method.max_inputs or 3
    models = ["in", "rl", "base"][:count]
    per_model = {p.name: WEIGHTED[p.name] for p in method.parameters if p.scope is not Scope.SHARED}
    shared = SHARED | SHARED_FOR.get(name, {})
    values = {p.name: shared[p.name] for p in method.parameters if p.name in shared}
    lines = [f"  - merge: language[:].mlp\n    method: {name}\n    seed: 7\n    models:"]
    for model in models:
        local = {
            k: v
            for k, v in per_model.items()
            if not (method.base is BaseRule.REQUIRED and model == "in")
        }
        lines.append(f"      {model}: {{{', '.join(f'{k}: {v}' for k, v in local.items())}}}")
    if values:
        lines.append(f"    parameters: {{{', '.join(f'{k}: {v}' for k, v in values.items())}}}")
    return "\n".join(lines)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_mergekit_method(pair, tmp_path, name):
    models = pair("qwen2")
    actual, reference = both(models, merge_step(name), tmp_path)
    assert_close(actual, reference, [tensors(path) for path in models.values()])
    base = tensors(models["in"])
    touched = [key for key in base if ".mlp." in key]
    assert touched
    assert any(not torch.equal(actual[key], base[key]) for key in touched)
    assert all(torch.equal(actual[key], base[key]) for key in base if key not in touched)


def test_random_methods_do_not_depend_on_the_rest(pair, tmp_path):
    models = pair("qwen2")
    narrow = merge_step("dare_ties").replace("language[:].mlp", "language[1].mlp")
    merge(recipe_text(models, merge_step("dare_ties")), tmp_path / "wide")
    merge(recipe_text(models, narrow), tmp_path / "narrow", workers=1)
    wide, item = tensors(tmp_path / "wide"), tensors(tmp_path / "narrow")
    same = [name for name in item if ".layers.1.mlp." in name]
    assert same
    assert all(torch.equal(wide[name], item[name]) for name in same)
