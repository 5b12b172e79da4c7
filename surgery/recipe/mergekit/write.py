"""A recipe as mergekit's YAML.

A mergekit file has one method for all tensors, so the recipe is first worked out tensor by tensor
and then the method is found that can say all of it:

- whole layers that only move: `passthrough`, with slices in `modules`;
- anything that is a sum of models: `linear` without normalisation, a weight per model and tensor;
- interpolation along great circles between two models: `slerp`, a `t` per tensor;
- one merge method from the recipe's own base: itself, with weight 0 where the base stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from surgery.arch.experts import is_expert
from surgery.checkpoint.open import resolve_reference
from surgery.checkpoint.source import AdapterReference
from surgery.errors import RecipeError
from surgery.methods.table import METHODS, BaseRule, Scope
from surgery.recipe.mergekit.filters import as_setting
from surgery.recipe.mergekit.tables import parts_of
from surgery.recipe.recipe import Add, Interpolate, Merge, Transplant
from surgery.recipe.spread import value_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from surgery.arch import Architecture, Component, Site
    from surgery.recipe.mergekit.tables import MergekitModule, Tensor
    from surgery.recipe.recipe import Recipe, Scalar, Step


@dataclass(frozen=True)
class Mix:
    """A weighted sum of models; one model of weight 1 is a copy."""

    weights: tuple[tuple[str, float], ...]

    @property
    def copied(self) -> str | None:
        """The model it is a copy of."""
        return self.weights[0][0] if len(self.weights) == 1 and self.weights[0][1] == 1 else None


@dataclass(frozen=True)
class Arc:
    """A point between the base and another model on a great circle."""

    other: str
    t: float


Act: TypeAlias = Mix | Arc | Merge
Config: TypeAlias = dict[str, Any]


def to_mergekit(recipe: Recipe, architecture: Architecture) -> str:
    """Convert a recipe to mergekit's YAML.

    Args:
        recipe: What to say, every model bound.
        architecture: The base's sites.

    Returns:
        Text for `mergekit-yaml`.

    Raises:
        RecipeError: If mergekit cannot say it; names what.
    """
    references = _references(recipe)
    parts = parts_of(architecture)
    acts = _acts(recipe, architecture)
    names = _by_name(parts, acts)
    _check_spelling(names, architecture)
    config = _slices(parts, acts, references) or _method(recipe, names, references)
    head: Config = {"base_model": references[recipe.base]}
    if recipe.output.dtype is not None:
        # Kernels compute in the element type they are given: float32, and one cast at the end.
        if config["merge_method"] != "passthrough":
            head["dtype"] = "float32"
        head["out_dtype"] = recipe.output.dtype.torch_name
    document = {key: value for key, value in {**head, **config}.items() if value is not None}
    body = yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )
    return _comment(recipe) + body


def _comment(recipe: Recipe) -> str:
    """Return a comment: what the file is and how to run it."""
    lines = [f"{recipe.name}: {recipe.description}" if recipe.description else recipe.name]
    seeds = {step.seed for step in recipe.steps if isinstance(step, Merge)}
    size = recipe.output.max_shard_size
    command = "mergekit-yaml THIS_FILE OUT"
    command += f" --random-seed {min(seeds)}" if seeds else ""
    command += f" --out-shard-size {size}" if size else ""
    text = [*" ".join(lines).splitlines(), f"Run: {command}"]
    return "".join(f"# {line}\n" for line in text)


def _references(recipe: Recipe) -> dict[str, str]:
    """Spell every model as mergekit does; a LoRA follows its base after a plus."""
    references = {}
    for name, reference in recipe.models.items():
        if reference is None:
            raise RecipeError(f"model {name!r} has no checkpoint yet; bind it: --model {name}=REF.")
        if isinstance(reference, AdapterReference):
            resolved = [resolve_reference(reference.base), resolve_reference(reference.adapter)]
        else:
            resolved = [resolve_reference(reference)]
        for text in resolved:
            if "+" in text:
                raise RecipeError(
                    f"model {name!r}: mergekit reads '+' in {text!r} as the sign before an adapter."
                )
        references[name] = "+".join(resolved)
    return references


def _by_name(parts: Sequence[MergekitModule], acts: Mapping[Site, Act]) -> dict[str, Act]:
    """Return each tensor's operation by mergekit's name for it; experts share one."""
    names: dict[str, Act] = {}
    for tensor in (tensor for part in parts for tensor in part.tensors()):
        if names.setdefault(tensor.name, acts[tensor.site]) != acts[tensor.site]:
            raise RecipeError(
                f"mergekit fuses the experts of a layer to {tensor.name}, and cannot do one thing "
                f"with some of it and another with the rest; merge with surgery instead."
            )
    return names


def _check_spelling(names: Iterable[str], architecture: Architecture) -> None:
    """Refuse a checkpoint whose names mergekit's table does not have."""
    missing = [name for name in names if name not in architecture.sites]
    # mergekit converts files with experts to the names that it looks for.
    if missing and not any(map(is_expert, architecture.sites.values())):
        example = next(iter(architecture.sites))
        raise RecipeError(
            f"mergekit 0.1.5 looks for {missing[0]} in a {architecture.family} model, and this "
            f"checkpoint's names are those of another version of transformers ({example}): "
            f"mergekit could not read it. Merge with surgery instead."
        )


# --- tensor by tensor ---------------------------------------------------------------------------


def _acts(recipe: Recipe, architecture: Architecture) -> dict[Site, Act]:
    """Return the operation at every site."""
    acts: dict[Site, Act] = dict.fromkeys(architecture.sites.values(), Mix(((recipe.base, 1.0),)))
    taken: dict[Site, int] = {}
    for index, step in enumerate(recipe.steps):
        layers = step.selector.layers(architecture, recipe.cuts)
        for site in step.selector.match(architecture, recipe.cuts):
            if site in taken:
                raise RecipeError(
                    f"steps {taken[site] + 1} and {index + 1} both write {site.canonical}.",
                    step.place,
                )
            taken[site] = index
            acts[site] = _act(step, site, layers, recipe.base)
    return acts


def _act(step: Step, site: Site, layers: Mapping[Component, Sequence[int]], base: str) -> Act:
    """Return the operation of a step at a site."""
    if isinstance(step, Transplant):
        return Mix(((step.source, 1.0),))
    if isinstance(step, Interpolate):
        t = value_at(step.t, site, layers)
        if step.method == "slerp" and t not in (0.0, 1.0):
            return Arc(step.source, t)
        return _mix([(base, 1 - t), (step.source, t)])
    if isinstance(step, Add):
        weight = value_at(step.weight, site, layers)
        return _mix([(base, 1.0), (step.plus, weight), (step.minus, -weight)])
    return _merged(step)


def _merged(step: Merge) -> Act:
    """Return a merge step as a sum of models where it is one, else itself."""
    if step.method == "linear":
        return _linear(step)
    if step.method == "passthrough":
        ((name, settings),) = step.models.items()
        return Mix(((name, float(settings.get("scale", 1.0))),))
    return step


def _linear(step: Merge) -> Mix:
    """Return the linear method as plain weights."""
    pairs = [(name, float(settings["weight"])) for name, settings in step.models.items()]
    if not step.parameters.get("normalize", True):
        return _mix(pairs)
    total = sum(weight for _, weight in pairs)
    if total == 0:
        raise RecipeError("the weights of a normalised linear merge sum to 0.", step.place)
    return _mix([(name, weight / total) for name, weight in pairs])


def _mix(pairs: Sequence[tuple[str, float]]) -> Mix:
    """Add weights of a model that appears twice; omit models of weight 0."""
    total: dict[str, float] = {}
    for name, weight in pairs:
        total[name] = total.get(name, 0.0) + weight
    return Mix(tuple((name, weight) for name, weight in total.items() if weight != 0))


# --- passthrough --------------------------------------------------------------------------------


def _slices(
    parts: Sequence[MergekitModule], acts: Mapping[Site, Act], references: Mapping[str, str]
) -> Config | None:
    """Whole layers from one model or another; None when it is not that simple."""
    modules = {}
    for part in parts:
        owners = [_owner(group, acts) for group in (part.before, *part.layers, part.after)]
        if None in owners:
            return None
        runs = _runs(owners[1:-1])
        # mergekit takes what is before the layers with the first slice, what is after with the
        # last one. An empty slice lets that be another model's than the layer next to it.
        if part.before and owners[0] != runs[0][0]:
            runs.insert(0, (owners[0], 0, 0))
        if part.after and owners[-1] != runs[-1][0]:
            runs.append((owners[-1], len(part.layers), len(part.layers)))
        modules[part.name] = {
            "slices": [
                {"sources": [{"model": references[str(owner)], "layer_range": [start, stop]}]}
                for owner, start, stop in runs
            ]
        }
    return {"merge_method": "passthrough", "modules": modules}


def _owner(group: Sequence[Tensor], acts: Mapping[Site, Act]) -> str | None:
    """Return the one model a group of tensors is copied from; any text for an empty group."""
    owners = set()
    for tensor in group:
        act = acts[tensor.site]
        owners.add(act.copied if isinstance(act, Mix) else None)
    if not group:
        return ""
    return owners.pop() if len(owners) == 1 else None


def _runs(owners: Sequence[str | None]) -> list[tuple[str | None, int, int]]:
    """Neighbouring layers of one model, as ranges."""
    runs: list[tuple[str | None, int, int]] = []
    for index, owner in enumerate(owners):
        if runs and runs[-1][0] == owner:
            runs[-1] = (owner, runs[-1][1], index + 1)
        else:
            runs.append((owner, index, index + 1))
    return runs


# --- one method for all -------------------------------------------------------------------------


def _method(recipe: Recipe, names: Mapping[str, Act], references: Mapping[str, str]) -> Config:
    """Return the one method that can say all of it, with a value per tensor."""
    kinds = {type(act) for act in names.values()}
    if kinds == {Mix}:
        return _as_linear(recipe, names, references)
    if kinds <= {Mix, Arc}:
        return _as_slerp(recipe, names, references)
    methods = {act.method for act in names.values() if isinstance(act, Merge)}
    if len(methods) > 1 or Arc in kinds:
        methods_used = sorted(methods) + (["slerp"] if Arc in kinds else [])
        raise RecipeError(
            f"a mergekit file has one method for all tensors; this recipe has "
            f"{' and '.join(methods_used)}. Merge with surgery, or split it into several recipes."
        )
    return _as_merge(recipe, names, references, methods.pop())


def _as_linear(recipe: Recipe, names: Mapping[str, Act], references: Mapping[str, str]) -> Config:
    """Write a weight per model and tensor."""
    weights: dict[str, dict[str, float]] = {references[recipe.base]: dict.fromkeys(names, 0.0)}
    for name, act in names.items():
        assert isinstance(act, Mix)  # the caller has looked
        for model, weight in act.weights:
            row = weights.setdefault(references[model], dict.fromkeys(names, 0.0))
            row[name] += weight
    return {
        "merge_method": "linear",
        "parameters": {"normalize": False},
        "models": [
            {"model": model, "parameters": {"weight": as_setting(row)}}
            for model, row in weights.items()
        ],
    }


def _as_slerp(recipe: Recipe, names: Mapping[str, Act], references: Mapping[str, str]) -> Config:
    """Write a t per tensor; both ends are exact."""
    other_models: set[str] = set()
    ts: dict[str, float] = {}
    for name, act in names.items():
        model = act.other if isinstance(act, Arc) else isinstance(act, Mix) and act.copied
        if not model:
            raise RecipeError(
                "a mergekit file has one method for all tensors; this recipe has slerp and sums of "
                "models. Merge with surgery, or split it into several recipes."
            )
        ts[name] = act.t if isinstance(act, Arc) else float(model != recipe.base)
        other_models |= {model} - {recipe.base}
    if len({references[other] for other in other_models}) != 1:
        raise RecipeError(
            f"mergekit's slerp interpolates between two models, this recipe from "
            f"{recipe.base!r} to "
            f"{', '.join(sorted(map(repr, other_models)))}."
        )
    other = references[other_models.pop()]
    if other == references[recipe.base]:
        raise RecipeError(f"slerp between {other} and itself: mergekit wants two models.")
    return {
        "merge_method": "slerp",
        "parameters": {"t": as_setting(ts)},
        "models": [{"model": references[recipe.base]}, {"model": other}],
    }


def _as_merge(
    recipe: Recipe, names: Mapping[str, Act], references: Mapping[str, str], method: str
) -> Config:
    """One of mergekit's methods, with neutral weights where no step asks for it."""
    steps = list(dict.fromkeys(i for i in map(_step_of(recipe), names.values()) if i is not None))
    merges = [step for index in steps if isinstance(step := recipe.steps[index], Merge)]
    base = _common_base(merges, method)
    rest = {name: act for name, act in names.items() if not isinstance(act, Merge)}
    _check_rest(rest, base, merges, method)
    models = list(dict.fromkeys(name for merge in merges for name in merge.models))
    inputs = dict.fromkeys([*models, *([] if base is None else [base])])
    if len({references[name] for name in inputs}) < len(inputs):
        raise RecipeError("two models of this recipe are one checkpoint; mergekit wants it once.")
    config: Config = {"merge_method": method}
    if base is not None:
        config["base_model"] = references[base]
    elif METHODS[method].base is BaseRule.OPTIONAL:
        # Any base_model would take part, so mergekit has to choose whose files to copy.
        config["base_model"] = None
    elif recipe.base not in inputs:
        raise RecipeError(
            f"mergekit adds its base_model to the models that {method} merges, so it cannot be "
            f"{recipe.base!r} here; use one of {', '.join(models)} as the recipe's base."
        )
    shared = _settings(names, merges, method, None)
    if shared:
        config["parameters"] = shared
    config["models"] = []
    for model in inputs:
        settings = _settings(names, merges, method, model) if model != base else {}
        entry: Config = {"model": references[model]}
        config["models"].append({**entry, "parameters": settings} if settings else entry)
    return config


def _step_of(recipe: Recipe) -> Any:
    places = {id(step): index for index, step in enumerate(recipe.steps)}
    return lambda act: places.get(id(act))


def _common_base(merges: Sequence[Merge], method: str) -> str | None:
    """Return the one base of all merge steps."""
    bases = {merge.base for merge in merges}
    if len(bases) > 1:
        raise RecipeError(
            f"the {method} steps start from different bases "
            f"({', '.join(sorted(str(base) for base in bases))}); a mergekit file has one."
        )
    return bases.pop()


def _check_rest(
    rest: Mapping[str, Act], base: str | None, merges: Sequence[Merge], method: str
) -> None:
    """Tensors that no step names must be the method's base, and be so at weight 0."""
    if not rest:
        if len({frozenset(merge.models) for merge in merges}) > 1 and not _weighted(method):
            raise RecipeError(f"{method} steps with different models cannot share a mergekit file.")
        return
    name, act = next(iter(rest.items()))
    if not _weighted(method):
        raise RecipeError(
            f"{method} has no weight that would leave {name} as it is, so mergekit would merge it "
            f"too. Merge with surgery, or merge everything ('*')."
        )
    for name, act in rest.items():
        model = act.copied if isinstance(act, Mix) else None
        if model is None or model != base:
            text = f"comes from {model!r}" if model else "is a sum of models"
            raise RecipeError(
                f"{name} {text}, but in a mergekit file with {method} other tensors come from the "
                f"base of the merge, {base!r}. Merge with surgery instead."
            )


def _weighted(method: str) -> bool:
    """Check that weight 0 for all models but the base gives the base."""
    parameters = {p.name: p for p in METHODS[method].parameters}
    return "lambda" in parameters and parameters["weight"].scope is Scope.NON_BASE


def _settings(
    names: Mapping[str, Act], merges: Sequence[Merge], method: str, model: str | None
) -> Config:
    """Return the parameters that differ from their defaults: shared or of one model."""
    settings: Config = {}
    for parameter in METHODS[method].parameters:
        if (parameter.scope is Scope.SHARED) != (model is None):
            continue
        default = 0.0 if parameter.name == "weight" else parameter.default
        values: dict[str, Any] = {}
        for name, act in names.items():
            options: Mapping[str, Scalar] = {}
            if isinstance(act, Merge):
                options = act.parameters if model is None else act.models.get(model, {})
            values[name] = options.get(parameter.name, default)
        if all(value is None for value in values.values()):
            continue
        if parameter.name == "weight" or any(v != parameter.default for v in values.values()):
            settings[parameter.name] = as_setting(values)
    return settings
