"""The share of a gain: its value, its interval's coverage, and when there is none."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from eval.statistics.recovery import recovery


def alone(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def test_value_by_hand_and_both_ends() -> None:
    base = np.r_[np.ones(40), np.zeros(60)]
    donor = np.r_[np.ones(80), np.zeros(20)]
    half = np.r_[np.ones(60), np.zeros(40)]
    result = recovery(half, base, donor, alone(100))
    assert result.share == pytest.approx(0.5)
    assert result.low < 0.5 < result.high
    assert recovery(base, base, donor, alone(100)).share == 0
    whole = recovery(donor, base, donor, alone(100))
    assert whole.share == 1
    assert 0.85 < whole.low < 1 < whole.high < 1.15  # a hundred samples prove no equality


def test_same_seed_same_interval() -> None:
    generator = np.random.default_rng(0)
    base, item, donor = (generator.random(80) < p for p in (0.3, 0.6, 0.8))
    entry, two = (recovery(item, base, donor, alone(80), seed=4) for _ in range(2))
    assert entry == two
    assert entry != recovery(item, base, donor, alone(80), seed=5)


def test_no_gain_is_not_estimable() -> None:
    generator = np.random.default_rng(1)
    base, item, donor = (generator.random(60) < 0.5 for _ in range(3))
    result = recovery(item, base, donor, alone(60))
    assert isnan(result.share)
    assert "not distinguishable from 0" in result.reason


def test_a_loss_is_recovered_too() -> None:
    base, donor = np.ones(50), np.zeros(50)
    item = np.r_[np.ones(25), np.zeros(25)]
    assert recovery(item, base, donor, alone(50)).share == pytest.approx(0.5)


def test_copies_of_a_sample_do_not_narrow_it() -> None:
    generator = np.random.default_rng(2)
    base, item, donor = (generator.random(60) < p for p in (0.3, 0.5, 0.8))
    once = recovery(item, base, donor, alone(60))
    names = [str(i // 4) for i in range(240)]
    four = recovery(*(np.repeat(entry, 4) for entry in (item, base, donor)), names)
    assert four.share == pytest.approx(once.share)
    assert four.high - four.low == pytest.approx(once.high - once.low, rel=0.2)


def test_coverage() -> None:
    generator = np.random.default_rng(3)
    hits = tried = 0
    for _ in range(300):
        base, donor = generator.random(150) < 0.3, generator.random(150) < 0.8
        item = np.where(generator.random(150) < 0.6, donor, base)
        result = recovery(item, base, donor, alone(150), draws=400)
        if not result.reason:
            tried += 1
            hits += result.low <= 0.6 <= result.high
    assert tried > 290
    assert 0.91 <= hits / tried <= 0.985
