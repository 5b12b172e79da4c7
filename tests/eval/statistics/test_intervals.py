"""Intervals against scipy, closed forms and simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eval.statistics.intervals import difference, mean, proportion, wilson


def alone(n: int) -> list[str]:
    return [str(i) for i in range(n)]


@given(st.integers(1, 500), st.data())
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    result = wilson(successes, n)
    reference = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert (result.low, result.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert 0 <= result.low <= result.value <= result.high <= 1


def test_independent_samples_are_wilson() -> None:
    x = np.array([1, 0, 1, 1, 0, 0, 1.0])
    assert proportion(x, alone(7)) == wilson(4, 7)


@given(st.lists(st.booleans(), min_size=2, max_size=40), st.integers(2, 4))
def test_a_sample_said_twice_is_no_more_evidence(x: list[bool], times: int) -> None:
    """Whole clusters of one outcome are worth about one sample each: never narrower than that."""
    once = wilson(sum(x), len(x))
    copied = np.repeat(np.array(x, float), times)
    clusters = [str(i) for i in range(len(x)) for _ in range(times)]
    result = proportion(copied, clusters)
    assert result.value == pytest.approx(once.value)
    assert result.high - result.low >= (once.high - once.low) * (1 - 1e-9)


def test_one_cluster_says_nothing() -> None:
    result = proportion([1.0, 0.0, 1.0], ["a"] * 3)
    assert (result.low, result.high) == (0, 1)
    assert np.isnan(mean([1.0, 2.0], ["a", "a"]).low)
    separate = difference([1.0, 1.0], [0.0, 0.0], ["a", "a"])
    assert (separate.low, separate.high) == (-1, 1)


def test_mean_of_independent_values_is_students() -> None:
    x = np.array([3.0, 5.0, 9.0, 2.0, 4.0])
    result = mean(x, alone(5))
    reference = stats.ttest_1samp(x, 0).confidence_interval()
    assert (result.low, result.high) == pytest.approx((reference.low, reference.high))


def test_mean_of_clusters_by_hand() -> None:
    x, names = np.array([1.0, 2.0, 6.0, 7.0, 3.0]), ["a", "a", "b", "b", "c"]
    totals = np.array([1 + 2 - 2 * 3.8, 6 + 7 - 2 * 3.8, 3 - 3.8])
    error = np.sqrt(3 / 2 * (totals**2).sum()) / 5
    result = mean(x, names)
    assert result.high - result.value == pytest.approx(stats.t.ppf(0.975, 2) * error)


def test_difference_is_bonett_and_prices() -> None:
    """Their example's form: 40 pairs, 12 better and 4 worse."""
    a = np.r_[np.ones(12), np.zeros(4), np.ones(24)]
    b = np.r_[np.zeros(12), np.ones(4), np.ones(24)]
    up, down = 13 / 42, 5 / 42
    half = stats.norm.ppf(0.975) * np.sqrt((up + down - (up - down) ** 2) / 42)
    result = difference(a, b, alone(40))
    assert result.value == 8 / 40
    assert (result.low, result.high) == pytest.approx((up - down - half, up - down + half))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_difference_is_antisymmetric_and_holds_its_value(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs, float).T
    item, other = difference(a, b, alone(len(a))), difference(b, a, alone(len(a)))
    assert (item.low, item.high) == pytest.approx((-other.high, -other.low))
    assert -1 <= item.low <= item.value <= item.high <= 1


def covered(draw, truth: float, runs: int) -> float:
    generator = np.random.default_rng(7)
    hits = 0
    for _ in range(runs):
        interval = draw(generator)
        hits += interval.low <= truth <= interval.high
    return hits / runs


@pytest.mark.parametrize("p", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("n", [30, 100])
def test_coverage_of_a_proportion(p: float, n: int) -> None:
    def draw(generator):
        return proportion((generator.random(n) < p).astype(float), alone(n))

    assert 0.93 <= covered(draw, p, 2000) <= 0.99


@pytest.mark.parametrize("p", [0.5, 0.85])
def test_coverage_of_a_clustered_proportion(p: float) -> None:
    """40 images with 4 questions each, half of whose outcome hangs on the image."""
    names = [str(i // 4) for i in range(160)]

    def draw(generator):
        local, shared = generator.random(160) < p, np.repeat(generator.random(40) < p, 4)
        return proportion(np.where(generator.random(160) < 0.5, local, shared).astype(float), names)

    def naive(generator):
        local, shared = generator.random(160) < p, np.repeat(generator.random(40) < p, 4)
        return proportion(
            np.where(generator.random(160) < 0.5, local, shared).astype(float), alone(160)
        )

    assert 0.93 <= covered(draw, p, 1500) <= 0.985
    assert covered(naive, p, 1500) < 0.93  # what ignoring the images would claim


@pytest.mark.parametrize(("up", "down"), [(0.1, 0.1), (0.2, 0.05), (0.03, 0.01)])
def test_coverage_of_a_difference(up: float, down: float) -> None:
    def draw(generator):
        d = generator.choice([1, -1, 0], size=100, p=[up, down, 1 - up - down])
        return difference(d > 0, d < 0, alone(100))

    assert 0.93 <= covered(draw, up - down, 2000) <= 0.995


def test_coverage_of_a_clustered_difference() -> None:
    names = [str(i // 5) for i in range(200)]

    def draw(generator):
        d = np.repeat(generator.choice([1, -1, 0], size=40, p=[0.25, 0.1, 0.65]), 5)
        mute = generator.random(200) < 0.3
        d = np.where(mute, 0, d)
        return difference(d > 0, d < 0, names)

    assert 0.93 <= covered(draw, 0.15 * 0.7, 1500) <= 0.985
