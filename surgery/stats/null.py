"""Nulls: the measures of a random delta of the same shape and norm, with Gaussian elements.

Singular values of a p x q Gaussian matrix (p <= q) follow the Marchenko-Pastur law (Marchenko &
Pastur 1967; Bai & Silverstein 2010, eq. 3.1.1), between sqrt(q) - sqrt(p) and sqrt(q) + sqrt(p).
Its quantiles at (i - 1/2) / p stand for the ordered values. The law says too little of the two
ends: there the expectation of the Tracy-Widom law is used (Johnstone 2001, theorem 1.1; Feldheim &
Sodin 2010 for the smallest value). The smallest value of a nearly square matrix obeys a law of its
own with a heavy tail (Edelman 1988), so the null of a condition number is a median, and where there
is no closed form it is simulated. So is everything about matrices with fewer than 32 rows or
columns, as a mean.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.linalg import eigh_tridiagonal

from surgery.stats.spectrum import value_metrics

_TINY = 32
"""Smaller dimension below which the laws for large matrices are off by more than 1%."""

_NEARLY_SQUARE = 16
"""q - p from which on the smallest value has a Tracy-Widom law, to 2%."""

_MEAN = -1.2065335745820
"""Expectation of the Tracy-Widom law for real matrices (Bornemann 2010)."""

_GRID = 1 << 16
_DRAWS = 2001
_EDGE_SIZE = 128

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def random_delta(shape: tuple[int, int], norm: float, k: int) -> dict[str, float]:
    """Return the `random_*` columns of `tensors.csv`.

    Args:
        shape: (m, n).
        norm: Frobenius norm of the delta.
        k: How many values count as the top.

    Returns:
        Expectations (the median for the condition number) of what `delta_metrics` would say of a
        Gaussian random matrix of this shape, scaled to this norm; right to about 3%.
    """
    if not norm:
        metrics = value_metrics(np.zeros(1), k, 0.0, complete=True, resolved=0)
    else:
        metrics = dict(_of_unit_norm(min(shape), max(shape), k))
        metrics["spectral_norm"] *= norm
        metrics["nuclear_norm"] *= norm
        metrics["log_volume"] += min(k, *shape) * math.log(norm)
    return {f"random_{name}": value for name, value in metrics.items()}


@lru_cache(maxsize=1024)
def _of_unit_norm(small: int, large: int, k: int) -> dict[str, float]:
    if small < _TINY:
        return _simulated(small, large, k)
    values = expected_values(small, large)
    return value_metrics(values / np.linalg.norm(values), k, 1.0, complete=True, resolved=small)


def expected_values(small: int, large: int) -> Array:
    """Return expected singular values of a Gaussian matrix with variance 1, descending.

    Args:
        small: Its smaller dimension, at least 32.
        large: Its larger dimension.
    """
    ratio = small / large
    # Squares of values are large * (1 + ratio + 2 sqrt(ratio) cos(angle)); in the angle the density
    # has no singularity for any shape.
    angles = (np.arange(_GRID) + 0.5) * (math.pi / _GRID)
    density = np.sin(angles) ** 2 / (1 + ratio + 2 * math.sqrt(ratio) * np.cos(angles))
    below = np.cumsum(density) - density / 2
    shares = (np.arange(small) + 0.5) / small
    nodes = np.interp(shares, below / density.sum(), angles)
    values = np.sqrt(large * (1 + ratio + 2 * math.sqrt(ratio) * np.cos(nodes)))
    values[0] = _largest(small, large)
    values[-1] = _smallest(small, large)
    singular_values: Array = values
    return singular_values


def _largest(small: int, large: int) -> float:
    """Root of the expected largest eigenvalue (Johnstone 2001, theorem 1.1)."""
    p, q = math.sqrt(small), math.sqrt(large - 1)
    return math.sqrt((q + p) ** 2 + _MEAN * (q + p) * (1 / q + 1 / p) ** (1 / 3))


def _smallest(small: int, large: int) -> float:
    if large - small >= _NEARLY_SQUARE:
        p, q = math.sqrt(small), math.sqrt(large)
        return math.sqrt((q - p) ** 2 - _MEAN * (q - p) * (1 / p - 1 / q) ** (1 / 3))
    if large == small:  # the median of P(sqrt(p) s > x) = exp(-x^2 / 2 - x) (Edelman 1988)
        return (math.sqrt(1 + 2 * math.log(2)) - 1) / math.sqrt(small)
    # Near 0 only the difference of the dimensions matters, up to a scale (the hard edge, Forrester
    # 1993), so a smaller matrix with the same difference tells.
    size, excess = min(small, _EDGE_SIZE), large - small
    return _median_smallest(size, excess) * math.sqrt((2 * size + excess) / (2 * small + excess))


@lru_cache(maxsize=64)
def _median_smallest(small: int, excess: int) -> float:
    """Median over draws of the smallest singular value of a `small` x (`small` + `excess`) matrix.

    The values of a bidiagonal matrix B are eigenvalues of the tridiagonal one with a zero diagonal
    and B's entries in turn next to it (Golub & Kahan 1965, section 3).
    """
    diagonal, beside = _bidiagonal(small, small + excess, _DRAWS)
    between = np.empty((_DRAWS, 2 * small - 1))
    between[:, ::2], between[:, 1::2] = diagonal, beside
    zeros, least = np.zeros(2 * small), (small, small)
    smallest = [
        eigh_tridiagonal(zeros, row, eigvals_only=True, select="i", select_range=least)[0]
        for row in between
    ]
    return float(np.median(smallest))


def _simulated(small: int, large: int, k: int) -> dict[str, float]:
    diagonal, beside = _bidiagonal(small, large, _DRAWS)
    matrices = np.zeros((_DRAWS, small, small))
    index = np.arange(small)
    matrices[:, index, index], matrices[:, index[1:], index[:-1]] = diagonal, beside
    values = np.linalg.svd(matrices, compute_uv=False)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    draws = [value_metrics(row, k, 1.0, complete=True, resolved=small) for row in values]
    means = {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}
    means["condition_number"] = float(np.median(values[:, 0] / values[:, -1]))
    return means


def _bidiagonal(small: int, large: int, draws: int) -> tuple[Array, Array]:
    """Return diagonal and subdiagonal of bidiagonal matrices with Gaussian singular values.

    Independent chi variables with `large`, `large` - 1, ... and `small` - 1, ... 1 degrees of
    freedom (Silverstein 1985; Dumitriu & Edelman 2002, theorem 3.1 with beta = 1).
    """
    generator = np.random.default_rng((small, large))
    diagonal = generator.chisquare(large - np.arange(small), (draws, small))
    beside = generator.chisquare(small - 1 - np.arange(small - 1), (draws, small - 1))
    return np.sqrt(diagonal), np.sqrt(beside)
