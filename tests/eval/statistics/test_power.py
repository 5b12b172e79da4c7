"""Power against simulation and against Connor's formula."""

from __future__ import annotations

from itertools import pairwise
from math import isnan, sqrt

import numpy as np
import pytest
from scipy import stats

from eval.statistics.power import (
    detectable_difference,
    exact_power,
    power_table,
    samples_needed,
)
from eval.statistics.significance import mcnemar


@pytest.mark.parametrize(("n", "difference", "discordant"), [(100, 0.12, 0.2), (60, 0.2, 0.3)])
def test_power_is_how_often_the_test_rejects(n: int, difference: float, discordant: float) -> None:
    generator = np.random.default_rng(5)
    up, down = (discordant + difference) / 2, (discordant - difference) / 2
    names = [str(i) for i in range(n)]
    hits = 0
    for _ in range(2000):
        d = generator.choice([1, -1, 0], size=n, p=[up, down, 1 - discordant])
        hits += mcnemar(d > 0, d < 0, names) <= 0.05
    assert exact_power(n, difference, discordant) == pytest.approx(hits / 2000, abs=0.035)


def test_power_by_brute_force() -> None:
    """Every count of better and worse pairs among 12."""
    n, up, down = 12, 0.45, 0.05
    total = 0.0
    for better in range(n + 1):
        for worse in range(n + 1 - better):
            p = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
            if p <= 0.05:
                chances = [up, down, 1 - up - down]
                total += stats.multinomial.pmf([better, worse, n - better - worse], n, chances)
    assert exact_power(n, up - down, up + down) == pytest.approx(total)


@pytest.mark.parametrize(("difference", "discordant"), [(0.03, 0.1), (0.05, 0.2), (0.1, 0.4)])
def test_samples_needed_are_just_enough(difference: float, discordant: float) -> None:
    n = samples_needed(difference, discordant)
    assert exact_power(n, difference, discordant) >= 0.8
    assert exact_power(n - 5, difference, discordant) < 0.805
    root = 1.959964 * sqrt(discordant) + 0.841621 * sqrt(discordant - difference**2)
    connor = (root / difference) ** 2
    assert connor * 0.97 <= n <= connor * 1.2 + 5


@pytest.mark.parametrize("n", [50, 100, 1000])
def test_detectable_difference_inverts_it(n: int) -> None:
    smallest = detectable_difference(n, 0.2)
    assert exact_power(n, smallest, 0.2) == pytest.approx(0.8, abs=1e-3)


def test_too_few_samples_show_nothing() -> None:
    assert isnan(detectable_difference(5, 0.5))
    assert isnan(detectable_difference(100, 0.03))


def test_table_of_a_claim_and_its_refusals() -> None:
    rows = power_table(0.03)
    assert [share for share, _ in rows] == [0.05, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert all(item < other for (_, item), (_, other) in pairwise(rows))
    with pytest.raises(ValueError, match="difference <= discordant"):
        samples_needed(0.3, 0.1)
