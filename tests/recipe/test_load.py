"""Recipe files: what they mean, and what every mistake in them says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from surgery.arch import Component
from surgery.checkpoint.dtype import DType
from surgery.checkpoint.source import AdapterReference
from surgery.errors import Place, RecipeError
from surgery.recipe import (
    Add,
    Interpolate,
    Merge,
    Output,
    Transplant,
    bundled_recipes,
    find_recipe,
    load_recipe,
    parse_recipe,
    parse_selector,
)
from surgery.recipe.dump import to_yaml

if TYPE_CHECKING:
    from pathlib import Path

FULL = """\
name: rl-mid
description: RL's middle third in the IN model
models:
  in: OpenMMReasoner/OpenMMReasoner-ColdStart
  rl: OpenMMReasoner/OpenMMReasoner-RL
base: in                       # every tensor comes from here unless a step says otherwise
regions: {cuts: [8, 20]}       # optional; thirds (n//3, 2n//3) when absent
steps:
  - transplant: language[mid]
    from: rl
  - interpolate: language[late].mlp
    from: rl
    method: slerp              # linear or slerp
    t: [0.2, 0.8]              # one number, or anchors spread over the selected layers
  - add: language[early].attention   # task arithmetic: base + weight * (plus - minus)
    plus: rl
    minus: in
    weight: 0.5
  - merge: vision              # any mergekit method, by its own name and parameters
    method: dare_ties
    models: {in: {weight: 0.5, density: 0.8}, rl: {weight: 0.5, density: 0.8}}
    seed: 0
output: {dtype: bfloat16, max_shard_size: 5GB}
"""
SHORT = "models: {in: a/b, rl: a/c}\nbase: in\nsteps: [{transplant: vision, from: rl}]\n"


def refused(text: str, file: str = "r.yaml", **more) -> RecipeError:
    with pytest.raises(RecipeError) as error:
        parse_recipe(text, file, **more)
    return error.value


def test_the_issues_example() -> None:
    recipe = parse_recipe(FULL)
    assert recipe.name == "rl-mid"
    assert recipe.models == {
        "in": "OpenMMReasoner/OpenMMReasoner-ColdStart",
        "rl": "OpenMMReasoner/OpenMMReasoner-RL",
    }
    assert recipe.base == "in"
    assert recipe.cuts == {Component.LANGUAGE: (8, 20)}
    assert recipe.steps == (
        Transplant(parse_selector("language[mid]"), "rl"),
        Interpolate(parse_selector("language[late].mlp"), "rl", "slerp", (0.2, 0.8)),
        Add(parse_selector("language[early].attention"), "rl", "in", (0.5,)),
        Merge(
            parse_selector("vision"),
            "dare_ties",
            {"in": {}, "rl": {"weight": 0.5, "density": 0.8}},
            base="in",
            seed=0,
        ),
    )
    assert recipe.output == Output(DType.BF16, 5_000_000_000)
    assert recipe.vocabulary == "same"
    assert recipe.unbound == ()
    assert recipe.steps[1].place == Place("<string>", 11, 5)
    assert recipe.steps[1].selector.terms[0].place == Place("<string>", 11, 18)


def test_a_dumped_recipe_reads_back() -> None:
    recipe = parse_recipe(FULL)
    again = parse_recipe(to_yaml(recipe))
    assert again == recipe


@pytest.mark.parametrize(
    ("old", "new", "place", "says"),
    [
        ("language[mid]", "langauge[mid]", "9:17", "'langauge'. Did you mean 'language'?"),
        ("language[mid]", "vision, language[midd]", "9:34", "Did you mean 'mid'?"),
        ("language[mid]", '"vision, langauge"', "9:26", "Did you mean 'language'?"),
        ("language[mid]", "[vision, langauge]", "9:26", "Did you mean 'language'?"),
        ("language[mid]", "3", "9:17", "expected a selector such as 'language[9:18].mlp', found 3"),
        ("language[mid]", "[]", "9:17", "found an empty list"),
        ("language[mid]", "[vision, 3]", "9:26", "found 3"),
        ("from: rl\n    method", "from: rll\n    method", "12:11", "Did you mean 'rl'?"),
        ("    plus: rl", "    plus: r", "16:11", "no model is called 'r'. Did you mean 'rl'?"),
        ("minus: in", "minus: un", "17:12", "no model is called 'un'. Expected one of: in, rl."),
        ("{in: {weight", "{inn: {weight", "21:14", "no model is called 'inn'"),
        ("base: in ", "base: inn ", "6:7", "base: no model is called 'inn'. Did you mean 'in'?"),
        ("steps:", "stpes:", "8:1", "unknown key 'stpes' in the recipe. Did you mean 'steps'?"),
        ("weight: 0.5\n", "weigth: 0.5\n", "18:5", "in an add step. Did you mean 'weight'?"),
        ("seed: 0", "sed: 0", "22:5", "unknown key 'sed' in a merge step. Did you mean 'seed'?"),
        ("dtype:", "dtpye:", "23:10", "unknown key 'dtpye' in output. Did you mean 'dtype'?"),
        ("{cuts:", "{cut:", "7:11", "unknown key 'cut' in regions. Did you mean 'cuts'?"),
        ("    minus: in\n", "", "15:5", "an add step needs 'minus': model from which"),
        ("transplant:", "transplnt:", "9:5", "kind of step 'transplnt'. Did you mean 'transpl"),
        ("    from: rl\n  - int", "    add: vision\n  - int", "10:5", "cannot be 'transplant' and"),
        ("- transplant: language[mid]\n    from: rl", "- vision", "9:5", "a step is a mapping"),
        ("- transplant: language[mid]\n    from: rl", "- {}", "9:5", "a step needs one of trans"),
        ("slerp ", "slrp ", "13:13", "found 'slrp'. Did you mean 'slerp'?"),
        ("slerp ", "ties ", "13:13", "Other methods belong to a 'merge' step."),
        ("[0.2, 0.8]", "[0.2, 1.8]", "14:14", "t goes from 0 (the base) to 1 (the other model)"),
        ("[0.2, 0.8]", "half", "14:8", "t: expected a number or a list of numbers, found 'half'"),
        ("[0.2, 0.8]", "[0.2, x]", "14:14", "expected a number, found 'x'"),
        ("[0.2, 0.8]", "[]", "14:8", "found an empty list"),
        ("[0.2, 0.8]", "true", "14:8", "found true"),
        ("[0.2, 0.8]", ".nan", "14:8", "found '.nan'"),
        ("dare_ties", "dare_tie", "20:13", "unknown method 'dare_tie'. Did you mean 'dare_ties'?"),
        ("density: 0.8", "densty: 0.8", "21:32", "no parameter 'densty'. Did you mean 'density'?"),
        ("density: 0.8", "normalize: true", "21:32", "put it under parameters: {normalize: true}"),
        ("density: 0.8", "density: true", "21:32", "density is a number, found true"),
        ("density: 0.8", "density: [1, 2]", "21:32", "one merge step per range of layers"),
        ("rl: {weight: 0.5, ", "rl: {", "21:47", "dare_ties needs 'weight' for 'rl'"),
        ("seed: 0", "seed: -1", "22:11", "seed: expected 0 or more, found -1"),
        ("seed: 0", "seed: 1.5", "22:11", "seed: expected a whole number, found 1.5"),
        ("seed: 0", "base: x", "22:11", "base: no model is called 'x'"),
        ("bfloat16", "bf16", "23:17", "unknown dtype 'bf16'. Did you mean 'bfloat16'?"),
        ("5GB", "5XB", "23:43", "expected a size such as 5GB or 200MB"),
        ("5GB", "0", "23:43", "expected a size"),
        ("[8, 20]", "[20, 8]", "7:17", "in ascending order and above 0, found [20, 8]"),
        ("[8, 20]", "[8]", "7:17", "expected two layers, the first of mid and the first of late"),
        ("[8, 20]", "{langage: [8, 20]}", "7:18", "unknown component 'langage'. Did you mean"),
        ("[8, 20]", "{language: 8}", "7:18", "expected two layers"),
        ("  in: Open", "  1n: Open", "4:3", "'1n' cannot be a model's name; use letters"),
        ("  in: OpenMMReasoner/OpenMMReasoner-ColdStart", "  in: [a]", "4:7", "expected text"),
        (
            "  in: OpenMMReasoner/OpenMMReasoner-ColdStart",
            "  in: {base: a}",
            "4:7",
            "a model with an adapter needs 'adapter'",
        ),
        ("name: rl-mid", "vocabulary: sam", "1:13", "unknown value 'sam'. Did you mean 'same'?"),
        ("name: rl-mid", "name: 3", "1:7", "name: expected text, found 3"),
        ("name: rl-mid", "base: rl", "6:1", "'base' is given twice; first at line 1"),
        (
            "output: {dtype: bfloat16, max_shard_size: 5GB}",
            "output: 5",
            "23:9",
            "output: expected a",
        ),
    ],
)
def test_every_mistake_has_a_place_and_a_way_out(old: str, new: str, place: str, says: str) -> None:
    assert old in FULL
    error = refused(FULL.replace(old, new, 1))
    assert str(error).startswith(f"r.yaml:{place}: "), str(error)
    assert says in str(error), str(error)
    assert "pydantic" not in str(error)


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("", "1:1", "the file is empty; expected keys"),
        ("# nothing", "1:1", "the file is empty; expected keys"),
        ("- a", "1:1", "expected a mapping"),
        ("a: [", "1:5", "not valid YAML"),
        ("a: 1\n\tb: 2", "2:1", "Indent with spaces, not tabs."),
        ("a: !!python/object:os.system x", "1:4", "is not allowed"),
        ("steps: [{transplant: !vision x}]", "1:22", "put it in quotes"),
        ("steps: [{transplant: *, from: rl}]", "1:23", "need quotes"),
        ("a: *x", "1:4", "refers to an anchor that is not defined"),
        ("a: &x [*x]", "1:8", "contains itself"),
        ("a: 1\n---\nb: 2", "2:1", "a second document starts here"),
        ("? [a]\n: b", "1:3", "expected a name as key"),
        ("<<: {a: 1}", "1:1", "use extends"),
        ("a: \x07", "1:4", "U+0007 is not allowed"),
        ("a: " + "[" * 40 + "]" * 40, "1:28", "nested more than 24 deep"),
        ("a: [" + "1," * 30_000 + "]", None, "more than 5000 values"),
        (
            "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
            None,
            "aliases expand to more than 5000 values",
        ),
        ("a: " + "x" * 1_000_001, None, "over 1 MB"),
    ],
)
def test_yaml_itself(text: str, place: str | None, says: str) -> None:
    error = refused(text)
    assert says in str(error), str(error)
    if place:
        assert str(error).startswith(f"r.yaml:{place}: "), str(error)


def test_plain_words_stay_words() -> None:
    recipe = parse_recipe(
        "models: {no: 2024-01-01, on: a/b}\nbase: no\n"
        "steps: [{interpolate: vision, from: on, t: 1e-1}]"
    )
    assert recipe.models == {"no": "2024-01-01", "on": "a/b"}
    assert recipe.steps[0] == Interpolate(parse_selector("vision"), "on", "linear", (0.1,))


def test_anchors_of_yaml_are_allowed_in_moderation() -> None:
    recipe = parse_recipe(
        "models: {in: a/b, rl: a/c}\nbase: in\nsteps:\n"
        '  - {merge: "language[:]", method: ties, models: {in: &w {weight: 1}, rl: *w}}\n'
    )
    assert isinstance(recipe.steps[0], Merge)


def test_selectors_may_be_lists() -> None:
    recipe = parse_recipe(
        "models: {in: a/b, rl: a/c}\nbase: in\nsteps:\n"
        '  - transplant: ["language[3]", vision, "!vision.norm"]\n    from: rl\n'
    )
    assert str(recipe.steps[0].selector) == "language[3], vision, !vision.norm"
    assert recipe.steps[0].selector.terms[2].place == Place("<string>", 4, 42)


def test_adapters_and_open_models() -> None:
    recipe = parse_recipe(
        "models: {in: {base: a/b, adapter: a/c}, rl: null}\nbase: in\n"
        "steps: [{transplant: vision, from: rl}]"
    )
    assert recipe.models == {"in": AdapterReference("a/b", "a/c"), "rl": None}
    assert recipe.unbound == ("rl",)


def test_binding() -> None:
    recipe = parse_recipe(SHORT, models={"rl": "x/y@main"})
    assert recipe.models == {"in": "a/b", "rl": "x/y@main"}
    error = refused(SHORT, models={"rll": "x/y"})
    assert str(error) == ("cannot bind rll=x/y: the recipe has no model 'rll'. Did you mean 'rl'?")
    assert "reference is empty" in str(refused(SHORT, models={"rl": ""}))


@pytest.mark.parametrize(
    ("size", "expected"),
    [("5GB", 5 * 10**9), ("200MB", 2 * 10**8), ("1GiB", 2**30), ("1.5 kB", 1500), ("7", 7)],
)
def test_sizes(size: str, expected: int) -> None:
    recipe = parse_recipe(f"{SHORT}output: {{max_shard_size: {size}}}\n")
    assert recipe.output.max_shard_size == expected


@pytest.mark.parametrize(
    ("merge", "says"),
    [
        ("method: slerp, models: [in, rl], parameters: {t: 0.5}", None),
        ("method: slerp, models: [rl], parameters: {t: 0.5}", None),
        ("method: slerp, models: [in, rl]", "slerp needs 't'; give it as parameters: {t: ...}"),
        ("method: slerp, models: [in], parameters: {t: 0.5}", "exactly 2 models, the base incl"),
        ("method: slerp, models: [rl, x], parameters: {t: 0.5}", "found 3: in, rl, x"),
        ("method: linear, models: [in, rl], parameters: {weight: 1}", None),
        ("method: linear, base: in, models: [in], parameters: {weight: 1}", "takes no base"),
        ("method: linear, models: {in: {weight: 1}, rl: null}", "needs 'weight' for 'rl'"),
        ("method: ties, base: x, models: [in, rl], parameters: {weight: 1}", None),
        ("method: ties, models: [in, rl, rl], parameters: {weight: 1}", "'rl' is named twice"),
        ("method: ties, models: [], parameters: {weight: 1}", "expected the names of models"),
        ("method: ties, models: rl, parameters: {weight: 1}", "expected the names of models"),
        ("method: karcher, models: [in, rl], parameters: {max_iter: 1.5}", "is a whole number"),
        ("method: ties, models: {rl: {weight: 1}}, parameters: {normalize: 1}", "true or false"),
        ("method: model_stock, models: [rl]", "at least 3 models, the base included; found 2"),
        ("method: passthrough, models: [in, rl]", "merges exactly 1 model; found 2"),
        ("method: arcee_fusion, models: [rl], parameters: {x: 1}", "It has none."),
    ],
)
def test_methods_are_held_to_their_rules(merge: str, says: str | None) -> None:
    text = (
        f"models: {{in: a/b, rl: a/c, x: a/d}}\nbase: in\nsteps:\n  - {{merge: vision, {merge}}}\n"
    )
    if says is None:
        parse_recipe(text)
    else:
        assert says in str(refused(text)), str(refused(text))


def test_parameters_for_all_models_reach_each() -> None:
    recipe = parse_recipe(
        "models: {in: a/b, rl: a/c, x: a/d}\nbase: in\nsteps:\n"
        "  - {merge: vision, method: ties, models: {rl: {weight: 2}, x: null, in: null},\n"
        "     parameters: {weight: 1, density: 0.5, normalize: false}}\n"
    )
    step = recipe.steps[0]
    assert isinstance(step, Merge)
    assert step.models == {
        "rl": {"weight": 2, "density": 0.5},
        "x": {"weight": 1, "density": 0.5},
        "in": {},
    }
    assert step.parameters == {"normalize": False}
    assert step.base == "in"


# --- files --------------------------------------------------------------------------------------


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_extends_lays_files_over_each_other(tmp_path: Path) -> None:
    write(
        tmp_path,
        mine__pair="models: {in: a/in, rl: a/rl}\noutput: {dtype: float32}",
        splices__mid=(
            "name: mid\nmodels: {in: null, rl: null, x: a/x}\nbase: in\n"
            "steps: [{transplant: 'language[mid]', from: rl}]\noutput: {max_shard_size: 1GB}"
        ),
        mine__one="extends: [pair.yaml, ../splices/mid.yaml]\nmodels: {x: b/x}",
    )
    recipe = load_recipe(tmp_path / "mine" / "one.yaml")
    assert recipe.name == "mid"
    assert recipe.models == {"in": "a/in", "rl": "a/rl", "x": "b/x"}
    assert recipe.output == Output(DType.F32, 10**9)
    assert recipe.path == tmp_path / "mine" / "one.yaml"
    assert recipe.steps[0].place.file.endswith("mid.yaml")


def test_steps_replace(tmp_path: Path) -> None:
    write(tmp_path, a=SHORT, b="extends: a\nsteps: []\nregions: {cuts: [1, 2]}")
    recipe = load_recipe(tmp_path / "b.yaml")
    assert recipe.steps == ()
    assert recipe.name == "b"


def test_a_mistake_in_an_extended_file_is_found_there(tmp_path: Path) -> None:
    write(tmp_path, a=SHORT.replace("vision", "visoin"), b="extends: a.yaml")
    with pytest.raises(RecipeError, match=r"a\.yaml:3:22: .*Did you mean 'vision'\?"):
        load_recipe(tmp_path / "b.yaml")


def test_bundled_recipes_can_be_extended_from_anywhere(tmp_path: Path) -> None:
    write(tmp_path, a="extends: splices/in-rl-in\nmodels: {in: a/b, rl: a/c}")
    recipe = load_recipe(tmp_path / "a.yaml")
    assert recipe.models == {"in": "a/b", "rl": "a/c"}
    assert str(recipe.steps[0].selector) == "language[mid]"
    assert parse_recipe("extends: splices/in-rl-in").unbound == ("in", "rl")


@pytest.mark.parametrize(
    ("extends", "says"),
    [
        ("/etc/passwd", "is not a relative path"),
        ("C:\\x.yaml", "is not a relative path"),
        ("../../x.yaml", "points outside"),
        ("../../../../../../../../etc/passwd", "points outside"),
        ("nothing.yaml", "there is no recipe 'nothing.yaml'"),
        ("bb.yaml", "Did you mean 'b.yaml'?"),
        ("b.yaml", "forms a cycle: a.yaml -> b.yaml -> a.yaml"),
        ("a.yaml", "forms a cycle: a.yaml -> a.yaml"),
        ("{x: 1}", "expected a path, or a list of paths"),
        ("[c.yaml]", "expected a mapping"),
        ("' '", "is not a relative path"),
    ],
)
def test_extends_refusals(tmp_path: Path, extends: str, says: str) -> None:
    write(
        tmp_path,
        x=SHORT,
        deep__r__a=f"extends: {extends}",
        deep__r__b="extends: a",
        deep__r__c="[]",
    )
    with pytest.raises(RecipeError) as error:
        load_recipe(tmp_path / "deep" / "r" / "a.yaml")
    assert says in str(error.value), str(error.value)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    write(tmp_path, x=SHORT, deep__r__a="extends: link.yaml")
    (tmp_path / "deep" / "r" / "link.yaml").symlink_to(tmp_path / "x.yaml")
    with pytest.raises(RecipeError, match=r"there is no recipe 'link\.yaml'"):
        load_recipe(tmp_path / "deep" / "r" / "a.yaml")


def test_extends_cannot_explode(tmp_path: Path) -> None:
    write(tmp_path, f0=SHORT, **{f"f{i}": f"extends: [f{i - 1}, f{i - 1}]" for i in range(1, 12)})
    with pytest.raises(RecipeError, match="more than 32 files"):
        load_recipe(tmp_path / "f11.yaml")


def test_finding_recipes(tmp_path: Path) -> None:
    assert find_recipe("specimen/in-rl-in").name == "in-rl-in.yaml"
    assert find_recipe("specimen/in-rl-in.yaml").is_file()
    with pytest.raises(RecipeError, match="Did you mean 'specimen/in-rl-in'"):
        find_recipe("specimen/in-rl-inn")
    with pytest.raises(RecipeError, match="is a folder"):
        find_recipe(tmp_path)
    with pytest.raises(RecipeError, match="there is no file"):
        find_recipe(tmp_path / "x.yaml")
    names = list(bundled_recipes())
    assert "specimen/in-rl-in" in names
    assert "splices/in-rl-in" in names
    assert "specimen/pair" not in names


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(RecipeError, match=r"not UTF-8 text \(byte 6\)"):
        load_recipe(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_bytes(b"a" * 1_000_001)
    with pytest.raises(RecipeError, match="larger than 1 MB"):
        load_recipe(tmp_path / "b.yaml")
