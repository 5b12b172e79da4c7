"""The smaller Gram matrix of a matrix, in float64, without a float64 copy of the matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

SLAB_BYTES = 32 << 20
"""Size of the float64 piece of the matrix that is held at a time."""

_ROWS = 4
"""Block rows of the lower triangle: 10/16 of the products of the whole square."""

_LARGEST_EXPONENT = 1000


@dataclass(frozen=True)
class Gram:
    """B B^T, where B is the matrix or its transpose, whichever is not taller than wide.

    Attributes:
        shape: (m, n) of the matrix.
        wide: B: `Float[Tensor, "p q"]`, p <= q, a view of the matrix.
        scale: Power of two that B is multiplied by, so that its largest entry is in [1/2, 1).
        square: `Float[Tensor, "p p"]`, float64: (scale B)(scale B)^T, both triangles.
    """

    shape: tuple[int, int]
    wide: Tensor
    scale: float
    square: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> Gram:
        """Compute it, from a matrix `Float[Tensor, "m n"]` of finite numbers, m, n >= 1."""
        rows, columns = matrix.shape
        wide = matrix if rows <= columns else matrix.T
        scale = _scale(matrix)
        square = torch.zeros(len(wide), len(wide), dtype=torch.float64, device=wide.device)
        for _, slab in _slabs(wide, scale):
            for start, stop in block_rows(len(wide)):
                square[start:stop, :stop].addmm_(slab[start:stop], slab[:stop].T)
        for start, stop in block_rows(len(wide)):
            square[:start, start:stop] = square[start:stop, :start].T
        return cls((rows, columns), wide, scale, square)

    def across(self, left: Tensor) -> Tensor:
        """(scale B)^T times `left`, in float64.

        Args:
            left: `Float[Tensor, "p k"]`, float64.

        Returns:
            `Float[Tensor, "q k"]`, float64.
        """
        product = left.new_empty(self.wide.shape[1], left.shape[1])
        for start, slab in _slabs(self.wide, self.scale):
            torch.mm(slab.T, left, out=product[start : start + slab.shape[1]])
        return product


def block_rows(size: int) -> list[tuple[int, int]]:
    """Cut `size` rows into a few blocks; a small matrix is one block."""
    step = size if size < 256 else -(-size // _ROWS)
    return [(start, min(size, start + step)) for start in range(0, size, step)]


def slab_width(rows: int) -> int:
    """Columns of a slab with this many rows."""
    return max(64, SLAB_BYTES // (8 * rows))


def _slabs(wide: Tensor, scale: float) -> Iterator[tuple[int, Tensor]]:
    """Blocks of columns in float64, one after the other in the same memory."""
    width = min(wide.shape[1], slab_width(len(wide)))
    buffer = torch.empty(len(wide) * width, dtype=torch.float64, device=wide.device)
    for start in range(0, wide.shape[1], width):
        part = wide[:, start : start + width]
        chunk = buffer[: part.numel()]
        # In the order of the source, so that the copy reads and writes straight on.
        slab = chunk.view(part.T.shape).T if wide.stride(0) == 1 else chunk.view(part.shape)
        yield start, slab.copy_(part).mul_(scale)


def _scale(matrix: Tensor) -> float:
    """Return a power of two that scales without rounding; squares neither under- nor overflow."""
    low, high = torch.aminmax(matrix)
    exponent = math.frexp(max(-float(low), float(high)))[1]
    return math.ldexp(1.0, -max(-_LARGEST_EXPONENT, min(_LARGEST_EXPONENT, exponent)))
