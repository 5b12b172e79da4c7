"""One recipe step over the sites it selects: which inputs, which parameters."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from surgery.arch.site import Component
from surgery.errors import PlanError
from surgery.methods.operations import (
    ByteCopy,
    Linear,
    MergekitMethod,
    Slerp,
    TaskArithmetic,
)
from surgery.methods.table import METHODS, BaseRule, Scope
from surgery.plan.experts import check_expert_layouts
from surgery.plan.model import TensorRef
from surgery.recipe.recipe import Add, Interpolate, Merge, Transplant
from surgery.recipe.spread import value_at
from surgery.text import first_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from surgery.arch.site import Site
    from surgery.checkpoint.dtype import DType
    from surgery.checkpoint.sites import SiteIndex
    from surgery.methods.operations import Operation
    from surgery.recipe.recipe import Step


_TIED = (Component.EMBEDDING, Component.HEAD)


@dataclass(frozen=True, slots=True)
class DraftOp:
    """A tensor op before its output is known.

    Attributes:
        operation: What is done with the inputs.
        inputs: What from.
        step: Which step asked for it; None for the base's own tensors.
        dtype: For a copy from another model, the element type found there.
    """

    operation: Operation
    inputs: tuple[TensorRef, ...]
    step: int | None = None
    dtype: DType | None = None


def draft_step(
    index: int, step: Step, sites: Sequence[Site], models: Mapping[str, SiteIndex], base: str
) -> Iterator[tuple[Site, DraftOp]]:
    """Resolve one step.

    Args:
        index: The step's place in the recipe.
        step: The step.
        sites: What its selector matched.
        models: All models by name.
        base: The recipe's base.

    Yields:
        Each site with the draft that fills it.

    Raises:
        PlanError: If a model lacks a tensor, has it in another shape, or has another number of
            layers; if a number is to be computed from integers.
    """
    names = _models_of(step, base)
    _check_layers(names, sites, models, base)
    _check_tensors(step, names, sites, models, base)
    if isinstance(step, Transplant):
        for site in sites:
            yield site, _copy(index, models[step.source], site)
    elif isinstance(step, Interpolate):
        along = Slerp if step.method == "slerp" else Linear
        for site, t in spread(step.t, sites):
            yield site, _between(index, along(t), site, (models[base], models[step.source]))
    elif isinstance(step, Add):
        for site, weight in spread(step.weight, sites):
            yield site, _add(index, weight, site, [models[n] for n in names])
    else:
        yield from _merge(index, step, sites, models, base)


def spread(anchors: Sequence[float], sites: Sequence[Site]) -> Iterator[tuple[Site, float]]:
    """Give each site its value: one number for all, or anchors spread over the selected layers.

    Raises:
        RecipeError: If several anchors meet a tensor outside the layers.
    """
    layers: dict[Component, set[int]] = {}
    for site in sites:
        if site.layer is not None:
            layers.setdefault(site.component, set()).add(site.layer)
    stacks = {component: sorted(numbers) for component, numbers in layers.items()}
    for site in sites:
        yield site, value_at(anchors, site, stacks)


def _models_of(step: Step, base: str) -> list[str]:
    """Return the models that a step reads, in the order of its operation's inputs."""
    if isinstance(step, Transplant):
        return [step.source]
    if isinstance(step, Interpolate):
        return [base, step.source]
    if isinstance(step, Add):
        return [base, step.plus, step.minus]
    names = list(step.models)
    if METHODS[step.method].base is BaseRule.REQUIRED:
        names = list(dict.fromkeys([step.base or base, *names]))
    return names


def _check_layers(
    names: Sequence[str], sites: Sequence[Site], models: Mapping[str, SiteIndex], base: str
) -> None:
    """Refuse stacks of different height: layer 5 of 28 is not layer 5 of 36."""
    expected = models[base].architecture.layers
    for component in dict.fromkeys(site.component for site in sites if site.layer is not None):
        for name in names:
            count = models[name].architecture.layers.get(component, 0)
            if count != expected[component]:
                raise PlanError(
                    f"{component} has {expected[component]} layers in {base!r} "
                    f"({models[base].info.reference}) but {count} in {name!r} "
                    f"({models[name].info.reference}); layers can only move between models of one "
                    f"architecture."
                )


def _check_tensors(
    step: Step,
    names: Sequence[str],
    sites: Sequence[Site],
    models: Mapping[str, SiteIndex],
    base: str,
) -> None:
    """Check that every model has the selected tensors, in the base's shape, to be computed with."""
    check_expert_layouts(sites, models[base], [models[name] for name in names])
    missing: list[tuple[SiteIndex, Site]] = []
    shapes: list[str] = []
    for site in sites:
        base_tensor = models[base].find(site)
        assert base_tensor is not None  # sites were matched on the base
        for name in names:
            other = models[name].find(site)
            if other is None:
                missing.append((models[name], site))
            elif other.shape != base_tensor.shape:
                shapes.append(
                    f"{base_tensor.name} is {list(base_tensor.shape)} in {base!r} but "
                    f"{list(other.shape)} in {name!r}"
                )
            elif not isinstance(step, Transplant) and not other.dtype.is_floating:
                raise PlanError(
                    f"{base_tensor.name} holds {other.dtype} in {name!r}; only floating-point "
                    f"tensors can be computed with. Exclude it ('!...') or transplant it."
                )
    if missing:
        raise PlanError(_absent(missing))
    if shapes:
        raise PlanError(
            f"shapes differ: {_some(shapes)}. Only checkpoints of one architecture and vocabulary "
            f"can be spliced; exclude these tensors with '!' if the rest is what you want."
        )


def _absent(missing: Sequence[tuple[SiteIndex, Site]]) -> str:
    """Return the error for tensors that a model lacks, with the tensors at their place."""
    model, site = missing[0]
    key = (site.component, site.layer, site.module)
    instead = [
        name
        for name, at_site in model.architecture.sites.items()
        if (at_site.component, at_site.layer, at_site.module) == key
    ]
    hint = f" In the same place {model.name!r} has {_some(instead)}." if instead else ""
    lines = [f"{site.canonical} in {model.name!r}" for model, site in missing]
    return (
        f"no such tensor: {_some(lines)}.{hint} Exclude with '!' what a model lacks; "
        f"if different library versions saved the models, save both with the same."
    )


def reference(model: SiteIndex, site: Site) -> TensorRef:
    """Return a reference to the tensor at a site, which the model has."""
    header = model.find(site)
    assert header is not None  # the base has its own sites, and _check_tensors looked at others
    return TensorRef(model.name, header.name)


def _some(items: Sequence[str]) -> str:
    return first_names(items, separator="; ")


def _copy(index: int, model: SiteIndex, site: Site) -> DraftOp:
    header = model.find(site)
    assert header is not None  # _check_tensors has looked
    return DraftOp(ByteCopy(), (reference(model, site),), step=index, dtype=header.dtype)


def _between(
    index: int, between: Linear | Slerp, site: Site, ends: tuple[SiteIndex, SiteIndex]
) -> DraftOp:
    """Return the draft of an interpolation; both ends are exact copies."""
    if between.t == 0.0:
        return _copy(index, ends[0], site)
    if between.t == 1.0:
        return _copy(index, ends[1], site)
    return DraftOp(between, tuple(reference(end, site) for end in ends), index)


def _add(index: int, weight: float, site: Site, models: Sequence[SiteIndex]) -> DraftOp:
    """Task arithmetic (Ilharco et al. 2023, arXiv 2212.04089, eq. 1): base + w (plus - minus)."""
    if weight == 0.0:
        return _copy(index, models[0], site)
    refs = tuple(reference(model, site) for model in models)
    return DraftOp(TaskArithmetic(weight), refs, index)


def _seed(seed: int, site: Site, tied: bool) -> int:
    """Return a tensor's own 63-bit seed, from the step's seed and the tensor's site.

    A head that is tied to its embedding uses the embedding's seed, or the two would differ.
    """
    place = "embedding" if tied and site.component in _TIED else site.canonical
    digest = sha256(f"{seed}:{place}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _merge(
    index: int, step: Merge, sites: Sequence[Site], models: Mapping[str, SiteIndex], base: str
) -> Iterator[tuple[Site, DraftOp]]:
    """Mergekit's method with its parameters, every gradient worked out for the layer."""
    method = METHODS[step.method]
    names = _models_of(step, base)
    base_name = step.base or base
    has_base = method.base is BaseRule.REQUIRED or (
        method.base is BaseRule.OPTIONAL and step.base is not None
    )
    if has_base and base_name not in names:
        names = [base_name, *names]
    scoped = {p.name for p in method.parameters if p.scope is Scope.SHARED}
    shared = {name: value for name, value in step.parameters.items() if name in scoped}
    for site in sites:
        merge = MergekitMethod(
            method=step.method,
            base=names.index(base_name) if has_base else None,
            shared=shared,
            per_input=tuple(dict(step.models.get(name, {})) for name in names),
            seed=_seed(step.seed, site, models[base].architecture.tied_head),
        )
        yield site, DraftOp(merge, tuple(reference(models[name], site) for name in names), index)
