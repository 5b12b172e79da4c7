"""Full spectra: LAPACK in float64 as the oracle, closed forms, and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surgery.stats.gram import Gram
from surgery.stats.spectrum import delta_metrics, full, shift
from tests.stats.matrices import built, normal, orthonormal, reference

SHAPES = [(1, 1), (1, 9), (9, 1), (7, 7), (30, 80), (80, 30), (300, 300), (260, 700), (700, 260)]
SMALL = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**20))


def check_vectors(result, matrix):
    """They are orthonormal and belong to the values."""
    count = result.left.shape[1]
    assert result.right.shape[1] == count
    scale = float(result.values[0])
    for basis in (result.left, result.right):
        error = basis.T @ basis - torch.eye(count, dtype=basis.dtype)
        assert error.abs().max() < 20 * torch.finfo(basis.dtype).eps
    image = matrix.double() @ result.right.double()
    expected = result.left.double() * torch.from_numpy(result.values[:count].copy())
    assert (image - expected).abs().max() < 2e-6 * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_full_matches_lapack(shape, dtype):
    matrix = normal(*shape, dtype=dtype)
    result = full(matrix, 5)
    expected = reference(matrix)
    assert result.complete
    assert result.values.dtype == np.float64
    assert result.left.dtype == result.right.dtype == dtype
    assert result.left.shape == (shape[0], min(5, *shape))
    above = expected > 1e-4 * expected[0]
    assert np.abs(result.values / expected - 1)[above].max() < 1e-7
    assert result.resolved >= above.sum()
    assert result.frobenius == pytest.approx(float(matrix.double().norm()), rel=1e-12)
    check_vectors(result, matrix)


def test_without_vectors_the_values_are_the_same():
    matrix = normal(40, 60)
    result = full(matrix, 5, vectors=False)
    assert result.left.shape == (40, 0)
    assert result.right.shape == (60, 0)
    assert result.values == pytest.approx(full(matrix, 5).values, rel=1e-10)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300)])
def test_known_values_come_back_or_are_flagged(shape):
    values = np.logspace(0, -6, 100)
    matrix, remaining, right = built(*shape, values)
    result = full(matrix, 100)
    assert (values > 1e-4).sum() <= result.resolved < 100
    close = np.abs(result.values[: result.resolved] / values[: result.resolved] - 1)
    assert close.max() < 1e-4
    assert (result.values[: result.resolved] > result.floor).all()
    # Those below the floor are still right in absolute terms, as the module says.
    assert np.abs(result.values[:100] - values).max() < result.floor / 70
    for basis, known_names in ((result.left, remaining), (result.right, right)):
        assert basis.shape[1] == result.resolved
        cosines = (basis * known_names[:, : result.resolved]).sum(0).abs()
        assert (cosines > 1 - 1e-6).all()


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_rank_is_what_is_resolved(rank):
    matrix, _, _ = built(40, 70, np.arange(rank, 0, -1.0))
    result = full(matrix, 8)
    assert result.resolved == rank
    assert result.left.shape == (40, rank)
    assert result.values[:rank] == pytest.approx(np.arange(rank, 0, -1.0))
    assert result.values[rank:].max() < 1e-6 if rank else not result.values.any()


@pytest.mark.parametrize("size", [1e-42, 1e-20, 1e30])
def test_size_does_not_matter(size):
    matrix = normal(20, 30, dtype=torch.float32) * size
    result, expected = full(matrix, 3), reference(matrix)
    assert result.values == pytest.approx(expected, rel=1e-6)
    check_vectors(result, matrix)


def test_gram_in_slabs_and_block_rows_is_the_gram_matrix(monkeypatch):
    monkeypatch.setattr("surgery.stats.gram.SLAB_BYTES", 8 * 301 * 64)
    for matrix in (normal(301, 500), normal(500, 301)):
        gram = Gram.of(matrix)
        wide = matrix if matrix.shape[0] == 301 else matrix.T
        assert torch.allclose(gram.square / gram.scale**2, wide @ wide.T, rtol=1e-12, atol=1e-11)
        assert torch.allclose(gram.across(wide[:, :3]) / gram.scale, wide.T @ wide[:, :3])


def test_the_matrix_is_left_as_it_was():
    for matrix in (normal(20, 30), normal(30, 20), normal(30, 20).T):
        before = matrix.clone()
        full(matrix, 3)
        assert torch.equal(matrix, before)


@given(SMALL, st.integers(-60, 60))
def test_scale(random_matrix, power):
    rows, columns, seed = random_matrix
    matrix = normal(rows, columns, seed=seed)
    item, other = full(matrix, 2), full(matrix * 2.0**power, 2)
    assert np.array_equal(other.values, item.values * 2.0**power)
    assert other.resolved == item.resolved


@given(SMALL)
def test_transpose_permutation_rotation(random_matrix):
    rows, columns, seed = random_matrix
    matrix = normal(rows, columns, seed=seed)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    rotated = orthonormal(rows, rows, seed) @ matrix @ orthonormal(columns, columns, seed + 1)
    item = full(matrix, 3)
    resolved = item.resolved
    for other in (matrix.T, matrix[order], matrix.flip(1), rotated):
        result = full(other, 3)
        slack = item.floor / 70
        assert result.values[:resolved] == pytest.approx(item.values[:resolved], rel=1e-4)
        assert result.values == pytest.approx(item.values, rel=1e-9, abs=slack)
        metrics, expected = delta_metrics(result, 3), delta_metrics(item, 3)
        for name in ("spectral_norm", "nuclear_norm", "stable_rank", "effective_rank"):
            assert metrics[name] == pytest.approx(expected[name], rel=1e-5)


def test_metrics_against_their_definitions():
    values = np.array([4.0, 2.0, 1.0, 0.5])
    result = delta_metrics(full(built(6, 4, values)[0], 2), 2)
    shares = values / values.sum()
    assert result == pytest.approx(
        {
            "top": 2,
            "resolved": 4,
            "spectral_norm": 4.0,
            "nuclear_norm": 7.5,
            "stable_rank": (16 + 4 + 1 + 0.25) / 16,
            "effective_rank": math.exp(-sum(shares * np.log(shares))),
            "condition_number": 8.0,
            "log_volume": math.log(8.0),
            "top_energy": 20 / 21.25,
        }
    )


def test_metrics_of_a_flat_spectrum_and_of_rank_one():
    flat = delta_metrics(full(orthonormal(9, 5) * 3, 4), 4)
    assert flat["stable_rank"] == pytest.approx(5)
    assert flat["effective_rank"] == pytest.approx(5)
    assert flat["condition_number"] == pytest.approx(1)
    assert flat["top_energy"] == pytest.approx(0.8)
    item = delta_metrics(full(built(9, 5, [3.0])[0], 4), 4)
    assert item["stable_rank"] == pytest.approx(1)
    assert item["effective_rank"] == pytest.approx(1, abs=1e-5)
    assert item["log_volume"] == pytest.approx(math.log(3))
    assert item["top_energy"] == pytest.approx(1)
    assert math.isnan(item["condition_number"])


def test_zero_delta():
    result = delta_metrics(full(torch.zeros(5, 7), 3), 3)
    assert (result["top"], result["resolved"]) == (3, 0)
    assert result["spectral_norm"] == result["nuclear_norm"] == 0
    for name in ("stable_rank", "effective_rank"):  # no direction stands out of none
        assert math.isnan(result[name])
    for name in ("condition_number", "log_volume", "top_energy"):
        assert math.isnan(result[name])


def test_shift():
    before, _, _ = built(6, 8, [3.0, 2.0, 1.0])
    after, _, _ = built(6, 8, [3.0, 2.5, 1.0], seed=1)
    assert shift(full(before, 3), full(after, 3)) == pytest.approx(0.5 / math.sqrt(14))
    assert shift(full(before, 3), full(before * 1.5, 3)) == pytest.approx(0.5)
    assert math.isnan(shift(full(before * 0, 3), full(after, 3)))
