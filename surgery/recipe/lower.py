"""A checked YAML model to the frozen recipe: names resolved, selectors read, methods held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.checkpoint.dtype import DType
from surgery.checkpoint.open import parse_reference
from surgery.checkpoint.source import AdapterReference
from surgery.errors import RecipeError, did_you_mean
from surgery.methods.table import METHODS, BaseRule, Scope
from surgery.recipe.grammar import parse_selector
from surgery.recipe.recipe import Add, Interpolate, Merge, Output, Recipe, Transplant
from surgery.recipe.schema import (
    AdapterModel,
    AddStep,
    InterpolateStep,
    MergeStep,
    RecipeModel,
    TransplantStep,
    kind_of,
)
from surgery.recipe.select import Selector, Term

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.errors import Place
    from surgery.methods.table import Method, Parameter
    from surgery.recipe.nodes import Node
    from surgery.recipe.recipe import Reference, Scalar, Step


def lower(
    model: RecipeModel, root: Node, bindings: Mapping[str, str], path: Path | None, name: str
) -> Recipe:
    """Make the recipe that the planner works with.

    Args:
        model: The checked YAML.
        root: The same YAML with places.
        bindings: References that replace the recipe's own, by model name.
        path: The file it came from.
        name: What to call it when it does not say.

    Raises:
        RecipeError: If a model is not defined, a selector cannot be read, or a method is used
            against its rules.
    """
    models = _bind(model, bindings)
    _check_model(model.base, models, "base", root.walk(("base",)).place)
    return Recipe(
        name=model.name or name,
        description=model.description,
        models=models,
        base=model.base,
        cuts=model.regions.cuts if model.regions else {},
        steps=tuple(
            _step(step, root.walk(("steps", index)), models, model.base)
            for index, step in enumerate(model.steps)
        ),
        output=Output(
            dtype=DType.from_torch_name(model.output.dtype) if model.output.dtype else None,
            max_shard_size=model.output.max_shard_size,
        ),
        vocabulary=model.vocabulary,
        path=path,
    )


def _bind(model: RecipeModel, bindings: Mapping[str, str]) -> dict[str, Reference | None]:
    """Return the recipe's models with the user's references in place."""
    models: dict[str, Reference | None] = {
        name: AdapterReference(value.base, value.adapter)
        if isinstance(value, AdapterModel)
        else value
        for name, value in model.models.items()
    }
    for name, reference in bindings.items():
        if name not in models:
            raise RecipeError(
                f"cannot bind {name}={reference}: the recipe has no model {name!r}."
                f"{did_you_mean(name, models)}"
            )
        if not reference:
            raise RecipeError(f"cannot bind {name}: the reference is empty.")
        models[name] = parse_reference(reference)
    return models


def _check_model(name: str, models: Mapping[str, object], key: str, place: Place) -> None:
    """Refuse a model that the recipe does not name."""
    if name not in models:
        raise RecipeError(f"{key}: no model is called {name!r}.{did_you_mean(name, models)}", place)


def _step(
    step: TransplantStep | InterpolateStep | AddStep | MergeStep,
    node: Node,
    models: Mapping[str, Reference | None],
    base: str,
) -> Step:
    """One step."""
    for key in ("from", "plus", "minus", "base"):
        named = node.get(key)
        if named is not None and named.value is not None:
            _check_model(str(named.value), models, key, named.place)
    if isinstance(step, TransplantStep):
        return Transplant(_selector(node, "transplant"), step.source, node.place)
    if isinstance(step, InterpolateStep):
        selector = _selector(node, "interpolate")
        return Interpolate(selector, step.source, step.method, step.t, node.place)
    if isinstance(step, AddStep):
        return Add(_selector(node, "add"), step.plus, step.minus, step.weight, node.place)
    return _merge(step, node, models, base)


def _selector(node: Node, key: str) -> Selector:
    """Return the selector at `key`: one text, or several to be united."""
    child = node.walk((key,))
    items = child.value if isinstance(child.value, list) else [child]
    terms: list[Term] = []
    for item in items:
        assert isinstance(item.value, str)  # the schema has looked
        terms.extend(parse_selector(item.value, item.place, exact=item.exact).terms)
    return Selector(tuple(terms))


def _merge(
    step: MergeStep, node: Node, models: Mapping[str, Reference | None], recipe_base: str
) -> Merge:
    """Return a merge step that keeps its method's rules."""
    method = METHODS[step.method]
    listed = node.walk(("models",))
    for index, name in enumerate(step.models):
        place = listed.place_of(name if isinstance(listed.value, dict) else index)
        _check_model(name, models, "models", place)
    base = step.base
    if base is not None and method.base is BaseRule.IGNORED:
        raise RecipeError(f"base: {method.name} takes no base.", node.place_of("base"))
    if base is None and method.base is BaseRule.REQUIRED:
        base = recipe_base
    _check_inputs(step, method, base, listed.place)
    _check_names(step, method, node)
    _check_required(step, method, base, listed)
    return Merge(
        selector=_selector(node, "merge"),
        method=method.name,
        models=_own_parameters(step, method, base),
        base=base,
        parameters=_of_scope(step.parameters, method, shared=True),
        seed=step.seed,
        place=node.place,
    )


def _own_parameters(
    step: MergeStep, method: Method, base: str | None
) -> dict[str, dict[str, Scalar]]:
    """Each model's parameters, what is given for all of them filled in.

    The base has none of those that exist only for other models: mergekit passes over them.
    """
    common = _of_scope(step.parameters, method, shared=False)
    scopes = {parameter.name: parameter.scope for parameter in method.parameters}
    return {
        name: {
            key: value
            for key, value in {**common, **parameters}.items()
            if name != base or scopes[key] is not Scope.NON_BASE
        }
        for name, parameters in step.models.items()
    }


def _of_scope(values: Mapping[str, Scalar], method: Method, *, shared: bool) -> dict[str, Scalar]:
    """Return the parameters that apply to all models, or the others."""
    names = {p.name for p in method.parameters if (p.scope is Scope.SHARED) == shared}
    return {name: value for name, value in values.items() if name in names}


def _check_inputs(step: MergeStep, method: Method, base: str | None, place: Place) -> None:
    """Refuse too few or too many models."""
    names = dict.fromkeys([*([base] if base else []), *step.models])
    least, most = method.min_inputs, method.max_inputs
    if method.beside_base is not None:
        least = most = method.beside_base + bool(base)
    if len(names) < least or (most is not None and len(names) > most):
        if most is None:
            expected = f"at least {least}"
        else:
            expected = f"exactly {most}" if most == least else f"{least} to {most}"
        plural = "" if most == 1 else "s"
        raise RecipeError(
            f"models: {method.name} merges {expected} model{plural}"
            f"{', the base included' if base else ''}; found {len(names)}: {', '.join(names)}.",
            place,
        )


def _check_names(step: MergeStep, method: Method, node: Node) -> None:
    """Every parameter must be the method's, of its type, at its level."""
    by_name = {parameter.name: parameter for parameter in method.parameters}
    shared_node = node.walk(("parameters",))
    for name, value in step.parameters.items():
        _check_value(name, value, by_name, method, shared_node.place_of(name))
    for model, parameters in step.models.items():
        own_node = node.walk(("models", model))
        per_model = {n: p for n, p in by_name.items() if p.scope is not Scope.SHARED}
        for name, value in parameters.items():
            place = own_node.place_of(name)
            if name in by_name and name not in per_model:
                raise RecipeError(
                    f"{name!r} applies to all models of {method.name}; put it under "
                    f"parameters: {{{name}: {kind_of(value)}}}.",
                    place,
                )
            _check_value(name, value, per_model, method, place)


def _check_value(
    name: str, value: Scalar, parameters: Mapping[str, Parameter], method: Method, place: Place
) -> None:
    """One parameter's name and type."""
    if name not in parameters:
        valid = did_you_mean(name, parameters) or " It has none."
        raise RecipeError(f"{method.name} has no parameter {name!r}.{valid}", place)
    kind = parameters[name].kind
    fits = {
        bool: isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool),
        float: not isinstance(value, bool),
    }[kind]
    if not fits:
        words = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise RecipeError(f"{name} is {words}, found {kind_of(value)}.", place)


def _check_required(step: MergeStep, method: Method, base: str | None, listed: Node) -> None:
    """Refuse a merge that lacks a parameter without a default."""
    for parameter in method.parameters:
        if not parameter.required or parameter.name in step.parameters:
            continue
        if parameter.scope is Scope.SHARED:
            raise RecipeError(
                f"{method.name} needs {parameter.name!r}; give it as "
                f"parameters: {{{parameter.name}: ...}}.",
                listed.place,
            )
        for index, (name, parameters) in enumerate(step.models.items()):
            if parameter.name in parameters or (name == base and parameter.scope is Scope.NON_BASE):
                continue
            raise RecipeError(
                f"{method.name} needs {parameter.name!r} for {name!r}; give it as "
                f"models: {{{name}: {{{parameter.name}: ...}}}}, or for all of them under "
                f"parameters.",
                listed.place_of(name if isinstance(listed.value, dict) else index),
            )
