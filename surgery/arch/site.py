"""The site of a tensor in a model, independent of a library version's names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Component(StrEnum):
    """The parts a vision-language model is made of."""

    VISION = "vision"
    PROJECTOR = "projector"
    EMBEDDING = "embedding"
    LANGUAGE = "language"
    NORM = "norm"
    HEAD = "head"
    OTHER = "other"


class Module(StrEnum):
    """The kinds of block inside a component."""

    ATTENTION = "attention"
    MLP = "mlp"
    MIXER = "mixer"
    NORM = "norm"
    EMBEDDING = "embedding"
    OTHER = "other"


@dataclass(frozen=True, order=True, slots=True)
class Site:
    """One tensor's place in the model.

    Attributes:
        component: Which part of the model.
        layer: Index in the component's stack of layers, or None outside it.
        module: Which kind of block.
        leaf: What is left of the name inside that block, for example `q_proj.weight`.
    """

    component: Component
    layer: int | None
    module: Module
    leaf: str

    @property
    def canonical(self) -> str:
        """The one spelling of it, for example `language.layers.3.attention.q_proj.weight`."""
        stack = [] if self.layer is None else ["layers", str(self.layer)]
        return ".".join([self.component, *stack, self.module, self.leaf])


@dataclass(frozen=True)
class Architecture:
    """A checkpoint's tensors, each at its site.

    Attributes:
        family: The row of the family table that was used, or `unknown`.
        sites: Tensor name as the checkpoint spells it, to site. One to one.
        layers: Number of layers of each component that has a stack.
        tied_head: Whether the configuration ties the output head to the input embedding.
        guessed: Sentences that say what was guessed; empty for a known family.
    """

    family: str
    sites: Mapping[str, Site]
    layers: Mapping[Component, int]
    tied_head: bool
    guessed: tuple[str, ...] = ()

    def names(self) -> dict[Site, str]:
        """Sites to the names this checkpoint uses for them."""
        return {site: name for name, site in self.sites.items()}
