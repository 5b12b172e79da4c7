"""A sweep's YAML: what it becomes, and where a fault is."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.generation import PAPER_PIXELS, Generation
from eval.prompts import PLAIN, Style
from eval.sweep import load as load_module
from eval.sweep.load import load_sweep
from surgery.errors import RecipeError
from surgery.plan import make_plan
from surgery.recipe import opened

EXAMPLES = Path(load_module.__file__).parent / "examples"
MODELS = """models:
  base: specimen:base
  in: specimen:in
  rl: specimen:rl
base: in
donor: rl
suites: [specimen]
"""


def sweep(folder: Path, text: str, name: str = "my-sweep.yaml"):
    path = folder / name
    path.write_text(text)
    return load_sweep(path)


def layers_of(variant) -> str:
    """The model each decoder layer's first tensor comes from, by its first letter."""
    with opened(variant.recipe) as models:
        plan = make_plan(variant.recipe, models)
    result: dict[int, set[str]] = {}
    for op in plan.ops:
        if op.site.component == "language" and op.site.layer is not None:
            names = {ref.model[0] for ref in op.inputs}
            result.setdefault(op.site.layer, set()).update(names)
    return "".join("+".join(sorted(result[layer])) for layer in sorted(result))


def test_plain_models_and_defaults(tmp_path: Path) -> None:
    result = sweep(tmp_path, MODELS)
    assert result.name == "my-sweep"
    assert [variant.name for variant in result.variants] == ["base", "in", "rl"]
    assert (result.base, result.donor, result.against) == ("in", "rl", "in")
    assert (result.samples, result.seed, result.style, result.grader) == (
        None,
        123,
        PLAIN,
        "strict",
    )
    assert result.generation == Generation(max_pixels=PAPER_PIXELS)


def test_what_is_outside_the_layers_stays_the_bases(tmp_path: Path) -> None:
    """Unlike the reference implementation's, whose splices take it from the early third's model."""
    result = sweep(tmp_path, MODELS + "variants: {plain: [], thirds: true}\n")
    for variant in result.variants:
        with opened(variant.recipe) as models:
            plan = make_plan(variant.recipe, models)
        outside = [op for op in plan.ops if (op.site.component, op.site.layer) == ("vision", 0)
                   or op.site.component in ("embedding", "norm", "head", "projector")]  # fmt: skip
        assert {ref.model for op in outside for ref in op.inputs} == {"in"}


def test_thirds_are_the_papers_six(tmp_path: Path) -> None:
    result = sweep(tmp_path, MODELS + "variants: {plain: [], thirds: true}\n")
    output = {variant.name: layers_of(variant) for variant in result.variants}
    assert output == {
        "in-rl-rl": "iiirrrrrr", "rl-in-in": "rrriiiiii", "in-in-rl": "iiiiiirrr",
        "rl-rl-in": "rrrrrriii", "in-rl-in": "iiirrriii", "rl-in-rl": "rrriiirrr",
    }  # fmt: skip


def test_layers_one_at_a_time(tmp_path: Path) -> None:
    result = sweep(tmp_path, MODELS + "variants: {plain: [in], layers: [language, vision]}\n")
    names = [variant.name for variant in result.variants]
    assert names == ["in", *(f"rl@language.{i}" for i in range(9)),
                     *(f"rl@vision.{i}" for i in range(4))]  # fmt: skip
    assert layers_of(result.variants[4]) == "iiiriiiii"
    assert result.variants[4].traits == {"component": "language", "layer": 3}


def test_grid(tmp_path: Path) -> None:
    text = MODELS + (
        "variants:\n  plain: []\n  grid:\n    regions: [early, '3:5']\n    modules: [all, mlp]\n"
        "    methods: [transplant, linear]\n    t: [0.25, 0.5]\n"
    )
    result = sweep(tmp_path, text)
    names = [variant.name for variant in result.variants]
    assert len(names) == 2 * 2 * 3
    assert names[:3] == ["rl@early.all", "rl@early.all.linear.0.25", "rl@early.all.linear.0.5"]
    assert layers_of(result.variants[6]) == "iiirriiii"
    assert result.variants[4].traits["t"] == 0.25


def test_recipes_bundled_and_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nmodels: {in: , rl: }\nbase: in\nsteps:\n"
        "  - transplant: language[0]\n    from: rl\n"
    )
    text = MODELS + "variants: {plain: [in], recipes: [mine.yaml, specimen/in-rl-in]}\n"
    result = sweep(tmp_path, text)
    assert [variant.name for variant in result.variants][1:] == ["mine", "specimen/in-rl-in"]
    assert layers_of(result.variants[1]) == "riiiiiiii"


def test_paths_are_the_sweeps_own(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text("name: s\nrows: r.jsonl\n")
    text = MODELS.replace("[specimen]", "[specimen, suite.yaml]") + (
        "data: {mathvista: copy}\ndescriptions: d.jsonl\n"
    )
    result = sweep(tmp_path, text)
    assert result.suites == ("specimen", str(tmp_path / "suite.yaml"))
    assert result.data == {"mathvista": str(tmp_path / "copy")}
    assert result.descriptions == tmp_path / "d.jsonl"


def test_styles_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "terse.yaml").write_text("system: Be terse.\n")
    named = sweep(tmp_path, MODELS + "style: paper-revisual\n")
    assert named.style.name == "paper-revisual"
    assert sweep(tmp_path, MODELS + "style: terse.yaml\n").style == Style(
        "terse", "Be terse.", "any"
    )
    assert sweep(tmp_path, MODELS + "style: {prefix: 'Q: ', form: boxed}\n").style == Style(
        "custom", "", "boxed", "Q: "
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MODELS + "smaples: 3\n",
         r"8:1: unknown key 'smaples' in the sweep. Did you mean 'samples'"),
        (MODELS + "samples: 0\n", r"8:10: samples: expected 1 or more, found 0"),
        (MODELS + "samples: many\n", r"8:10: samples: expected a whole number, found 'many'"),
        (MODELS + "generation: {temprature: 1}\n",
         r"8:14: unknown key 'temprature' in generation. Did you mean 'temperature'"),
        (MODELS + "generation: {top_p: 2}\n", r"8:21: top_p: expected 1.* or less, found 2"),
        (MODELS + "style: think\n", r"8:8: style: there is no 'think'. Did you mean 'think-boxed'"),
        (MODELS + "style: {sytem: a}\n",
         r"8:9: unknown key 'sytem' in the style. Did you mean 'system'"),
        (MODELS + "style: {system: [a]}\n", r"8:17: system: expected text, found a list"),
        (MODELS + "style: [plain]\n", r"8:8: style: expected a name, a YAML .* found a list"),
        (MODELS + "style:\n", r"8:1?\d?: ?.*style: expected a name, a YAML .* found nothing"),
        (MODELS + "style: absent.yaml\n", r"cannot read .*absent\.yaml"),
        (MODELS + "grader: papers\n", r"8:9: grader: there is no 'papers'. Did you mean 'paper'"),
        (MODELS.replace("base: in", "base: inn"),
         r"5:7: base: there is no 'inn'. Did you mean 'in'"),
        (MODELS + "against: xx\n", r"8:10: against: there is no 'xx'"),
        (MODELS.replace("base: in\n", "") + "variants: {thirds: true}\n",
         r"7:20: thirds moves layers between two models; the sweep needs 'base'"),
        (MODELS + "variants: {plain: [inn]}\n",
         r"8:20: plain: there is no 'inn'. Did you mean 'in'"),
        (MODELS + "variants: {grid: {regions: [middle]}}\n",
         r"8:29: regions: 'middle' picks nothing. Did you mean 'mid'"),
        (MODELS + "variants: {grid: {modules: [mpl]}}\n",
         r"8:29: modules: 'mpl' picks nothing. Did you mean 'mlp'"),
        (MODELS + "variants: {grid: {methods: [lerp]}}\n", r"8:29: methods: unknown value 'lerp'"),
        (MODELS + "variants: {grid: {t: [1.5]}}\n", r"8:23: t: expected 1.* or less, found 1.5"),
        (MODELS + "variants: {layers: [languages]}\n", r"8:21: layers: unknown value 'languages'"),
        (MODELS + "variants: {recipes: [absent.yaml]}\n", r"8:22: there is no file 'absent.yaml'"),
        (MODELS + "variants: {recipes: [specimen/in-rl-in, specimen/in-rl-in]}\n",
         r"two variants are called 'specimen/in-rl-in'"),
        ("suites: [specimen]\n", r"1:1: the sweep needs 'models'"),
        (MODELS.replace("  rl: specimen:rl\n", "  rl:\n"), r"model 'rl' needs a folder"),
        ("models: [\n", r"my-sweep.yaml:2:1"),
    ],
)  # fmt: skip
def test_faults_have_a_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        sweep(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.yaml"):
        load_sweep(tmp_path / "absent.yaml")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_load(path: Path) -> None:
    sweep = load_sweep(path)
    counts = {
        "specimen-layers": 11,
        "specimen-thirds": 11,
        "specimen-grid": 26,
        "openmmreasoner": 9,
    }
    assert len(sweep.variants) == counts[path.stem]
    assert (sweep.base, sweep.donor, sweep.against) == ("in", "rl", "in")
