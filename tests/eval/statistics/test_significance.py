"""Exact tests against scipy and against every sign pattern there is."""

from __future__ import annotations

from itertools import product
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eval.statistics import significance
from eval.statistics.significance import holm, mcnemar


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 20))
def test_without_clusters_it_is_mcnemars(better: int, worse: int, same: int) -> None:
    n = better + worse + same
    if n == 0:
        return
    a = np.r_[np.ones(better), np.zeros(worse), np.ones(same)]
    b = np.r_[np.zeros(better), np.ones(worse), np.ones(same)]
    result = mcnemar(a, b, [str(i) for i in range(n)])
    expected = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert result == pytest.approx(expected, rel=1e-9)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([-1, -0.5, 0, 0.5, 1])), max_size=12))
def test_clusters_flip_as_one(rows: list[tuple[int, float]]) -> None:
    if not rows:
        return
    names, d = [str(name) for name, _ in rows], np.array([value for _, value in rows])
    totals = [d[[item == name for item in names]].sum() for name in dict.fromkeys(names)]
    calls = abs(sum(totals))
    signs = list(product([1, -1], repeat=len(totals)))
    hits = sum(abs(np.dot(sign, totals)) >= calls - 1e-12 for sign in signs)
    assert mcnemar(d, np.zeros(len(d)), names) == pytest.approx(hits / len(signs))


def test_drawn_p_is_near_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random(80) < 0.6, generator.random(80) < 0.45
    names = [str(i // 2) for i in range(80)]
    exact = mcnemar(a, b, names)
    monkeypatch.setattr(significance, "_LARGEST", 0)
    sampled = mcnemar(a, b, names)
    assert sampled == pytest.approx(exact, abs=0.006)
    assert mcnemar(a, b, names) == sampled  # seeded
    assert mcnemar(a, b, names, seed=1) != sampled


def test_false_positives_stay_below_the_level() -> None:
    generator = np.random.default_rng(3)
    names = [str(i // 3) for i in range(90)]
    hits = 0
    for _ in range(500):
        d = np.repeat(generator.choice([1, -1, 0], size=30, p=[0.2, 0.2, 0.6]), 3)
        hits += mcnemar(d, np.zeros(90), names) <= 0.05
    assert hits / 500 <= 0.07


@given(st.lists(st.one_of(st.floats(0, 1), st.just(nan)), max_size=12))
def test_holm_by_its_definition(values: list[float]) -> None:
    result = holm(values)
    real = sorted(p for p in values if not isnan(p))
    for p, q in zip(values, result, strict=True):
        if isnan(p):
            assert isnan(q)
            continue
        # the largest of the stepwise products up to and including p
        rank = max(i for i, item in enumerate(real) if item == p)
        steps = [min(1.0, (len(real) - i) * item) for i, item in enumerate(real[: rank + 1])]
        first = [min(1.0, (len(real) - i) * item) for i, item in enumerate(real) if item <= p]
        assert max(steps) >= q - 1e-12
        assert q == pytest.approx(max(first))
        assert q >= p
