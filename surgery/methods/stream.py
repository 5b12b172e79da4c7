"""Elementwise methods on blocks of a tensor, in float32, with every buffer reused.

A block is small enough to stay in a core's cache together with its float32 copies, so a method
costs one trip through memory however many steps it takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

PARALLEL = 0.9995
"""Cosine beyond which two tensors count as parallel and slerp becomes linear, as in mergekit."""

_TINY = 1e-8
"""Norm below which a tensor counts as zero in slerp, as in mergekit."""


def linear_(x: Tensor, y: Tensor, t: float) -> Tensor:
    """Overwrite `x` with (1 - t) x + t y.

    Args:
        x: `Float[Tensor, "n"]`, overwritten.
        y: `Float[Tensor, "n"]`.
        t: Share of `y`.

    Returns:
        `x`.
    """
    return combine_(x, y, (1 - t, t))


def add_(x: Tensor, plus: Tensor, minus: Tensor, weight: float) -> Tensor:
    """Overwrite `x` with x + weight (plus - minus); arXiv 2212.04089, section 2.

    Args:
        x: `Float[Tensor, "n"]`, overwritten.
        plus: `Float[Tensor, "n"]`, overwritten.
        minus: `Float[Tensor, "n"]`.
        weight: The task vector's weight.

    Returns:
        `x`.
    """
    return x.add_(plus.sub_(minus), alpha=weight)


def combine_(x: Tensor, y: Tensor, weights: tuple[float, float]) -> Tensor:
    """Overwrite `x` with weights[0] x + weights[1] y.

    Args:
        x: `Float[Tensor, "n"]`, overwritten.
        y: `Float[Tensor, "n"]`.
        weights: One for each.

    Returns:
        `x`.
    """
    return x.mul_(weights[0]).add_(y, alpha=weights[1])


@dataclass
class Angle:
    """The angle between two tensors, gathered block by block in float64."""

    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    def see(self, x: Tensor, y: Tensor) -> None:
        """Take in one block of each: `Float[Tensor, "n"]`."""
        self.xx += torch.dot(x, x).item()
        self.yy += torch.dot(y, y).item()
        self.xy += torch.dot(x, y).item()

    @property
    def cosine(self) -> float:
        """Cosine of the angle; 0 where a tensor is zero."""
        norms = math.sqrt(self.xx) * math.sqrt(self.yy)
        if math.sqrt(self.xx) <= _TINY or math.sqrt(self.yy) <= _TINY:
            return 0.0
        return max(-1.0, min(1.0, self.xy / norms))

    def weights(self, t: float) -> tuple[float, float]:
        """Return the two factors of spherical interpolation (Shoemake 1985, eq. for Slerp).

        sin((1 - t) a) / sin(a) and sin(t a) / sin(a), with a the angle between the flattened
        tensors; 1 - t and t where these are parallel or opposite.
        """
        cosine = self.cosine
        if abs(cosine) > PARALLEL:
            return 1 - t, t
        angle = math.acos(cosine)
        return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def working_dtype(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    """Return the element type to compute in: float64 if an input has it, else float32."""
    return torch.float64 if torch.float64 in dtypes else torch.float32
