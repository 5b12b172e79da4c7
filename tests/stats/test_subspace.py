"""Principal angles: scipy as the oracle, planted angles, chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from surgery.stats.spectrum import full
from surgery.stats.subspace import overlap, principal_angles, rotation
from tests.stats.matrices import built, normal, orthonormal, turned

ANGLES = [0.0, 1e-6, 1e-3, 0.5, 30.0, 44.999, 45.001, 60.0, 89.999, 90.0]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 8), st.integers(0, 2**20))
def test_angles_match_scipy(first_rank, second_rank, more, seed):
    rows = max(first_rank, second_rank) + more
    first, second = orthonormal(rows, first_rank, seed), orthonormal(rows, second_rank, seed + 1)
    result = principal_angles(first, second)
    expected = np.rad2deg(subspace_angles(first.numpy(), second.numpy()))[::-1]
    assert result == pytest.approx(expected, abs=1e-5)
    assert principal_angles(second, first) == pytest.approx(result, abs=1e-6)


def test_planted_angles_come_back():
    first = orthonormal(50, len(ANGLES))
    second = turned(first, ANGLES, seed=9) @ orthonormal(len(ANGLES), len(ANGLES), 3)
    assert principal_angles(first, second) == pytest.approx(ANGLES, abs=1e-10)


def test_float32_bases_are_good_to_a_ten_thousandth_of_a_degree():
    first = orthonormal(500, len(ANGLES))
    second = turned(first, ANGLES, seed=9)
    assert principal_angles(first.float(), second.float()) == pytest.approx(ANGLES, abs=1e-4)


def test_a_subspace_within_another_and_no_subspace():
    basis = orthonormal(8, 8)
    assert principal_angles(basis, basis[:, :3]) == pytest.approx([0, 0, 0], abs=1e-10)
    assert principal_angles(basis[:, :5], basis[:, 5:]) == pytest.approx([90, 90, 90])
    assert principal_angles(basis, basis[:, :0]).size == 0


@pytest.mark.parametrize("shape", [(60, 90), (90, 60)])
def test_rotation_of_weights_gives_the_planted_angles(shape):
    values = [5.0, 4.0, 3.0]
    before, remaining, right = built(*shape, values)
    after = (turned(remaining, [1.0, 10.0, 70.0], 5) * torch.tensor(values)) @ turned(
        right, [2.0, 2.0, 50.0], 6
    ).T
    result = rotation(full(before, 3), full(after, 3))
    assert result["angles_left"] == pytest.approx([1, 10, 70], abs=1e-5)
    assert result["angles_right"] == pytest.approx([2, 2, 50], abs=1e-5)
    assert result["rotation_left_mean"] == pytest.approx(27)
    assert result["rotation_left_max"] == pytest.approx(70)
    assert result["rotation_right_mean"] == pytest.approx(18)
    assert result["rotation_right_max"] == pytest.approx(50)


def test_overlap_is_the_mean_squared_cosine():
    values = [5.0, 4.0, 3.0]
    first, remaining, right = built(60, 90, values)
    second = (turned(remaining, [0.0, 60.0, 90.0], 5) * torch.tensor(values)) @ turned(
        right, [90.0, 90.0, 45.0], 6
    ).T
    result = overlap(full(first, 3), full(second, 3))
    assert result == pytest.approx(
        {
            "subspace_rank": 3,
            "subspace_overlap_left": 1.25 / 3,
            "subspace_overlap_right": 0.5 / 3,
            "subspace_chance_left": 3 / 60,
            "subspace_chance_right": 3 / 90,
        },
        abs=1e-9,
    )


def test_random_updates_overlap_by_chance():
    results = [
        overlap(full(normal(30, 80, seed=2 * s), 6), full(normal(30, 80, seed=2 * s + 1), 4))
        for s in range(60)
    ]
    assert results[0]["subspace_rank"] == 4
    for side in ("left", "right"):
        mean = np.mean([row[f"subspace_overlap_{side}"] for row in results])
        assert mean == pytest.approx(results[0][f"subspace_chance_{side}"], rel=0.15)


def test_only_what_is_resolved_counts():
    item, _, _ = built(20, 30, [2.0])
    two, _, _ = built(20, 30, [2.0, 1.0], seed=1)
    nothing = full(torch.zeros(20, 30), 5)
    assert overlap(full(item, 5), full(two, 5))["subspace_rank"] == 1
    assert overlap(full(item, 5), full(two, 5))["subspace_chance_left"] == 2 / 20
    empty = overlap(full(item, 5), nothing)
    assert empty.pop("subspace_rank") == 0
    assert all(math.isnan(value) for value in empty.values())
    turn = rotation(nothing, full(item, 5))
    assert turn.pop("angles_left").size == turn.pop("angles_right").size == 0
    assert all(math.isnan(value) for value in turn.values())
