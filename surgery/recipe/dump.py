"""A recipe as YAML again: complete, every name bound, nothing inherited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from surgery.checkpoint.source import AdapterReference
from surgery.recipe.recipe import Add, Interpolate, Merge, Transplant

if TYPE_CHECKING:
    from surgery.recipe.recipe import Recipe, Reference, Step


_ORDER = ("from", "plus", "minus", "method", "base", "models", "t", "weight", "parameters", "seed")


def to_yaml(recipe: Recipe) -> str:
    """Return the text of a recipe file that means the same.

    Args:
        recipe: Any recipe; what it takes from other files stands in the text itself.
    """
    return yaml.safe_dump(
        to_mapping(recipe), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )


def to_mapping(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain mappings, lists and numbers, in the order people write them."""
    output = {
        "dtype": recipe.output.dtype.torch_name if recipe.output.dtype else None,
        "max_shard_size": recipe.output.max_shard_size,
    }
    cuts = {str(component): list(pair) for component, pair in recipe.cuts.items()}
    mapping: dict[str, Any] = {
        "name": recipe.name,
        "description": recipe.description,
        "models": {name: _reference(ref) for name, ref in recipe.models.items()},
        "base": recipe.base,
        "regions": {"cuts": cuts} if cuts else {},
        "vocabulary": None if recipe.vocabulary == "same" else recipe.vocabulary,
        "steps": [_step(step) for step in recipe.steps],
        "output": {key: value for key, value in output.items() if value is not None},
    }
    return {k: v for k, v in mapping.items() if v not in (None, "", {}) or k == "steps"}


def _reference(reference: Reference | None) -> str | dict[str, str] | None:
    if isinstance(reference, AdapterReference):
        return {"base": reference.base, "adapter": reference.adapter}
    return reference


def step_settings(step: Step) -> dict[str, Any]:
    """Return the keys of a step other than its selector, as in a recipe."""
    match step:
        case Transplant():
            return {"from": step.source}
        case Interpolate():
            return {"from": step.source, "method": step.method, "t": list(step.t)}
        case Add():
            return {"plus": step.plus, "minus": step.minus, "weight": list(step.weight)}
        case Merge():
            models = {name: dict(values) for name, values in step.models.items()}
            shared = {"base": step.base, "parameters": dict(step.parameters), "seed": step.seed}
            return {"method": step.method, "models": models, **shared}


def _step(step: Step) -> dict[str, Any]:
    """Return a step as people write it: nothing that is absent, one anchor as a number."""
    settings = step_settings(step)
    for key in ("t", "weight"):
        if len(settings.get(key, ())) == 1:
            (settings[key],) = settings[key]
    written = {key: settings[key] for key in _ORDER if settings.get(key) not in (None, {})}
    return {step.kind: str(step.selector), **written}
