"""The decoder layers of a loaded transformers model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from surgery.arch import resolve
from surgery.arch.modules import decoder_modules

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Decoder:
    """Modules of every decoder layer, in order.

    Attributes:
        layers: Whole layers.
        attention: Their attention blocks.
        mlp: Their MLPs.
        keys: Projections to keys; None in a layer that has none, as with linear attention.
        values: Projections to values.
    """

    layers: tuple[nn.Module, ...]
    attention: tuple[nn.Module, ...]
    mlp: tuple[nn.Module, ...]
    keys: tuple[nn.Module | None, ...]
    values: tuple[nn.Module | None, ...]

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """Find them by the sites of the model's tensors.

        Args:
            model: A transformers model.

        Raises:
            ArchitectureError: If a layer's attention or MLP is not to be found.
        """
        architecture = resolve(model.config.to_dict(), model.state_dict())  # type: ignore[operator, union-attr]
        modules = decoder_modules(architecture)

        def part(name: str | None) -> nn.Module | None:
            return None if name is None else model.get_submodule(name)

        return cls(
            layers=tuple(model.get_submodule(names.layer) for names in modules),
            attention=tuple(model.get_submodule(names.attention) for names in modules),
            mlp=tuple(model.get_submodule(names.mlp) for names in modules),
            keys=tuple(part(names.keys) for names in modules),
            values=tuple(part(names.values) for names in modules),
        )
