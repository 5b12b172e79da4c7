"""The null of random deltas against random deltas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from surgery.stats.null import expected_values, random_delta
from surgery.stats.spectrum import value_metrics

SHAPES = {
    (1, 50): 20,
    (3, 3): 4000,
    (2, 900): 200,
    (20, 31): 500,
    (33, 33): 2000,
    (40, 36): 1000,
    (64, 80): 300,
    (90, 400): 20,
    (300, 120): 20,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_it_says_what_gaussian_matrices_show(shape):
    generator, k, norm = np.random.default_rng(1), 8, 2.5
    matrices = generator.standard_normal((SHAPES[shape], *shape))
    sampled = np.linalg.svd(matrices, compute_uv=False)
    sampled *= norm / np.linalg.norm(sampled, axis=1, keepdims=True)
    count = sampled.shape[1]
    rows = [value_metrics(values, k, norm, complete=True, resolved=count) for values in sampled]
    result = random_delta(shape, norm, k)
    assert result.keys() == {f"random_{name}" for name in rows[0]}
    for name in rows[0]:
        average = np.median if name == "condition_number" else np.mean
        expected = average([row[name] for row in rows])
        value = result[f"random_{name}"]
        if name == "log_volume":  # a share of each value, not of the logarithm
            assert value == pytest.approx(expected, abs=0.03 * min(k, *shape))
        else:
            # The median of a heavy tail is itself known to 3% here.
            rel = 0.08 if name == "condition_number" else 0.03
            assert value == pytest.approx(expected, rel=rel), name


def test_every_value_is_at_its_expected_place():
    generator = np.random.default_rng(2)
    for shape in ((60, 60), (60, 400)):
        draws = [
            np.linalg.svd(generator.standard_normal(shape), compute_uv=False) for _ in range(60)
        ]
        result, expected = expected_values(*shape), np.mean(draws, axis=0)
        assert (np.diff(result) < 0).all()
        assert np.abs(result - expected).max() < 0.015 * expected[0]


def test_edges_of_the_law():
    result = expected_values(2000, 8000)
    assert result[0] == pytest.approx(math.sqrt(8000) + math.sqrt(2000), rel=0.003)
    assert result[-1] == pytest.approx(math.sqrt(8000) - math.sqrt(2000), rel=0.01)
    assert np.linalg.norm(result) == pytest.approx(math.sqrt(2000 * 8000), rel=1e-3)


def test_square_condition_number_has_edelmans_median():
    result = random_delta((3000, 3000), 1.0, 8)["random_condition_number"]
    assert result == pytest.approx(2 * 3000 / (math.sqrt(1 + 2 * math.log(2)) - 1), rel=0.01)


def test_shape_and_norm():
    item, other = random_delta((40, 90), 1.0, 8), random_delta((90, 40), 3.0, 8)
    for name, value in item.items():
        if name in ("random_spectral_norm", "random_nuclear_norm"):
            assert other[name] == pytest.approx(3 * value)
        elif name == "random_log_volume":
            assert other[name] == pytest.approx(value + 8 * math.log(3))
        else:
            assert other[name] == value


def test_no_delta():
    result = random_delta((40, 90), 0.0, 8)
    assert result["random_spectral_norm"] == 0
    assert math.isnan(result["random_effective_rank"])
    assert math.isnan(result["random_top_energy"])
