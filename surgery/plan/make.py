"""Resolve a recipe against the headers of its models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.arch import resolve
from surgery.arch.site import Component
from surgery.checkpoint.sites import SiteIndex
from surgery.checkpoint.source import CheckpointInfo
from surgery.errors import PlanError
from surgery.methods.operations import ByteCopy, Cast
from surgery.plan.layout import lay_out
from surgery.plan.model import Conservation, Plan, TensorOp
from surgery.plan.steps import DraftOp, draft_step, reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.arch.site import Architecture, Site
    from surgery.checkpoint.dtype import DType
    from surgery.checkpoint.source import Checkpoint, TensorHeader
    from surgery.recipe.recipe import Recipe


def make_plan(recipe: Recipe, models: Mapping[str, Checkpoint | CheckpointInfo]) -> Plan:
    """Decide origin and operation of every output tensor.

    Args:
        recipe: The recipe.
        models: Each of the recipe's models by its name there: open, as `opened` yields them, or
            the headers alone.

    Returns:
        A plan with one op per tensor of the base, in the base's order.

    Raises:
        PlanError: If two steps write one tensor, a model lacks a tensor or has it in another
            shape, layer counts differ, or a tie between embedding and head would break.
        RecipeError: If a selector matches nothing.
    """
    infos = {
        name: model if isinstance(model, CheckpointInfo) else model.info
        for name, model in models.items()
    }
    architectures = {
        name: resolve(infos[name].config, infos[name].tensors) for name in recipe.models
    }
    indexes = {name: SiteIndex(name, infos[name], arch) for name, arch in architectures.items()}
    drafts = _draft(recipe, architectures, indexes)
    base = indexes[recipe.base]
    ops = []
    for name, header in base.info.tensors.items():
        site = base.architecture.sites[name]
        draft = drafts.get(site) or DraftOp(ByteCopy(), (reference(base, site),))
        ops.append(_op(header, site, draft, recipe.output.dtype))
    _check_ties(recipe, ops, indexes)
    shards, placed = lay_out(ops, base.info, recipe.output.max_shard_size)
    return Plan(
        recipe=recipe,
        ops=placed,
        models=infos,
        architectures=architectures,
        shards=shards,
        conservation=_conserve(placed, indexes, base),
        notes=_notes(placed, indexes),
    )


def _draft(
    recipe: Recipe, architectures: Mapping[str, Architecture], models: Mapping[str, SiteIndex]
) -> dict[Site, DraftOp]:
    """Return every site that a step fills, with its draft."""
    drafts: dict[Site, DraftOp] = {}
    architecture = architectures[recipe.base]
    for index, step in enumerate(recipe.steps):
        sites = step.selector.match(architecture, recipe.cuts)
        for site, draft in draft_step(index, step, sites, models, recipe.base):
            if site in drafts:
                raise PlanError(_clash(recipe, site, drafts[site].step, index))
            drafts[site] = draft
    return drafts


def _clash(recipe: Recipe, site: Site, first: int | None, second: int) -> str:
    """Refuse two steps that write one tensor, and name both."""
    assert first is not None  # only steps make drafts
    steps = [
        f"step {i + 1} ({recipe.steps[i].selector}"
        + (f", {recipe.steps[i].place})" if recipe.steps[i].place else ")")
        for i in (first, second)
    ]
    return (
        f"{steps[0]} and {steps[1]} both write {site.canonical}. Each tensor may be written once: "
        f"narrow one selector, or exclude with '!'."
    )


def _op(header: TensorHeader, site: Site, draft: DraftOp, output: DType | None) -> TensorOp:
    """Return the op that makes a draft into the output's element type."""
    dtype = output if output is not None and header.dtype.is_floating else header.dtype
    operation = draft.operation
    if isinstance(operation, ByteCopy) and (draft.dtype or header.dtype) is not dtype:
        operation = Cast()
    return TensorOp(
        name=header.name,
        site=site,
        shape=header.shape,
        dtype=dtype,
        shard=header.shard,
        operation=operation,
        inputs=draft.inputs,
        step=draft.step,
    )


def _check_ties(recipe: Recipe, ops: list[TensorOp], models: Mapping[str, SiteIndex]) -> None:
    """Refuse a result in which a tied head and its embedding would differ."""
    base = models[recipe.base]
    if not base.architecture.tied_head:
        return
    heads = [op for op in ops if op.site.component is Component.HEAD]
    for embedding in (op for op in ops if op.site.component is Component.EMBEDDING):
        for ref in embedding.inputs:
            source = models[ref.model]
            if not source.architecture.tied_head and embedding.step is not None:
                raise PlanError(
                    f"the base {recipe.base!r} ties its output head to {embedding.name}, but "
                    f"{ref.model!r} ({source.info.reference}) keeps a head of its own, which "
                    f"would be lost. Leave the embedding out ('!embedding'), or use a base with an "
                    f"untied head."
                )
        for head in heads:
            same = head.operation == embedding.operation
            together = (head.step is None) == (embedding.step is None)
            sources = [ref.model for ref in head.inputs] == [ref.model for ref in embedding.inputs]
            if not (same and together and sources):
                raise PlanError(
                    f"{recipe.base!r} ties {head.name} to {embedding.name}: a change to one "
                    f"must be a change to both. Select 'embedding, head' in one step, or neither."
                )


def _conserve(
    ops: tuple[TensorOp, ...], models: Mapping[str, SiteIndex], base: SiteIndex
) -> dict[str, Conservation]:
    """Sort every input tensor into used, replaced, unused or absent."""
    used = {(ref.model, ref.tensor) for op in ops for ref in op.inputs}
    base_sites = set(base.architecture.sites.values())
    result = {}
    for name, model in models.items():
        sorted_names: dict[str, list[str]] = {key: [] for key in ("used", "left", "absent")}
        for tensor in model.info.tensors:
            site = model.architecture.sites[tensor]
            at = "used" if (name, tensor) in used else "left" if site in base_sites else "absent"
            sorted_names[at].append(tensor)
        unused = tuple(sorted_names["left"])
        result[name] = Conservation(
            used=tuple(sorted_names["used"]),
            replaced=unused if model is base else (),
            unused=() if model is base else unused,
            absent=tuple(sorted_names["absent"]),
        )
    return result


def _notes(ops: tuple[TensorOp, ...], models: Mapping[str, SiteIndex]) -> tuple[str, ...]:
    """Return what a person should know before a plan is carried out."""
    notes = [
        f"{model.name}: {guess}"
        for model in models.values()
        for guess in model.architecture.guessed
    ]
    casts = [op for op in ops if isinstance(op.operation, Cast) and op.step is not None]
    if casts:
        notes.append(
            f"{len(casts)} transplanted tensors change element type to {casts[0].dtype.torch_name} "
            f"(first: {casts[0].name}), so they are rounded, not bit-identical."
        )
    idle = [
        name for name in models if not any(ref.model == name for op in ops for ref in op.inputs)
    ]
    notes += [f"model {name!r} is named but no tensor of it is used." for name in idle]
    return tuple(notes)
