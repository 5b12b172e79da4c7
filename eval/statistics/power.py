"""Sample sizes for a claim, and detectable differences for a sample size.

The power is that of the test the reports use, McNemar's exact one, summed over the number of
discordant samples. The large-sample formula of Connor (1987, Biometrics 43:207) gives a little
less.

Binomial probabilities come from scipy.special: importing scipy.stats takes longer than all the rest
of a comparison.
"""

from __future__ import annotations

from math import ceil, nan, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import brentq
from scipy.special import bdtr, bdtrc, bdtrik, gammaln, ndtri, xlog1py, xlogy

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALPHA: Final = 0.05
_POWER: Final = 0.8
_SHARES: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_FAR: Final = 9.0  # standard deviations beyond which nothing is summed


def exact_power(n: int, difference: float, discordant: float) -> float:
    """Probability that McNemar's exact test at the two-sided 5% level finds a difference.

    Args:
        n: Paired samples.
        difference: P(only one is right) - P(only the other is right), absolute.
        discordant: P(they differ), at least the difference.

    Raises:
        ValueError: If the difference is larger than the share of discordant samples.
    """
    if not 0 <= difference <= discordant <= 1:
        raise ValueError("needed: 0 <= difference <= discordant <= 1")
    if discordant == 0:
        return 0.0
    spread = _FAR * sqrt(n * discordant * (1 - discordant)) + 1
    middle = n * discordant
    m = np.arange(max(0, int(middle - spread)), min(n, ceil(middle + spread)) + 1)
    worse = _critical(m)
    q = (1 + difference / discordant) / 2
    power = np.where(worse < 0, 0.0, bdtr(worse, m, q) + bdtrc(m - worse - 1, m, q))
    log_pmf = (
        gammaln(n + 1) - gammaln(m + 1) - gammaln(n - m + 1)
        + xlogy(m, discordant) + xlog1py(n - m, -discordant)
    )  # fmt: skip
    return float((np.exp(log_pmf) * power).sum())


def _critical(m: NDArray[np.int64]) -> NDArray[np.float64]:
    """Largest number of the rarer outcome among m that is significant; -1 where none is."""
    worst = np.nan_to_num(np.floor(bdtrik(_ALPHA / 2, m, 0.5)), nan=-1.0)
    return np.asarray(np.where(2 * bdtr(worst, m, 0.5) <= _ALPHA, worst, worst - 1).clip(-1))


def samples_needed(difference: float, discordant: float) -> int:
    """Return the least number of paired samples that detects a difference with 80% power.

    Raises:
        ValueError: If the difference is not above 0, or above the share of discordant samples.
    """
    if not 0 < difference <= discordant <= 1:
        raise ValueError("needed: 0 < difference <= discordant <= 1")
    high = max(8, _connor(difference, discordant))
    while exact_power(high, difference, discordant) < _POWER:
        high *= 2
    low = 1
    while low < high:
        middle = (low + high) // 2
        if exact_power(middle, difference, discordant) < _POWER:
            low = middle + 1
        else:
            high = middle
    return low


def _connor(difference: float, discordant: float) -> int:
    """Connor 1987, equation 2."""
    alpha, beta = ndtri(1 - _ALPHA / 2), ndtri(_POWER)
    root = alpha * sqrt(discordant) + beta * sqrt(discordant - difference**2)
    return int(np.ceil((root / difference) ** 2))


def detectable_difference(n: int, discordant: float) -> float:
    """Return the smallest difference that n paired samples detect with 80% power; nan if none.

    Args:
        n: Samples.
        discordant: Share of them on which two variants differ.
    """
    if exact_power(n, discordant, discordant) < _POWER:
        return nan
    root = brentq(
        lambda difference: exact_power(n, difference, discordant) - _POWER, 0.0, discordant,
        xtol=1e-6,
    )  # fmt: skip
    return float(root)


def power_table(difference: float) -> list[tuple[float, int]]:
    """Return the samples for a difference, by the share of samples on which two variants differ."""
    shares = [share for share in _SHARES if share >= difference] or [difference]
    return [(share, samples_needed(difference, share)) for share in shares]
