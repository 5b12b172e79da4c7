"""mergekit's YAML out and in, with mergekit itself as the judge."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
import torch
import yaml
from safetensors.torch import load_file

from surgery.arch import resolve
from surgery.errors import RecipeError
from surgery.methods.operations import Linear, MergekitMethod, Slerp, TaskArithmetic
from surgery.plan import make_plan
from surgery.recipe import Interpolate, Transplant, load_recipe, parse_recipe
from surgery.recipe.dump import to_yaml
from surgery.recipe.mergekit import from_mergekit, to_mergekit
from surgery.recipe.mergekit.filters import as_setting, pick
from surgery.recipe.mergekit.tables import parts_of
from tests.families import save_tiny, spell_v4
from tests.recipe.models import architecture, config, info

if TYPE_CHECKING:
    from pathlib import Path

    from surgery.recipe import Recipe

SMALL = architecture("specimen")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Three checkpoints in the published spelling."""
    torch.set_num_threads(1)
    result = {}
    for seed, name in enumerate(("in", "rl", "x")):
        folder = tmp_path_factory.mktemp(name)
        save_tiny(
            "qwen2_5_vl",
            folder / "v5",
            seed=seed,
            dtype=torch.float32,
            text_config={"num_hidden_layers": 6},
            vision_config={"depth": 3},
        )
        result[name] = spell_v4("qwen2_5_vl", folder / "v5", folder / "v4")
    return result


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    result: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        result.update(load_file(file))
    return result


def run(text: str, out: Path) -> dict[str, torch.Tensor]:
    """Return the output of `mergekit-yaml` for a configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mergekit.config import MergeConfiguration
        from mergekit.merge import run_merge
        from mergekit.options import MergeOptions

        options = MergeOptions(
            copy_tokenizer=False, quiet=True, write_model_card=False, random_seed=0
        )
        run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), str(out), options)
    return tensors(out)


def slerp(t: float, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Shoemake 1985, on the whole tensor."""
    a, b = a.double(), b.double()
    dot = torch.clamp((a.flatten() / a.norm()) @ (b.flatten() / b.norm()), -1, 1)
    if dot.abs() > 0.9995:
        return (1 - t) * a + t * b
    angle = torch.acos(dot)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def expected(recipe: Recipe, models: dict[str, Path], config_: dict) -> dict[str, torch.Tensor]:
    """The recipe's meaning, in plain torch, float64."""
    loaded = {name: tensors(path) for name, path in models.items()}
    base = loaded[recipe.base]
    arch = resolve(config_, base)
    names = arch.names()
    result = {name: tensor.double() for name, tensor in base.items()}
    for step in recipe.steps:
        layers = step.selector.layers(arch, recipe.cuts)
        for site in step.selector.match(arch, recipe.cuts):
            name = names[site]

            def value_at(anchors, site=site, layers=layers):
                if len(anchors) == 1:
                    return anchors[0]
                stack = layers[site.component]
                x = stack.index(site.layer) / (len(stack) - 1) * (len(anchors) - 1)
                i = min(int(x), len(anchors) - 2)
                return anchors[i] + (x - i) * (anchors[i + 1] - anchors[i])

            local = base[name].double()
            if isinstance(step, Transplant):
                result[name] = loaded[step.source][name].double()
            elif isinstance(step, Interpolate):
                other, t = loaded[step.source][name], value_at(step.t)
                line = (1 - t) * local + t * other.double()
                result[name] = slerp(t, local, other) if step.method == "slerp" else line
            else:
                delta = loaded[step.plus][name].double() - loaded[step.minus][name].double()
                result[name] = local + value_at(step.weight) * delta
    return result


def recipe_for(models: dict[str, Path], steps: str, base: str = "in", more: str = "") -> Recipe:
    names = "".join(f"  {name}: {path}\n" for name, path in models.items())
    return parse_recipe(f"models:\n{names}base: {base}\nsteps:\n{steps}\n{more}")


def configuration(models: dict[str, Path]) -> dict:
    import json

    return json.loads((models["in"] / "config.json").read_text())


def arch_of(models: dict[str, Path]):
    return resolve(configuration(models), tensors(models["in"]))


CASES = {
    "early": ('  - {transplant: "language[early]", from: rl}', "passthrough"),
    "mid": ('  - {transplant: "language[mid]", from: rl}', "passthrough"),
    "late": ('  - {transplant: "language[late]", from: rl}', "passthrough"),
    "first and last": ('  - {transplant: "language[0, -1]", from: rl}', "passthrough"),
    "all parts": (
        '  - {transplant: "vision, projector, language[2:4]", from: rl}\n'
        '  - {transplant: "language[4], embedding", from: x}',
        "passthrough",
    ),
    "head alone": ("  - {transplant: head, from: rl}", "linear"),
    "attention": ('  - {transplant: "language[:].attention", from: rl}', "linear"),
    "odd leaves": (
        '  - {transplant: "language[1, 3:5].*_proj.bias, vision[1].norm", from: rl}',
        "linear",
    ),
    "linear": ('  - {interpolate: "language[mid, late]", from: rl, t: 0.3}', "linear"),
    "linear ramp": ('  - {interpolate: "language[1:].mlp", from: rl, t: [0, 0.7, 1]}', "linear"),
    "slerp": ("  - {interpolate: '*', from: rl, method: slerp, t: 0.3}", "slerp"),
    "slerp ramp": (
        '  - {interpolate: "language[1:]", from: rl, method: slerp, t: [0, 0.7, 1]}\n'
        "  - {transplant: vision, from: rl}",
        "slerp",
    ),
    "add": ('  - {add: "language[:].attention", plus: rl, minus: in, weight: 0.5}', "linear"),
    "add across": (
        '  - {add: "language[2:]", plus: rl, minus: x, weight: [0.5, 2]}\n'
        "  - {interpolate: head, from: x, t: 0.25}",
        "linear",
    ),
    "sums and copies": (
        '  - {merge: "language[0:3]", method: linear, models: {in: {weight: 1}, rl: {weight: 3}}}\n'
        '  - {transplant: "language[3:].mlp", from: x}',
        "linear",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_mergekit_makes_what_the_recipe_says(case, models, tmp_path) -> None:
    steps, method = CASES[case]
    recipe = recipe_for(models, steps)
    text = to_mergekit(recipe, arch_of(models))
    assert yaml.safe_load(text)["merge_method"] == method
    result = run(text, tmp_path / "out")
    if "method: linear" in steps:
        steps = steps.replace("merge:", "interpolate:").replace(
            "method: linear, models: {in: {weight: 1}, rl: {weight: 3}}", "from: rl, t: 0.75"
        )
    target = expected(recipe_for(models, steps), models, configuration(models))
    assert result.keys() == target.keys()
    sources = {name: tensors(path) for name, path in models.items()}
    for name, tensor in result.items():
        if any(torch.equal(target[name], source[name].double()) for source in sources.values()):
            assert torch.equal(tensor.double(), target[name]), name
        else:
            torch.testing.assert_close(tensor.double(), target[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_there_and_back_is_the_same_plan(case, models) -> None:
    recipe = recipe_for(models, CASES[case][0])
    arch = arch_of(models)
    again = from_mergekit(to_mergekit(recipe, arch), architecture=arch)
    assert meaning(again, models) == meaning(recipe, models)
    assert parse_recipe(to_yaml(again)) == again


def meaning(recipe: Recipe, models: dict[str, Path]) -> dict:
    """Return the planner's result, with models by reference and rounded numbers."""
    infos = {name: info("specimen", str(ref)) for name, ref in recipe.models.items()}
    local = tensors(models["in"])
    from dataclasses import replace

    from surgery.checkpoint.dtype import DType
    from surgery.checkpoint.source import TensorHeader

    headers = {
        name: TensorHeader(name, DType.F32, tuple(t.shape), "model.safetensors", 0)
        for name, t in local.items()
    }
    infos = {
        name: replace(i, config=configuration(models), tensors=headers) for name, i in infos.items()
    }
    result = {}
    for op in make_plan(recipe, infos).ops:
        weights: dict[str, float] = {}
        refs = [str(recipe.models[ref.model]) for ref in op.inputs]
        match op.operation:
            case Slerp(t):
                result[op.name] = ("slerp", *refs, round(t, 9))
                continue
            case MergekitMethod("linear", shared=shared, per_input=per_input):
                raw = [value["weight"] for value in per_input]
                total = sum(raw) if shared.get("normalize", True) else 1
                pairs = zip(refs, [w / total for w in raw], strict=True)
            case Linear(t):
                pairs = zip(refs, [1 - t, t], strict=True)
            case TaskArithmetic(weight):
                pairs = zip(refs, [1, weight, -weight], strict=True)
            case _:
                assert not isinstance(op.operation, MergekitMethod)
                pairs = zip(refs, [1.0], strict=True)
        for ref, weight in pairs:
            weights[ref] = round(weights.get(ref, 0) + weight, 9)
        result[op.name] = {ref: w for ref, w in weights.items() if w}
    return result


@pytest.mark.parametrize(
    ("method", "selector"),
    [
        ("ties", "language[1:4].mlp"),
        ("task_arithmetic", "language, vision"),
        ("della_linear", "language[mid]"),
        ("sce", "*"),
        ("karcher", "*"),
        ("model_stock", "*"),
        ("ram", "*"),
        ("multislerp", "*"),
        ("nuslerp", "*"),
        ("arcee_fusion", "*"),
        ("nearswap", "*"),
    ],
)
def test_other_methods_reach_mergekit(method, selector, models, tmp_path) -> None:
    takes = {
        "arcee_fusion": "models: [rl]",
        "nearswap": "models: [rl], parameters: {t: 0.02}",
        "nuslerp": "models: {in: {weight: 0.3}, rl: {weight: 0.7}}",
        "multislerp": "models: {in: {weight: 0.3}, rl: {weight: 0.7}, x: {weight: 1}}",
        "karcher": "models: [in, rl, x]",
        "model_stock": "models: [rl, x]",
        "sce": "models: [rl, x]",
        "ram": "models: [rl, x]",
    }.get(method, "models: {rl: {weight: 0.4}, x: {weight: 0.7}}")
    recipe = recipe_for(models, f'  - {{merge: "{selector}", method: {method}, {takes}}}')
    arch = arch_of(models)
    text = to_mergekit(recipe, arch)
    result = run(text, tmp_path / "out")
    sites = set(recipe.steps[0].selector.match(arch))
    loaded = {name: tensors(path) for name, path in models.items()}
    step = recipe.steps[0]
    actual = compute_all(recipe, models, tmp_path)
    for name, tensor in result.items():
        if arch.sites[name] not in sites:
            assert torch.equal(tensor, loaded["in"][name]), name
        elif method != "della_linear":  # draws, in another order
            torch.testing.assert_close(tensor, actual[name], rtol=1e-5, atol=1e-6)
    again = from_mergekit(text, architecture=arch)
    assert [type(s) for s in again.steps] == [type(step)]
    assert set(again.steps[0].selector.match(arch)) == sites
    assert again.steps[0].method == method
    assert [dict(p) for p in again.steps[0].models.values()] == [
        dict(p) for n, p in step.models.items() if n != step.base
    ]


def compute_all(recipe: Recipe, models: dict[str, Path], tmp_path: Path) -> dict:
    """The recipe carried out by our own engine."""
    from tests.execute.merging import merge

    merge(to_yaml(recipe), tmp_path / "ours")
    return tensors(tmp_path / "ours")


# --- refusals and details -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (
            '  - {merge: "language[0]", method: ties, models: {rl: {weight: 1}}}\n'
            '  - {interpolate: "language[1]", from: rl, method: slerp, t: 0.5}',
            "a mergekit file has one method for all tensors; this recipe has ties and slerp",
        ),
        (
            '  - {interpolate: "language[1]", from: rl, method: slerp, t: 0.5}\n'
            '  - {interpolate: "language[2]", from: rl, method: linear, t: 0.5}',
            "this recipe has slerp and sums of models",
        ),
        (
            '  - {interpolate: "language[1]", from: rl, method: slerp, t: 0.5}\n'
            '  - {transplant: "language[2]", from: x}',
            "mergekit's slerp interpolates between two models, this recipe from 'in' to 'rl', 'x'",
        ),
        (
            '  - {merge: "language", method: ties, base: x, models: {rl: {weight: 1}}}',
            "comes from 'in', but in a mergekit file with ties other tensors come from the base "
            "of the merge, 'x'",
        ),
        (
            '  - {merge: "language", method: model_stock, models: [rl, x]}',
            "model_stock has no weight that would leave",
        ),
        (
            '  - {merge: "*", method: karcher, models: [rl, x]}',
            "mergekit adds its base_model to the models that karcher merges",
        ),
        (
            '  - {merge: "language[0]", method: ties, base: x, models: {rl: {weight: 1}}}\n'
            '  - {merge: "language[1]", method: ties, base: in, models: {rl: {weight: 1}}}',
            "start from different bases (in, x)",
        ),
        (
            "  - {transplant: vision, from: rl}\n  - {transplant: 'vision[0]', from: x}",
            "steps 1 and 2 both write vision",
        ),
    ],
)
def test_what_mergekit_cannot_say(steps, says) -> None:
    recipe = parse_recipe(f"models: {{in: a/in, rl: a/rl, x: a/x}}\nbase: in\nsteps:\n{steps}")
    with pytest.raises(RecipeError) as error:
        to_mergekit(recipe, SMALL)
    assert says in str(error.value), str(error.value)


def test_unbound_models_and_unknown_families() -> None:
    with pytest.raises(RecipeError, match="has no checkpoint yet; bind it: --model in=REF"):
        to_mergekit(load_recipe("splices/in-rl-in"), SMALL)
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(2)]
    other = resolve({"model_type": "llava"}, [f"language_model.{name}" for name in names])
    with pytest.raises(RecipeError, match="no table of llava models"):
        to_mergekit(load_recipe("specimen/in-rl-in"), other)


def test_a_tensor_that_mergekit_would_drop() -> None:
    names = [*architecture_names(), "visual.patch_embed.proj.bias"]
    with pytest.raises(RecipeError, match=r"would drop 1 tensors .* visual.patch_embed.proj.bias"):
        parts_of(resolve(config("specimen"), names))


def architecture_names() -> list[str]:
    return list(SMALL.sites)


def test_every_bundled_recipe_goes_out_or_says_why() -> None:
    output = {}
    for name in ("in-rl-in", "rl-in-rl", "sweeps/slerp-ramp", "sweeps/linear-0.4", "mlp-only",
                 "transfer-to-pretrained", "ties", "dare"):  # fmt: skip
        recipe = load_recipe(f"specimen/{name}")
        try:
            output[name] = yaml.safe_load(to_mergekit(recipe, SMALL))["merge_method"]
        except RecipeError as error:
            output[name] = str(error)
    assert output["in-rl-in"] == output["rl-in-rl"] == "passthrough"
    assert output["sweeps/slerp-ramp"] == "slerp"
    assert (
        output["sweeps/linear-0.4"]
        == output["mlp-only"]
        == output["transfer-to-pretrained"]
        == "linear"
    )
    assert "the base of the merge, 'pretrained'" in output["ties"]


def test_output_settings() -> None:
    recipe = parse_recipe(
        "name: n\nmodels: {in: a/in, rl: {base: a/b, adapter: a/c}}\nbase: in\n"
        "steps: [{interpolate: vision, from: rl, t: 0.5}]\n"
        "output: {dtype: bfloat16, max_shard_size: 1GB}"
    )
    text = to_mergekit(recipe, SMALL)
    assert "# Run: mergekit-yaml THIS_FILE OUT --out-shard-size 1000000000" in text
    result = yaml.safe_load(text)
    assert (result["dtype"], result["out_dtype"]) == ("float32", "bfloat16")
    assert result["models"][1]["model"] == "a/b+a/c"
    again = from_mergekit(text, architecture=SMALL)
    assert again.output.dtype == recipe.output.dtype
    assert list(again.models.values()) == list(recipe.models.values())


def test_filters() -> None:
    names = [t.name for part in parts_of(SMALL) for t in part.tensors()]
    ones = {name: float("layers.1." in name) for name in names}
    assert as_setting(ones) == [{"filter": "model.layers.1.", "value": 1.0}, {"value": 0.0}]
    values = {n: float("q_proj" in n) + 2 * ("layers.3" in n) for n in names}
    setting = as_setting(values)
    assert {n: pick(setting, n) for n in names} == values
    assert len(setting) < 25
    assert as_setting(dict.fromkeys(names, 0.5)) == 0.5
    with pytest.raises(RecipeError, match="cannot separate"):
        as_setting({"a.b": 1.0, "x.a.b": 2.0, "x.a.b.c": 3.0, "a.b.c": 4.0, "b": 5.0, "a": 6.0})


# --- from the field -----------------------------------------------------------------------------

CLASSIC = """\
slices:
  - sources:
      - {model: a/x, layer_range: [0, 32]}
      - {model: b/y, layer_range: [0, 32]}
merge_method: slerp
base_model: a/x
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
    - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
    - value: 0.5
dtype: bfloat16
"""


def test_the_classic_slerp() -> None:
    recipe = from_mergekit(CLASSIC)
    assert [(str(s.selector), s.method, s.t) for s in recipe.steps] == [
        (
            "*, !language[:].mlp.down_proj, !language[:].mlp.gate_proj, !language[:].mlp.up_proj, "
            "!language[:].attention",
            "slerp",
            (0.5,),
        ),
        # GLM-4 has a norm with mlp in its name; these leaves make a GLM-4 refuse the recipe.
        (
            "language[:].mlp.down_proj, language[:].mlp.gate_proj, language[:].mlp.up_proj",
            "slerp",
            (1.0, 0.5, 0.7, 0.3, 0.0),
        ),
        ("language[:].attention", "slerp", (0.0, 0.5, 0.3, 0.7, 1.0)),
    ]
    assert recipe.models == {"x": "a/x", "y": "b/y"}
    assert recipe.output.dtype.torch_name == "bfloat16"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (
            "models: [{model: a/x}, {model: b/y, parameters: {weight: 0.3, density: 0.5}}]\n"
            "merge_method: ties\nbase_model: a/x\nparameters: {normalize: false}",
            [
                {
                    "merge": "*",
                    "method": "ties",
                    "base": "x",
                    "models": {"y": {"density": 0.5, "weight": 0.3}},
                    "parameters": {"normalize": False},
                    "seed": 0,
                }
            ],
        ),
        (
            "models: [{model: a/x, parameters: {weight: 1}}, {model: b/y, parameters: {weight: 3}}]"
            "\nmerge_method: linear",
            [
                {
                    "merge": "*",
                    "method": "linear",
                    "models": {"x": {"weight": 1.0}, "y": {"weight": 3.0}},
                    "seed": 0,
                }
            ],
        ),
        (
            "models: [{model: a/x, parameters: {weight: 0.25}}, {model: b/y, parameters: {weight: "
            "0.75}}]\nmerge_method: linear\nbase_model: a/x",
            [{"interpolate": "*", "from": "y", "method": "linear", "t": 0.75}],
        ),
        (
            "modules: {text_decoder: {slices: [{sources: [{model: a/x, layer_range: [0, 9]}]}, "
            "{sources: [{model: b/y, layer_range: [9, 18]}]}, "
            "{sources: [{model: a/x, layer_range: [18, 28]}]}]}}\n"
            "merge_method: passthrough\nbase_model: a/x",
            [{"transplant": "language[9:18]", "from": "y"}],
        ),
        (
            "modules: {text_decoder: {slices: [{sources: [{model: b/y, layer_range: [0, 9]}]}, "
            "{sources: [{model: a/x, layer_range: [9, 28]}]}]}}\n"
            "merge_method: passthrough\nbase_model: a/x",
            [{"transplant": "embedding, language[0:9]", "from": "y"}],
        ),
        (
            "models: [{model: a/x}]\nmerge_method: passthrough",
            [],
        ),
        (
            "models: [{model: a/x}, {model: b/y}]\nmerge_method: slerp\nbase_model: a/x\n"
            "parameters: {t: [{filter: model.layers.3., value: 0.2}, {value: 0}]}",
            [{"interpolate": "language[3]", "from": "y", "method": "slerp", "t": 0.2}],
        ),
    ],
)
def test_from_the_field(text, steps) -> None:
    from surgery.recipe.dump import to_mapping

    assert to_mapping(from_mergekit(text))["steps"] == steps


def test_a_module_that_is_left_out_is_told() -> None:
    recipe = from_mergekit(
        "modules: {text_decoder: {models: [{model: a/x}]}}\nmerge_method: passthrough"
    )
    assert "omits multi_modal_projector and vision_tower" in recipe.description


@pytest.mark.parametrize(
    ("old", "new", "place", "says"),
    [
        ("merge_method: slerp", "merge_method: slrp", "5:15", "Did you mean 'slerp'?"),
        ("base_model", "base_modl", "6:1", "Did you mean 'base_model'?"),
        ("base_model: a/x\n", "", "2:5", "slerp needs a base_model among its models"),
        ("  t:", "  tt:", "2:5", "slerp has no parameter 'tt'"),
        ("dtype: bfloat16", "dtype: int64", "12:8", "is not one a model can be stored in"),
        ("dtype: bfloat16", "tokenizer_source: union", "12:19", "recipes keep the base's token"),
        ("dtype: bfloat16", "chat_template: auto", "12:16", "recipes keep the base's; they"),
        ("dtype: bfloat16", "models: [{model: a}]", "1:1", "expected one of models, slices and"),
        (
            "dtype: bfloat16",
            "gate_mode: hidden",
            "12:1",
            "for mergekit-moe, which builds a mixture",
        ),
        ("dtype: bfloat16", "genome: {models: [a]}", "12:1", "for mergekit-evolve, which searches"),
        ("dtype: bfloat16", "---\nname: two", "13:1", "holds 2 documents (without a name, 'two')"),
        ("filter: self_attn", "filter: q_norm", "9:16", "the filter 'q_norm' cannot be resolved"),
        (
            "{model: a/x, layer_range: [0, 32]}",
            "{model: a/x, layer_range: [8, 40]}",
            "3:9",
            "layers 8-39 of a/x would become layers 0-31",
        ),
        (
            "{model: b/y, layer_range: [0, 32]}",
            "{model: b/y, layer_range: [0, 31]}",
            "2:5",
            "the sources of a slice have different lengths",
        ),
        ("{model: b/y,", "{model: a/x,", "4:9", "a/x is named twice in one slice"),
        ("layer_range: [0, 32]", "layer_range: [0]", "3:35", "expected two layers such as [0, 8]"),
        ("filter: mlp, ", "filtr: mlp, ", "10:8", "Did you mean 'filter'?"),
        ("- value: 0.5", "- value: x", "11:14", "t: expected a number, true or false"),
        ("    - value: 0.5\n", "", "2:5", "slerp needs 't'"),
    ],
)
def test_refusals_have_places(old, new, place, says) -> None:
    with pytest.raises(RecipeError) as error:
        from_mergekit(CLASSIC.replace(old, new, 1), "m.yml")
    assert str(error.value).startswith(f"m.yml:{place}: "), str(error.value)
    assert says in str(error.value), str(error.value)


def test_layers_that_move_or_repeat_are_refused() -> None:
    text = (
        "slices: [{sources: [{model: a/x, layer_range: [0, 16]}]},\n"
        "         {sources: [{model: b/y, layer_range: [8, 24]}]}]\nmerge_method: passthrough"
    )
    with pytest.raises(RecipeError, match="layers 8-23 of b/y would become layers 16-31"):
        from_mergekit(text)
    with pytest.raises(RecipeError, match="the model has 9 layers; a recipe cannot leave layers"):
        from_mergekit(
            "modules: {text_decoder: {slices: [{sources: [{model: a/x, layer_range: [0, 5]}]}]}}\n"
            "merge_method: passthrough",
            architecture=SMALL,
        )


def test_what_depends_on_an_unknown_size_is_refused() -> None:
    text = (
        "models: [{model: a/x, parameters: {weight: [1, 0.5]}}, {model: b/y, parameters: {weight: "
        "[0.2, 1]}}]\nmerge_method: ties\nbase_model: a/x"
    )
    with pytest.raises(RecipeError, match="depends on the number of layers"):
        from_mergekit(text)
    with pytest.raises(RecipeError, match=r"would write visual\.merger\.mlp\.0\.weight once"):
        from_mergekit(text, architecture=SMALL)
