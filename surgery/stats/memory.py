"""Estimates of the memory of a spectrum, from shapes alone."""

from __future__ import annotations

from surgery.stats.gram import slab_width
from surgery.stats.krylov import block_width, smallest_iterated

_WORKSPACE = 16 << 20
"""Memory that BLAS and LAPACK allocate per thread."""


def projected_bytes(shape: tuple[int, int], kind: str, k: int, threads: int = 1) -> int:
    """Return the maximum memory of `full` or `top` beyond the matrix.

    With p the smaller dimension: the Gram matrix is p^2 numbers of 8 bytes. Its eigenvalues take a
    copy of it, with eigenvectors the copy and 2 p^2 more (LAPACK's syevd). `top` holds up to p/2
    basis vectors, and may yet need what `full` does if they are not enough, with some of theirs
    still in the allocator's hands.

    Args:
        shape: (m, n).
        kind: `full`, `values` (`full` without vectors), or `top`.
        k: Number of vectors.
        threads: Of BLAS.

    Returns:
        Bytes.
    """
    small, large = min(shape), max(shape)
    square = 8 * small * small
    slab = 8 * small * min(large, slab_width(small))
    count = min(k, small) if kind != "values" else 0
    sides = 8 * count * (2 * small + 3 * large)
    solved = {"values": 2 * square + square // 8, "full": 4 * square, "top": 5 * square}[kind]
    squares = 2 * square
    if kind == "top" and small > smallest_iterated(k):
        columns = small // 2 + block_width(k)
        squares = square + 8 * columns * (small + columns)
    return max(square + slab, solved, squares + slab + sides) + threads * _WORKSPACE
