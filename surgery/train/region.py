"""Which parameters of a loaded model learn and which stand still, by selectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from surgery.arch import resolve
from surgery.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from surgery.arch.site import Architecture, Component, Site
    from surgery.recipe import Selector


@dataclass(frozen=True)
class Region:
    """A model's parameters in two parts.

    Names are `named_parameters()`'s; a tensor that has two (a tied head) stands under the first.

    Attributes:
        frozen: What stands still, in the model's order.
        trained: What learns.
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
        """Every site in memory, and whether what stands there learns."""
        learns = frozenset(self.trained)
        sites = self.architecture.sites
        return {sites[name]: group[0] in learns for group in self.groups for name in group}

    @cached_property
    def first(self) -> dict[Site, Site]:
        """Every site in memory to the first of those that are one tensor."""
        sites = self.architecture.sites
        return {sites[name]: sites[group[0]] for group in self.groups for name in group}

    def notes(self) -> list[str]:
        """What the selectors moved without naming it, in sentences."""
        still = frozenset(self.frozen)
        return [
            f"{' and '.join(self._told(names))} are one tensor (tied), so "
            f"{'neither learns' if names[0] in still else 'both learn'}"
            for names in self.tied
        ]

    def _told(self, names: Iterable[str]) -> list[str]:
        return [f"{self.architecture.sites[name].component} ({name})" for name in names]


def frozen_region(
    model: Any,
    selectors: Sequence[Selector],
    *,
    inverse: bool = False,
    cuts: Mapping[Component, tuple[int, int]] | None = None,
) -> Region:
    """Divide a model's parameters.

    Args:
        model: A transformers model, with weights or on the meta device.
        selectors: What stands still; united.
        inverse: Whether the selectors name what learns, and all else stands still.
        cuts: Where early, mid and late are cut; thirds where absent.

    Raises:
        RecipeError: If a selector matches nothing, or nothing would be left to learn.
    """
    groups = _groups(model)
    architecture = resolve(model.config.to_dict(), model.state_dict())
    names = architecture.names()
    chosen = {names[site] for selector in selectors for site in selector.match(architecture, cuts)}
    named = {group[0]: bool(chosen.intersection(group)) for group in groups}
    frozen = tuple(name for name, hit in named.items() if hit is not inverse)
    trained = tuple(name for name, hit in named.items() if hit is inverse)
    if not trained:
        place = selectors[0].terms[0].place if selectors else None
        told = ", ".join(map(str, selectors))
        raise RecipeError(f"'{told}' leaves nothing to learn: every parameter is frozen.", place)
    partly = tuple(
        tuple(group) for group in groups if 0 < len(chosen.intersection(group)) < len(group)
    )
    return Region(frozen, trained, partly, tuple(map(tuple, groups)), architecture)


def hold_still(model: Any, region: Region) -> None:
    """Let a model's gradients flow to what learns, and to nothing else."""
    still = frozenset(region.frozen)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in still)


def _groups(model: Any) -> list[list[str]]:
    """Names of every parameter, those of one tensor together."""
    found: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), []).append(name)
    return list(found.values())
