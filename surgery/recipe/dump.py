"""A recipe as YAML again: complete, every name bound, nothing inherited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from surgery.checkpoint.source import AdapterReference
from surgery.recipe.recipe import Add, Interpolate, Transplant

if TYPE_CHECKING:
    from surgery.recipe.recipe import Recipe, Reference, Step


def to_yaml(recipe: Recipe) -> str:
    """The text of a recipe file that means the same.

    Args:
        recipe: Any recipe; what it takes from other files stands in the text itself.
    """
    return yaml.safe_dump(
        to_mapping(recipe), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )


def to_mapping(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain mappings, lists and numbers, in the order people write them."""
    output = {
        "dtype": recipe.output.dtype.torch_name if recipe.output.dtype else None,
        "max_shard_size": recipe.output.max_shard_size,
    }
    cuts = {str(component): list(pair) for component, pair in recipe.cuts.items()}
    found: dict[str, Any] = {
        "name": recipe.name,
        "description": recipe.description,
        "models": {name: _reference(ref) for name, ref in recipe.models.items()},
        "base": recipe.base,
        "regions": {"cuts": cuts} if cuts else {},
        "vocabulary": None if recipe.vocabulary == "same" else recipe.vocabulary,
        "steps": [_step(step) for step in recipe.steps],
        "output": {key: value for key, value in output.items() if value is not None},
    }
    return {k: v for k, v in found.items() if v not in (None, "", {}) or k == "steps"}


def _reference(reference: Reference | None) -> str | dict[str, str] | None:
    if isinstance(reference, AdapterReference):
        return {"base": reference.base, "adapter": reference.adapter}
    return reference


def _step(step: Step) -> dict[str, Any]:
    selector = str(step.selector)
    if isinstance(step, Transplant):
        return {"transplant": selector, "from": step.source}
    if isinstance(step, Interpolate):
        t = _anchors(step.t)
        return {"interpolate": selector, "from": step.source, "method": step.method, "t": t}
    if isinstance(step, Add):
        weight = _anchors(step.weight)
        return {"add": selector, "plus": step.plus, "minus": step.minus, "weight": weight}
    merge: dict[str, Any] = {"merge": selector, "method": step.method}
    if step.base is not None:
        merge["base"] = step.base
    merge["models"] = {name: dict(given) for name, given in step.models.items()}
    if step.parameters:
        merge["parameters"] = dict(step.parameters)
    return {**merge, "seed": step.seed}


def _anchors(values: tuple[float, ...]) -> float | list[float]:
    return values[0] if len(values) == 1 else list(values)
