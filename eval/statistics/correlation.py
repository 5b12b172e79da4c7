"""Rank correlation of two quantities."""

from __future__ import annotations

from dataclasses import dataclass
from math import atanh, inf, nan, sqrt, tanh
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_Z: Final = float(stats.norm.ppf(0.975))
FEWEST: Final = 4
"""Below this many points nothing is known of the spread."""


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its 95% interval.

    Attributes:
        value: Spearman's coefficient.
        low: Lower end.
        high: Upper end.
        p: Two-sided p of no correlation, by Student's t.
        n: Points.
    """

    value: float
    low: float
    high: float
    p: float
    n: int


def rank_correlation(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Spearman's rank correlation with its 95% interval.

    The interval is Fisher's, with the variance (1 + r^2 / 2) / (n - 3) that Bonett and Wright
    (2000, Psychometrika 65:23) give for ranks. It takes the points for independent.

    Args:
        x: Shape (n,).
        y: The same shape; points of which one is NaN do not count.

    Returns:
        nan where one of the two is constant, or there are fewer than `FEWEST` points.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < FEWEST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(nan, -1.0, 1.0, nan, len(a))
    correlation = stats.spearmanr(a, b)
    value = min(1.0, max(-1.0, float(correlation.statistic)))
    centre = inf if value == 1 else -inf if value == -1 else atanh(value)
    half = _Z * sqrt((1 + value**2 / 2) / (len(a) - 3))
    low, high = tanh(centre - half), tanh(centre + half)
    return Correlation(value, low, high, float(correlation.pvalue), len(a))
