"""95% intervals of proportions, means and paired differences, with clusters where there are any.

Samples that share an image or a source are not independent. The variance is then that of cluster
totals (the linearised, or sandwich, variance of a ratio mean; Cochran, Sampling Techniques, 1977,
section 11), and counts are shrunk to the effective sample size that it implies (Korn and Graubard,
1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtri, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_TAIL: Final = 0.975
_Z: Final = float(ndtri(_TAIL))


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def wilson(successes: float, n: float, quantile: float = _Z) -> Interval:
    """Return the score interval of a proportion (Wilson 1927, JASA 22:209).

    Args:
        successes: How many of n.
        n: May be an effective sample size, not a whole number.
        quantile: How many standard errors to either side.
    """
    if n <= 0:
        return Interval(nan, 0.0, 1.0)
    value, square = successes / n, quantile**2
    centre = (value + square / (2 * n)) / (1 + square / n)
    half = quantile * sqrt(value * (1 - value) / n + square / (4 * n**2)) / (1 + square / n)
    return _within(value, centre - half, centre + half, 0.0, 1.0)


def proportion(outcomes: ArrayLike, clusters: Sequence[str]) -> Interval:
    """Return Wilson's interval of the mean, at the effective sample size of clustered outcomes.

    Args:
        outcomes: Shape (n,), each in [0, 1].
        clusters: What each shares with others.
    """
    x = np.asarray(outcomes, np.float64)
    n, value = len(x), float(x.mean())
    groups = _numbered(clusters)
    count = int(groups.max()) + 1
    if count == n:
        return wilson(value * n, n)
    if count == 1:
        return Interval(value, 0.0, 1.0)
    spread = _variance(x, groups)
    effective = min(n, value * (1 - value) / spread) if spread > 0 else count
    return wilson(value * effective, effective, _t(count))


def mean(values: ArrayLike, clusters: Sequence[str]) -> Interval:
    """Student's interval of a mean, its variance that of clusters.

    Args:
        values: Shape (n,).
        clusters: What each shares with others; with one cluster nothing is known of the spread.
    """
    x = np.asarray(values, np.float64)
    value = float(x.mean())
    groups = _numbered(clusters)
    count = int(groups.max()) + 1
    if count == 1:
        return Interval(value, nan, nan)
    half = _t(count) * sqrt(_variance(x, groups))
    return Interval(value, value - half, value + half)


def difference(a: ArrayLike, b: ArrayLike, clusters: Sequence[str]) -> Interval:
    """Return the mean of a - b, with the paired interval of Bonett and Price (2012, JEBS 37:479).

    Their adjusted Wald interval adds one to both discordant counts; clusters shrink the counts.

    Args:
        a: Outcomes in [0, 1] of one variant; shape (n,).
        b: Of another, on the same samples.
        clusters: What each sample shares with others.
    """
    d = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    n, value = len(d), float(d.mean())
    groups = _numbered(clusters)
    count = int(groups.max()) + 1
    if count == 1 < n:
        return Interval(value, -1.0, 1.0)
    effective, quantile = float(n), _Z
    if count < n:
        quantile = _t(count)
        single, together = float(d.var()) / n, _variance(d, groups)
        if single == 0:  # all equal: no variance to compare clusters by
            effective = count
        elif together > 0:
            effective = min(n, n * single / together)
    scale = effective / n
    better, worse = float(d[d > 0].sum()) * scale, -float(d[d < 0].sum()) * scale
    up, down = (better + 1) / (effective + 2), (worse + 1) / (effective + 2)
    half = quantile * sqrt((up + down - (up - down) ** 2) / (effective + 2))
    return _within(value, up - down - half, up - down + half, -1.0, 1.0)


def _within(value: float, low: float, high: float, least: float, most: float) -> Interval:
    """Return an interval clipped to the possible range, with the estimate inside."""
    return Interval(value, max(least, min(low, value)), min(most, max(high, value)))


def _numbered(clusters: Sequence[str]) -> NDArray[np.int64]:
    number: dict[str, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in clusters], np.int64)


def _variance(x: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """Variance of the mean of x, from the totals of clusters."""
    totals = np.bincount(groups, weights=x - x.mean())
    count = len(totals)
    return float(count / (count - 1) * np.square(totals).sum() / len(x) ** 2)


def _t(clusters: int) -> float:
    return float(stdtrit(clusters - 1, _TAIL))
