"""Rank correlation against scipy, laws and simulated coverage."""

from __future__ import annotations

from dataclasses import astuple
from math import asin, isnan, nan, pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eval.statistics.correlation import FEWEST, rank_correlation

whole = st.integers(-1000, 1000).map(float)
points = st.lists(st.tuples(whole, whole), min_size=FEWEST, max_size=40)


@pytest.mark.parametrize("levels", [3, 10**6])
@pytest.mark.parametrize("n", [4, 9, 28, 200])
def test_value_and_p_are_scipys_with_ties_and_without(n: int, levels: int) -> None:
    generator = np.random.default_rng(n)
    x = generator.integers(levels, size=n).astype(float)
    y = np.round(x + levels * generator.normal(size=n))
    result, correlation = rank_correlation(x, y), stats.spearmanr(x, y)
    assert result.value == pytest.approx(correlation.statistic)
    assert result.p == pytest.approx(correlation.pvalue)
    assert result.n == n


def test_ties_share_their_ranks_by_hand() -> None:
    result = rank_correlation([10, 20, 20, 30, 40], [1, 5, 2, 2, 9])
    ranks = np.corrcoef([1, 2.5, 2.5, 4, 5], [1, 4, 2.5, 2.5, 5])[0, 1]
    assert result.value == pytest.approx(ranks)


def test_interval_is_bonett_and_wrights_by_hand() -> None:
    """Ranks 1 to 10 and the same with two neighbours changed, twice: rho = 1 - 6 * 4 / 990."""
    result = rank_correlation(range(1, 11), [2, 1, 3, 4, 5, 6, 8, 7, 9, 10])
    rho = 1 - 6 * 4 / 990
    half = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / 7)
    expected = np.tanh([np.arctanh(rho) - half, np.arctanh(rho) + half])
    assert result.value == pytest.approx(rho)
    assert (result.low, result.high) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("hole", [nan, np.inf, -np.inf])
def test_a_point_that_lacks_one_of_the_two_does_not_count(hole: float) -> None:
    x = [3.0, hole, 1.0, 4.0, 1.0, 5.0, 9.0]
    y = [2.0, 7.0, 1.0, hole, 8.0, 2.0, 8.0]
    result = rank_correlation(x, y)
    assert result == rank_correlation([3, 1, 1, 5, 9], [2, 1, 8, 2, 8])
    assert result.n == 5


@pytest.mark.parametrize(
    ("x", "y", "n"),
    [
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], 5),
        ([1, 2, 3, 4, 5], [0, 0, 0, 0, 0], 5),
        ([1, 2, 3], [3, 1, 2], 3),
        ([1, 2, 3, nan, 5], [nan, 2, 3, 4, 5], 3),
        ([1, 2, 2, 2, 2], [nan, 1, 2, 3, 4], 4),
        ([], [], 0),
    ],
)
def test_nothing_is_claimed_of_a_constant_or_of_too_few_points(
    x: list[float], y: list[float], n: int
) -> None:
    result = rank_correlation(x, y)
    assert isnan(result.value)
    assert isnan(result.p)
    assert (result.low, result.high, result.n) == (-1, 1, n)


@pytest.mark.parametrize("n", [FEWEST, 9, 28])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_order_is_one_and_certain(n: int, sign: int) -> None:
    x = np.arange(n) / 7
    result = rank_correlation(x, sign * np.exp(x))
    assert (result.value, result.low, result.high) == pytest.approx((sign,) * 3, abs=1e-12)
    assert result.p == pytest.approx(0, abs=1e-12)


@given(points)
def test_value_is_inside_its_interval_and_the_interval_between_the_ends(
    point_pairs: list[tuple[float, float]],
) -> None:
    result = rank_correlation(*zip(*point_pairs, strict=True))
    assert -1 <= result.low <= result.high <= 1
    if not isnan(result.value):
        assert result.low <= result.value <= result.high
        assert 0 <= result.p <= 1


@given(points)
def test_neither_of_the_two_is_first(point_pairs: list[tuple[float, float]]) -> None:
    x, y = zip(*point_pairs, strict=True)
    item, other = rank_correlation(x, y), rank_correlation(y, x)
    assert astuple(item) == pytest.approx(astuple(other), nan_ok=True)


@given(points)
def test_another_sign_turns_all_of_it_around(point_pairs: list[tuple[float, float]]) -> None:
    x, y = (np.array(item) for item in zip(*point_pairs, strict=True))
    entry, other = rank_correlation(x, y), rank_correlation(x, -y)
    turned = (-other.value, -other.high, -other.low, other.p, other.n)
    assert astuple(entry) == pytest.approx(turned, nan_ok=True, abs=1e-12)


@given(points)
def test_only_order_matters(point_pairs: list[tuple[float, float]]) -> None:
    x, y = (np.array(item) for item in zip(*point_pairs, strict=True))
    result = rank_correlation(x**3 + 2 * x, np.exp(y / 300) - 40)
    assert astuple(result) == pytest.approx(astuple(rank_correlation(x, y)), nan_ok=True)


@given(points, st.randoms())
def test_the_order_of_points_does_not_matter(point_pairs: list[tuple[float, float]], rng) -> None:
    mixed = list(point_pairs)
    rng.shuffle(mixed)
    item, other = (rank_correlation(*zip(*entry, strict=True)) for entry in (point_pairs, mixed))
    assert astuple(item) == pytest.approx(astuple(other), nan_ok=True, abs=1e-12)


@pytest.mark.parametrize("r", [0.0, 0.5, -0.8])
def test_coverage_over_the_layers_of_a_7b_model(r: float) -> None:
    """28 points of a bivariate normal, whose Spearman's rho is 6 / pi asin(r / 2)."""
    truth = 6 / pi * asin(r / 2)
    generator = np.random.default_rng(11)
    hits = 0
    for _ in range(1500):
        x, noise = generator.normal(size=(2, 28))
        result = rank_correlation(x, r * x + np.sqrt(1 - r**2) * noise)
        hits += result.low <= truth <= result.high
    assert 0.93 <= hits / 1500 <= 0.97
