"""Alignment of checkpoints: matching tensors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from surgery.arch import regions, resolve
from surgery.arch.site import Component, Module
from surgery.checkpoint.sites import SiteIndex
from surgery.errors import PlanError, RecipeError
from surgery.plan.experts import check_expert_layouts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from surgery.arch.site import Architecture, Site
    from surgery.checkpoint.source import CheckpointInfo, TensorHeader
    from surgery.recipe.select import Cuts, Selector


@dataclass(frozen=True)
class Piece:
    """The subject of one row: a tensor, or one expert of a stack of experts.

    Attributes:
        name: Canonical name; `[e]` behind it for expert e of a stack.
        site: Its place.
        shape: Lengths of its axes.
        index: Which expert of the stored tensor, or None for all of it.
        headers: The stored tensor in each model that has it, by the model's name.
    """

    name: str
    site: Site
    shape: tuple[int, ...]
    index: int | None
    headers: Mapping[str, TensorHeader]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes to read, of all models together."""
        return sum(self.numel * header.dtype.size for header in self.headers.values())

    @property
    def matrix(self) -> tuple[int, int] | None:
        """Rows and columns for a spectrum: the first axis by all others; None for vectors."""
        if len(self.shape) < 2 or not self.numel:
            return None
        return self.shape[0], self.numel // self.shape[0]


@dataclass(frozen=True)
class Alignment:
    """Checkpoints, tensor by tensor.

    Attributes:
        pieces: What can be compared, from the picture to the answer.
        architectures: Sites of each model, by name.
        unmatched: Sentences about tensors that could not be compared.
        guessed: Sentences about architectures that were guessed.
    """

    pieces: tuple[Piece, ...]
    architectures: Mapping[str, Architecture]
    unmatched: tuple[str, ...]
    guessed: tuple[str, ...]


def align(
    models: Mapping[str, CheckpointInfo], selector: Selector | None = None, cuts: Cuts | None = None
) -> Alignment:
    """Find for every selected tensor its counterparts in the other checkpoints.

    A tensor that some model lacks, or has in another shape, is compared between those that have
    most common shape; omissions are reported.

    Args:
        models: Headers of the checkpoints, by name.
        selector: Which tensors; all of them when None. It is read against the first model.
        cuts: First layer of mid and of late per component, for the selector's regions.

    Raises:
        PlanError: If layer counts or the layouts of experts differ, or nothing can be compared.
        RecipeError: If the selector matches nothing, or the cuts do not fit the layers.
    """
    architectures = {name: resolve(info.config, info.tensors) for name, info in models.items()}
    _check_layers(models, architectures)
    _check_cuts(cuts or {}, next(iter(architectures.values())))
    indexes = {name: SiteIndex(name, info, architectures[name]) for name, info in models.items()}
    pieces: list[Piece] = []
    unmatched: list[str] = []
    sites = _sites(architectures, selector, cuts)
    first, *others = indexes.values()
    check_expert_layouts(sites, first, others)
    for site in sorted(sites, key=_depth):
        headers, trouble = _headers(site, indexes)
        unmatched += trouble
        if len(headers) > 1:
            pieces += _pieces(site, headers)
    if not pieces:
        models_text = ", ".join(f"{name} ({info.reference})" for name, info in models.items())
        raise PlanError(
            f"{models_text} have no tensor in common that could be compared"
            f"{': ' + unmatched[0] if unmatched else ''}."
        )
    guessed = [f"{name}: {guess}" for name, a in architectures.items() for guess in a.guessed]
    return Alignment(tuple(pieces), architectures, tuple(unmatched), tuple(guessed))


def _sites(
    architectures: Mapping[str, Architecture], selector: Selector | None, cuts: Cuts | None
) -> Sequence[Site]:
    """Return the selected sites; without a selector, those of every model."""
    first = next(iter(architectures.values()))
    if selector is not None:
        return selector.match(first, cuts)
    every = (site for arch in architectures.values() for site in arch.sites.values())
    return tuple(dict.fromkeys(every))


def _depth(site: Site) -> tuple[int, int]:
    """Return the position of a site on the way from image to answer; outside layers first."""
    return list(Component).index(site.component), -1 if site.layer is None else site.layer


def _headers(
    site: Site, indexes: Mapping[str, SiteIndex]
) -> tuple[dict[str, TensorHeader], Iterator[str]]:
    """Return the tensor in each model with the most common shape, and the omitted models."""
    result = {name: index.find(site) for name, index in indexes.items()}
    # The first of the commonest: two models with a larger vocabulary can still be compared.
    shape = Counter(header.shape for header in result.values() if header).most_common(1)[0][0]
    headers = {n: h for n, h in result.items() if h is not None and h.shape == shape}
    trouble = (
        f"{site.canonical} is missing in {name}"
        if header is None
        else f"{site.canonical} is {list(header.shape)} in {name}, not {list(shape)}"
        for name, header in result.items()
        if name not in headers
    )
    return headers, trouble


def _pieces(site: Site, headers: Mapping[str, TensorHeader]) -> Iterator[Piece]:
    """One piece for a tensor, or one for each expert of a stack."""
    shape = next(iter(headers.values())).shape
    if site.module is Module.MLP and site.leaf.startswith("experts.") and len(shape) == 3:
        for index in range(shape[0]):
            yield Piece(f"{site.canonical}[{index}]", site, shape[1:], index, headers)
    else:
        yield Piece(site.canonical, site, shape, None, headers)


def _check_cuts(cuts: Cuts, architecture: Architecture) -> None:
    """Now, not once everything is measured.

    Raises:
        RecipeError: If cuts do not fit the layers, or there are none to cut.
    """
    for component, cut in cuts.items():
        count = architecture.layers.get(component, 0)
        if not count:
            stacks = ", ".join(name for name, layers in architecture.layers.items() if layers)
            raise RecipeError(
                f"cuts are given for {component}, which has no layers in this "
                f"{architecture.family} model. Layers are in: {stacks or 'nothing'}."
            )
        regions(count, cut)


def _check_layers(
    models: Mapping[str, CheckpointInfo], architectures: Mapping[str, Architecture]
) -> None:
    """Layer 5 of 28 is not layer 5 of 36.

    Raises:
        PlanError: If two models have stacks of different height.
    """
    first, *others = architectures
    for component, count in architectures[first].layers.items():
        for name in others:
            layer_count = architectures[name].layers.get(component, count)
            if layer_count != count:
                raise PlanError(
                    f"{component} has {count} layers in {first!r} ({models[first].reference}) but "
                    f"{layer_count} in {name!r} ({models[name].reference}); only checkpoints of "
                    f"one architecture can be compared."
                )
