"""The share of a gain that a variant has."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Final

import numpy as np

from eval.statistics.intervals import difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Recovery:
    """(variant - base) / (donor - base).

    Attributes:
        gain: donor - base.
        share: The ratio; nan where it is not estimable.
        low: Lower end of its 95% bootstrap interval.
        high: Upper end.
        reason: Why it is not estimable; "" when it is.
    """

    gain: float
    share: float
    low: float
    high: float
    reason: str = ""


def recovery(
    variant: ArrayLike,
    base: ArrayLike,
    donor: ArrayLike,
    clusters: Sequence[str],
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> Recovery:
    """Return the share of the donor's gain that a variant has, on identical samples.

    The interval is the percentile bootstrap over whole clusters (Davison and Hinkley 1997, section
    3.8), all three resampled together. Two made-up samples are drawn from, too: on one the variant
    does better, on the other worse. Without them a variant that says just what the donor says would
    have an interval of no width, however few the samples. Bonett and Price (2012) add the same two
    to a paired difference.

    Args:
        variant: Outcomes in [0, 1]; shape (n,).
        base: Of where the gain starts.
        donor: Of where it ends.
        clusters: What each sample shares with others.
        draws: Bootstrap draws.
        seed: Of the generator.

    Returns:
        Not estimable where the interval of donor - base holds 0: the ratio would be noise.
    """
    its, low, high = (np.asarray(values, np.float64) for values in (variant, base, donor))
    gain = difference(high, low, clusters)
    if gain.low <= 0 <= gain.high:
        return Recovery(gain.value, nan, nan, nan, "the donor's gain is not distinguishable from 0")
    number: dict[str, int] = {}
    groups = [number.setdefault(name, len(number)) for name in clusters]
    parts = np.stack(
        [np.bincount(groups, weights=its - low), np.bincount(groups, weights=high - low)], axis=1
    )
    top, bottom = parts.sum(axis=0)
    share = float(top / bottom)
    parts = np.vstack([parts, [[1.0, 0.0], [-1.0, 0.0]]])
    count = len(parts)
    generator = np.random.default_rng(seed)
    ratios = []
    for start in range(0, draws, _AT_ONCE):
        size = min(_AT_ONCE, draws - start)
        times = generator.multinomial(count, np.full(count, 1 / count), size)
        top, bottom = (times @ parts).T
        ratios.append(np.divide(top, bottom, out=np.full(size, np.inf), where=bottom != 0))
    ends = np.quantile(np.concatenate(ratios), [0.025, 0.975], method="nearest")
    return Recovery(gain.value, share, float(ends[0]), float(ends[1]))
