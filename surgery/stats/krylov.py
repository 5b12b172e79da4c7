"""The largest singular values and their vectors by randomized block Krylov iteration.

Musco & Musco 2015 (arXiv 1504.05477, algorithm 2), on the smaller Gram matrix G rather than on A:
G costs fewer than p^2 q multiplications once, after which a column of the Krylov space costs p^2
instead of the 2 p q of one through A. The spectrum of a trained model's delta has a nearly flat
tail, where it takes hundreds of columns, so that G pays for itself; and it is exact enough that the
values are as good as those of `full`.

Narrow blocks need fewer columns in all (Meyer, Musco & Musco 2024, arXiv 2305.02535), but a block
of b columns can miss copies of a value that more than b directions share. Where b of the values
found lie very close together, the direct way is taken instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from surgery.stats.gram import Gram
from surgery.stats.spectrum import ACCURACY, Decomposition, decompose, from_eigenpairs, noise_floor

if TYPE_CHECKING:
    from torch import Tensor

_ALWAYS_FULL = 512
"""Smaller dimension up to which all eigenvalues cost less than the iteration."""

_CROWDED = 1e-3
"""Relative width of a cluster of values in which the iteration may have missed some."""

_BROKEN_DOWN = 1e-14
"""A next block this small relative to G: the space is invariant, and nothing is left to find."""


def top(matrix: Tensor, k: int, seed: int = 0) -> Decomposition:
    """Return the k largest singular values and their vectors.

    Takes the direct way where that is cheaper, for small matrices and for k beyond a quarter of
    the smaller dimension; the spectrum is then complete.

    Args:
        matrix: `Float[Tensor, "m n"]`, float32 or float64, finite, m, n >= 1.
        k: How many, >= 1.
        seed: Of the random block that the iteration starts from.
    """
    gram = Gram.of(matrix)
    if len(gram.square) <= smallest_iterated(k):
        return decompose(gram, k)
    return _iterate(gram, k, seed) or decompose(gram, k)


def smallest_iterated(k: int) -> int:
    """Smaller dimension up to which the direct method is used."""
    return max(_ALWAYS_FULL, 4 * k)


def _iterate(gram: Gram, k: int, seed: int) -> Decomposition | None:
    """Return the spectrum, or None if the direct method is faster."""
    krylov = _Krylov(gram.square, block_width(k), seed)
    # Beyond half of the space the direct way is cheaper, and it cannot fail.
    while 2 * (krylov.columns + krylov.width) <= len(gram.square):
        krylov.step()
        if krylov.has_found(k, noise_floor(gram.shape)):
            decomposition = _spectrum(gram, krylov, k)
            return None if _crowded(decomposition, krylov.width) else decomposition
    return None


def block_width(k: int) -> int:
    """Columns per block."""
    return max(16, k // 4)


def _crowded(decomposition: Decomposition, width: int) -> bool:
    """Check whether a block's worth of resolved values are so close that others may be missed."""
    values = decomposition.values[: decomposition.resolved]
    last = values[width - 1 :]
    return bool((last >= values[: len(last)] * (1 - _CROWDED)).any())


def _spectrum(gram: Gram, krylov: _Krylov, k: int) -> Decomposition:
    squares, basis = krylov.ritz_vectors(k)
    missed = torch.linalg.vector_norm(gram.square @ basis - basis * squares, dim=0)
    tiny = torch.finfo(torch.float64).tiny
    return from_eigenpairs(gram, squares, basis, missed / squares.clamp(min=tiny).sqrt())


class _Krylov:
    """An orthonormal basis of the block Krylov space of a symmetric matrix, grown by blocks.

    Args:
        square: `Float[Tensor, "p p"]`, symmetric, float64.
        width: Columns per block.
        seed: Of the first block.
    """

    def __init__(self, square: Tensor, width: int, seed: int) -> None:
        self.square = square
        self.width = width
        self.columns = 0
        capacity = len(square) // 2 + width  # as far as `_iterate` goes, and the next block
        # One row per basis vector, so that memory is touched only as the basis grows.
        self._basis = square.new_empty(capacity, len(square))
        self._projected = square.new_zeros(capacity, capacity)
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(len(square), width, generator=generator, dtype=torch.float64)
        self._basis[:width] = torch.linalg.qr(start.to(square.device)).Q.T
        self._coupling = square.new_zeros(width, width)
        self._next_look = 0

    def step(self) -> None:
        """Apply G to the newest block; new directions become the next block."""
        size = self.columns + self.width
        basis = self._basis[:size]
        image = basis[self.columns :] @ self.square
        inside = basis @ image.T
        self._projected[:size, self.columns : size] = inside
        self._projected[self.columns : size, :size] = inside.T
        image -= inside.T @ basis
        self._coupling = torch.eye(self.width, dtype=image.dtype, device=image.device)
        # Thrice: where the space is nearly invariant, what the first pass leaves is rounding noise
        # and what its QR makes of that need not be orthogonal to the basis at all.
        for _ in range(3):
            image -= (image @ basis.T) @ basis
            q, r = torch.linalg.qr(image.T)
            image, self._coupling = q.T.contiguous(), r @ self._coupling
        self._basis[size : size + self.width] = image
        self.columns = size

    def has_found(self, k: int, floor: float) -> bool:
        """Check whether the k largest eigenvalues converged; each check costs an eigh.

        An eigenvalue lies within the norm of its residual of every Ritz value (Parlett 1998,
        theorem 4.5.1); for a well-separated value the error is about the square of that.

        Args:
            k: How many.
            floor: Singular values below this share of the largest need not stand.
        """
        size = float(self._coupling.norm())
        largest = float(self._projected.diagonal().max())
        broken_down = size <= _BROKEN_DOWN * largest
        if self.columns < self._next_look and not broken_down:
            return False
        self._next_look = int(1.1 * self.columns)
        squares, ritz = self._ritz()
        if len(squares) <= k:
            return False
        residuals = (self._coupling @ ritz[-self.width :, :k]).norm(dim=0)
        allowed = ACCURACY * squares[:k].clamp(min=floor**2 * float(squares[0]))
        return broken_down or bool((residuals <= allowed).all())

    def ritz_vectors(self, k: int) -> tuple[Tensor, Tensor]:
        """Return the k largest Ritz values (`Float[Tensor, "k"]`) and vectors ("p k")."""
        squares, ritz = self._ritz()
        return squares[:k], self._basis[: self.columns].T @ ritz[:, :k]

    def _ritz(self) -> tuple[Tensor, Tensor]:
        squares, ritz = torch.linalg.eigh(self._projected[: self.columns, : self.columns])
        return squares.flip(0), ritz.flip(1)
