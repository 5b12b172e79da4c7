"""Exact tests on paired samples for a difference of two variants, and their correction."""

from __future__ import annotations

from math import isnan, nan
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_SCALES: Final = range(1, 65)
"""Outcomes are means over repeats, so a small multiple of them is whole."""
_LARGEST: Final = 20_000
"""Total of absolute differences up to which the null distribution is computed exactly."""
_DRAWS: Final = 100_000


def mcnemar(a: ArrayLike, b: ArrayLike, clusters: Sequence[str], seed: int = 0) -> float:
    """Two-sided p of no difference, by sign flips of whole clusters.

    Where every sample stands for itself and outcomes are right or wrong, this is McNemar's exact
    test (McNemar 1947; two-sided binomial on the discordant samples). Clusters are flipped as one,
    and the distribution of the sum is worked out by convolution. Where that would be too large, it
    is drawn from a seeded generator.

    Args:
        a: Outcomes in [0, 1] of one variant; shape (n,).
        b: Of another, on the same samples.
        clusters: What each sample shares with others.
        seed: Of the draws, where they are needed.
    """
    d = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    number: dict[str, int] = {}
    groups = [number.setdefault(name, len(number)) for name in clusters]
    totals = np.asarray(np.bincount(groups, weights=d), np.float64)
    totals = totals[np.abs(totals) > 1e-12]
    if not len(totals):
        return 1.0
    for scale in _SCALES:
        whole = np.rint(totals * scale)
        if np.abs(whole - totals * scale).max() < 1e-9:
            steps = whole.astype(np.int64)
            if np.abs(steps).sum() <= _LARGEST:
                return _exact(steps)
            break
    return _sampled_p(totals, seed)


def _exact(steps: NDArray[np.int64]) -> float:
    """P(|sum of randomly signed steps| >= |their sum|)."""
    reach = int(np.abs(steps).sum())
    mass = np.zeros(2 * reach + 1)
    mass[reach] = 1.0
    for step in np.abs(steps):
        mass = (np.roll(mass, step) + np.roll(mass, -step)) / 2  # never wraps: reach is the most
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(steps.sum()))
    return float(min(1.0, mass[far].sum()))


def _sampled_p(totals: NDArray[np.float64], seed: int) -> float:
    """Return p by sampling; the observed signs count as one draw (Phipson and Smyth 2010)."""
    generator = np.random.default_rng(seed)
    observed = abs(float(totals.sum())) * (1 - 1e-12)
    hits = 0
    for start in range(0, _DRAWS, 1000):
        signs = generator.integers(0, 2, (min(1000, _DRAWS - start), len(totals))) * 2 - 1
        hits += int((np.abs(signs @ totals) >= observed).sum())
    return (hits + 1) / (_DRAWS + 1)


def holm(values: Sequence[float]) -> list[float]:
    """P values corrected for being many (Holm 1979, Scandinavian Journal of Statistics 6:65).

    Args:
        values: nan stays nan and does not count.
    """
    order = sorted((i for i, p in enumerate(values) if not isnan(p)), key=lambda i: values[i])
    corrected = [nan] * len(values)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * values[index]))
        corrected[index] = worst
    return corrected
