"""Divide a model's parameters into frozen and trained parameters, by selectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from surgery.arch import resolve
from surgery.errors import RecipeError
from surgery.train.outline import ModelOutline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from surgery.arch.site import Architecture, Component, Site
    from surgery.recipe import Selector


@dataclass(frozen=True)
class FrozenRegion:
    """A model's parameters, divided into frozen and trained parameters.

    Names are `named_parameters()`'s; a tensor that has two (a tied head) stands under the first.

    Attributes:
        frozen: The frozen parameters, in the model's order.
        trained: The others.
        tied: Names of one tensor, for every tensor of which the selectors name one and not the
            other.
        groups: Names of every tensor, those of one tensor together, the first one first.
        architecture: Of the model's `state_dict`.
    """

    frozen: tuple[str, ...]
    trained: tuple[str, ...]
    tied: tuple[tuple[str, ...], ...]
    groups: tuple[tuple[str, ...], ...]
    architecture: Architecture

    @cached_property
    def named(self) -> dict[Site, bool]:
        """Every site in memory, and whether it is trained."""
        learns = frozenset(self.trained)
        sites = self.architecture.sites
        return {sites[name]: group[0] in learns for group in self.groups for name in group}

    @cached_property
    def first(self) -> dict[Site, Site]:
        """Every site in memory to the first of those that are one tensor."""
        sites = self.architecture.sites
        return {sites[name]: sites[group[0]] for group in self.groups for name in group}

    def notes(self) -> list[str]:
        """Return a sentence for every tied tensor that the selectors name in part."""
        frozen = frozenset(self.frozen)
        return [
            f"{' and '.join(self._describe(names))} are one tensor (tied), so "
            f"{'neither learns' if names[0] in frozen else 'both learn'}"
            for names in self.tied
        ]

    def _describe(self, names: Iterable[str]) -> list[str]:
        return [f"{self.architecture.sites[name].component} ({name})" for name in names]


def frozen_region(
    model: Any,
    selectors: Sequence[Selector],
    *,
    inverse: bool = False,
    cuts: Mapping[Component, tuple[int, int]] | None = None,
) -> FrozenRegion:
    """Divide a model's parameters.

    Args:
        model: A transformers model, with weights or on the meta device, or its outline.
        selectors: What is frozen; united.
        inverse: Whether the selectors name what learns, and all else is frozen.
        cuts: Where early, mid and late are cut; thirds where absent.

    Raises:
        RecipeError: If a selector matches nothing, or nothing would be left to learn.
    """
    outline = model if isinstance(model, ModelOutline) else ModelOutline.of(model)
    architecture = resolve(outline.config, outline.tensors)
    names = architecture.names()
    selected = {
        names[site] for selector in selectors for site in selector.match(architecture, cuts)
    }
    named = {group[0]: bool(selected.intersection(group)) for group in outline.groups}
    frozen = tuple(name for name, hit in named.items() if hit is not inverse)
    trained = tuple(name for name, hit in named.items() if hit is inverse)
    if not trained:
        place = selectors[0].terms[0].place if selectors else None
        text = ", ".join(map(str, selectors))
        raise RecipeError(f"'{text}' leaves no parameter to train: all are frozen.", place)
    partly = tuple(
        group for group in outline.groups if 0 < len(selected.intersection(group)) < len(group)
    )
    return FrozenRegion(frozen, trained, partly, outline.groups, architecture)


def freeze(model: Any, region: FrozenRegion) -> None:
    """Let a model's gradients flow to its trained parameters, and to no others."""
    frozen = frozenset(region.frozen)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
