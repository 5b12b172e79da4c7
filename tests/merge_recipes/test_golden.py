"""Every bundled recipe loads, and its plan on headers of the true shapes is the one on record.

Rewrite the record after a change that is meant to change plans, with
`VLM_SURGERY_WRITE_GOLDEN=1 pytest tests/merge_recipes`, and read the difference before committing.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import merge_recipes
from surgery.plan import Plan, make_plan
from surgery.recipe import bundled_recipes, load_recipe
from surgery.recipe.extend import bundled_names
from surgery.text import layer_numbers
from tests.recipe.models import info

if TYPE_CHECKING:
    from surgery.checkpoint.source import CheckpointInfo

GOLDEN = Path(__file__).parent / "golden"
WRITE = os.environ.get("VLM_SURGERY_WRITE_GOLDEN") == "1"
SIZES = {"frankenstein": "3b", "specimen": "specimen"}
NAMES = list(bundled_recipes())
PAIRS = ("openmmreasoner", "revisual-r1", "mmr1", "frankenstein", "specimen")
SPLICES = ("in-rl-rl", "rl-in-in", "in-in-rl", "rl-rl-in", "in-rl-in", "rl-in-rl")


@cache
def headers(size: str, reference: str) -> CheckpointInfo:
    return info(size, reference)


@cache
def plan_of(name: str) -> Plan:
    """The plan, with stand-ins for models that the recipe leaves open."""
    size = SIZES.get(name.split("/", maxsplit=1)[0], "7b")
    unbound = load_recipe(name).unbound
    recipe = load_recipe(name, models={model: f"org/{model}" for model in unbound})
    return make_plan(recipe, {n: headers(size, str(ref)) for n, ref in recipe.models.items()})


def record(plan: Plan) -> dict[str, Any]:
    """Return the parts that a reviewer compares, and a hash of the rest."""
    lines = [
        json.dumps(
            [
                op.name,
                op.site.canonical,
                list(op.shape),
                op.dtype,
                op.shard,
                op.operation.kind,
                [[ref.model, ref.tensor] for ref in op.inputs],
                op.operation.parameters,
                op.step,
            ],
            sort_keys=True,
        )
        for op in plan.ops
    ]
    return {
        "models": {name: str(ref) for name, ref in plan.recipe.models.items()},
        "base": plan.recipe.base,
        "parts": _parts(plan),
        "ops": len(plan.ops),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def _parts(plan: Plan) -> dict[str, str]:
    """Per component and layer, what it is made of: `layers 0-8 in; 9-17 rl`."""
    output: dict[str, dict[int | None, set[str]]] = {}
    for op in plan.ops:
        text = _parameter_text(op.operation.parameters)
        mode = op.source if op.is_copy else f"{op.method}({op.source}{text})"
        layers = output.setdefault(op.site.component, {})
        layers.setdefault(op.site.layer, set()).add(mode)
    parts = {}
    for component, layers in output.items():
        numbered = sorted((n, " | ".join(sorted(h))) for n, h in layers.items() if n is not None)
        text = [
            f"{layer_numbers(n for n, _ in run)}: {mode}"
            for mode, run in groupby(numbered, key=lambda item: item[1])
        ]
        loose = sorted(layers.get(None, ()))
        parts[component] = "; ".join([*([" | ".join(loose)] if loose else []), *text])
    return parts


def _parameter_text(parameters: Any) -> str:
    displayed = {key: parameters[key] for key in ("t", "weight") if key in parameters}
    return "".join(f", {key}={value:.4g}" for key, value in displayed.items())


@cache
def golden(folder: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{folder}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_the_one_on_record(name: str) -> None:
    folder, _, rest = name.partition("/")
    result = record(plan_of(name))
    if WRITE:
        path = GOLDEN / f"{folder}.json"
        known_names = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        known_names = {
            k: v for k, v in {**known_names, rest: result}.items() if f"{folder}/{k}" in NAMES
        }
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(known_names, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        golden.cache_clear()
    assert result == golden(folder)[rest]


def test_every_record_belongs_to_a_recipe() -> None:
    recorded = {
        f"{path.stem}/{name}" for path in GOLDEN.glob("*.json") for name in golden(path.stem)
    }
    assert recorded == set(NAMES)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("splice", SPLICES)
def test_splices_do_what_their_name_says(pair: str, splice: str) -> None:
    recipe = load_recipe(f"{pair}/{splice}")
    plan = plan_of(f"{pair}/{splice}")
    count = plan.architecture.layers["language"]
    regions = [range(count // 3), range(count // 3, 2 * count // 3), range(2 * count // 3, count)]
    owner = {n: who for part, who in zip(regions, splice.split("-"), strict=True) for n in part}
    for op in plan.ops:
        expected = "in" if op.site.component != "language" else owner[op.site.layer]
        assert op.source == expected, op.name
    assert recipe.unbound == ()


def test_every_pair_has_the_whole_set() -> None:
    common = {
        *SPLICES,
        "attention-only",
        "mlp-only",
        "ties",
        "dare",
        *(f"sweeps/{m}-{t}" for m in ("slerp", "linear") for t in ("0.2", "0.4", "0.6", "0.8")),
        "sweeps/slerp-ramp",
        "sweeps/linear-ramp",
    }
    for pair in PAIRS:
        names = {name.partition("/")[2] for name in NAMES if name.startswith(f"{pair}/")}
        assert common <= names, pair
        assert {n for n in names if n.startswith("transfer-to-")}, pair
        cuts = {n.split("/")[0] for n in names if n.startswith("cuts-")}
        assert len(cuts) == 1
        assert {f"{next(iter(cuts))}/{splice}" for splice in SPLICES} <= names


def test_every_recipe_says_what_it_is_for() -> None:
    for name in NAMES:
        recipe = load_recipe(name)
        assert 20 < len(recipe.description) < 200, name
        assert recipe.name == name


def test_the_readme_names_every_folder() -> None:
    readme = (merge_recipes.folder() / "README.md").read_text(encoding="utf-8")
    for folder in {name.split("/")[0] for name in bundled_names()}:
        assert f"`{folder}/`" in readme, folder
