"""Work a recipe out against the headers of its models."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from surgery.arch import resolve
from surgery.arch.experts import expert_layouts
from surgery.arch.site import Component
from surgery.errors import PlanError
from surgery.plan.layout import lay_out
from surgery.plan.model import Conservation, Kind, Plan, TensorOp, TensorRef
from surgery.plan.steps import Draft, draft_step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.arch.experts import ExpertLayout, Layer
    from surgery.arch.site import Architecture, Site
    from surgery.checkpoint.dtype import DType
    from surgery.checkpoint.source import CheckpointInfo, TensorHeader
    from surgery.recipe.recipe import Recipe


def make_plan(recipe: Recipe, models: Mapping[str, CheckpointInfo]) -> Plan:
    """Decide for every output tensor where it comes from and how.

    Args:
        recipe: What is wanted.
        models: Headers of each of the recipe's models, by its name there.

    Returns:
        A plan with one op per tensor of the base, in the base's order.

    Raises:
        PlanError: If two steps write one tensor, a model lacks a tensor or has it in another
            shape, layer counts differ, or a tie between embedding and head would break.
        RecipeError: If a selector matches nothing.
    """
    architectures = {
        name: resolve(models[name].config, models[name].tensors) for name in recipe.models
    }
    shelves = {name: Shelf(name, models[name], arch) for name, arch in architectures.items()}
    drafts = _draft(recipe, architectures, shelves)
    base = shelves[recipe.base]
    ops = []
    for name, header in base.info.tensors.items():
        site = base.architecture.sites[name]
        draft = drafts.get(site) or Draft(Kind.COPY, (base.reference(site),))
        ops.append(_op(header, site, draft, recipe.output.dtype))
    _check_ties(recipe, ops, shelves)
    shards, placed = lay_out(ops, base.info, recipe.output.max_shard_size)
    return Plan(
        recipe=recipe,
        ops=placed,
        models=dict(models),
        architectures=architectures,
        shards=shards,
        conservation=_conserve(placed, shelves, base),
        notes=_notes(placed, shelves),
    )


class Shelf:
    """One model's tensors, found by site instead of by name."""

    def __init__(self, name: str, info: CheckpointInfo, architecture: Architecture) -> None:
        self.name = name
        self.info = info
        self.architecture = architecture
        self._names = architecture.names()
        self._tie()

    def _tie(self) -> None:
        """Let the head be found where a tied checkpoint keeps it: at the embedding."""
        if not self.architecture.tied_head or any(
            site.component is Component.HEAD for site in self._names
        ):
            return
        embedding = [
            site
            for site in self._names
            if site.component is Component.EMBEDDING and site.leaf.endswith("weight")
        ]
        self._tied_to = self._names[embedding[0]] if len(embedding) == 1 else None

    _tied_to: str | None = None

    @cached_property
    def experts(self) -> Mapping[Layer, ExpertLayout]:
        """Return the layout in which each layer's experts are stored."""
        tensors = self.info.tensors
        return expert_layouts({site: tensors[name].shape for site, name in self._names.items()})

    def find(self, site: Site) -> TensorHeader | None:
        """The tensor at `site`, or None."""
        name = self._names.get(site)
        if name is None and site.component is Component.HEAD and site.leaf.endswith("weight"):
            name = self._tied_to
        return None if name is None else self.info.tensors[name]

    def reference(self, site: Site) -> TensorRef:
        """A reference to the tensor at `site`.

        Raises:
            PlanError: If the model has none.
        """
        header = self.find(site)
        if header is None:
            raise PlanError(
                f"model {self.name!r} ({self.info.reference}) has no tensor at {site.canonical}"
            )
        return TensorRef(self.name, header.name)


def _draft(
    recipe: Recipe, architectures: Mapping[str, Architecture], shelves: Mapping[str, Shelf]
) -> dict[Site, Draft]:
    """Every site that a step fills, and how."""
    drafts: dict[Site, Draft] = {}
    architecture = architectures[recipe.base]
    for index, step in enumerate(recipe.steps):
        sites = step.selector.match(architecture, recipe.cuts)
        for site, draft in draft_step(index, step, sites, shelves, recipe.base):
            if site in drafts:
                raise PlanError(_clash(recipe, site, drafts[site].step, index))
            drafts[site] = draft
    return drafts


def _clash(recipe: Recipe, site: Site, first: int | None, second: int) -> str:
    """Two steps want one tensor: name both."""
    assert first is not None  # only steps make drafts
    told = [
        f"step {i + 1} ({recipe.steps[i].selector}"
        + (f", {recipe.steps[i].place})" if recipe.steps[i].place else ")")
        for i in (first, second)
    ]
    return (
        f"{told[0]} and {told[1]} both write {site.canonical}. Each tensor may be written once: "
        f"narrow one selector, or exclude with '!'."
    )


def _op(header: TensorHeader, site: Site, draft: Draft, wanted: DType | None) -> TensorOp:
    """The op that makes `draft` into the output's element type."""
    dtype = wanted if wanted is not None and header.dtype.is_floating else header.dtype
    kind = draft.kind
    if kind is Kind.COPY and draft.dtype is not None and draft.dtype is not dtype:
        kind = Kind.CAST
    if kind is Kind.COPY and draft.dtype is None and header.dtype is not dtype:
        kind = Kind.CAST
    return TensorOp(
        name=header.name,
        site=site,
        shape=header.shape,
        dtype=dtype,
        shard=header.shard,
        kind=kind,
        inputs=draft.inputs,
        parameters=draft.parameters,
        step=draft.step,
    )


def _check_ties(recipe: Recipe, ops: list[TensorOp], shelves: Mapping[str, Shelf]) -> None:
    """Refuse a result in which a tied head and its embedding would come apart."""
    base = shelves[recipe.base]
    if not base.architecture.tied_head:
        return
    heads = [op for op in ops if op.site.component is Component.HEAD]
    for embedding in (op for op in ops if op.site.component is Component.EMBEDDING):
        for ref in embedding.inputs:
            source = shelves[ref.model]
            if not source.architecture.tied_head and embedding.step is not None:
                raise PlanError(
                    f"the base {recipe.base!r} ties its output head to {embedding.name}, but "
                    f"{ref.model!r} ({source.info.reference}) keeps a head of its own, which "
                    f"would be lost. Leave the embedding out ('!embedding'), or use a base with an "
                    f"untied head."
                )
        for head in heads:
            same = (head.kind, head.step is None) == (embedding.kind, embedding.step is None)
            models = [ref.model for ref in head.inputs] == [ref.model for ref in embedding.inputs]
            if not (same and models and dict(head.parameters) == dict(embedding.parameters)):
                raise PlanError(
                    f"{recipe.base!r} ties {head.name} to {embedding.name}: a change to one "
                    f"must be a change to both. Select 'embedding, head' in one step, or neither."
                )


def _conserve(
    ops: tuple[TensorOp, ...], shelves: Mapping[str, Shelf], base: Shelf
) -> dict[str, Conservation]:
    """Sort every input tensor into used, replaced, unused or absent."""
    used = {(ref.model, ref.tensor) for op in ops for ref in op.inputs}
    base_sites = set(base.architecture.sites.values())
    result = {}
    for name, shelf in shelves.items():
        sorted_names: dict[str, list[str]] = {key: [] for key in ("used", "left", "absent")}
        for tensor in shelf.info.tensors:
            site = shelf.architecture.sites[tensor]
            at = "used" if (name, tensor) in used else "left" if site in base_sites else "absent"
            sorted_names[at].append(tensor)
        left = tuple(sorted_names["left"])
        result[name] = Conservation(
            used=tuple(sorted_names["used"]),
            replaced=left if shelf is base else (),
            unused=() if shelf is base else left,
            absent=tuple(sorted_names["absent"]),
        )
    return result


def _notes(ops: tuple[TensorOp, ...], shelves: Mapping[str, Shelf]) -> tuple[str, ...]:
    """What a person should know before running this."""
    notes = [
        f"{shelf.name}: {guess}"
        for shelf in shelves.values()
        for guess in shelf.architecture.guessed
    ]
    casts = [op for op in ops if op.kind is Kind.CAST and op.step is not None]
    if casts:
        notes.append(
            f"{len(casts)} transplanted tensors change element type to {casts[0].dtype.torch_name} "
            f"(first: {casts[0].name}), so they are rounded, not bit-identical."
        )
    idle = [
        name for name in shelves if not any(ref.model == name for op in ops for ref in op.inputs)
    ]
    notes += [f"model {name!r} is named but no tensor of it is used." for name in idle]
    return tuple(notes)
