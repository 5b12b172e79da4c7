"""The iteration against all singular values, where it could go astray, and its memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.stats.krylov import top
from surgery.stats.memory import projected_bytes
from surgery.stats.spectrum import delta_metrics, full
from surgery.stats.subspace import principal_angles
from tests.stats.matrices import built, normal, orthonormal, reference

SIDE = 520
"""Smaller dimension of these matrices: the iteration does not start below."""


def deltas():
    """Matrices of every kind of spectrum: flat, decaying, flat with spikes."""
    flat = normal(SIDE, 700, dtype=torch.float32)
    spikes, _, _ = built(SIDE, 700, np.linspace(400, 100, 12))
    return {
        "flat": flat,
        "flat and tall": flat.T,
        "square": normal(SIDE, SIDE, seed=3, dtype=torch.float32),
        "decaying": built(SIDE, 700, np.logspace(0, -3, SIDE))[0].float(),
        "spikes": flat + spikes.float(),
        "tiny": flat * 1e-30,
    }


@pytest.mark.parametrize("kind", deltas())
@pytest.mark.parametrize("k", [1, 10, 32])
def test_values_and_vectors(kind, k):
    matrix = deltas()[kind]
    result, expected = top(matrix, k), full(matrix, k)
    known_names = reference(matrix)[:k]
    if not result.complete:  # flat ones take the direct way in the end if k is large
        assert len(result.values) == result.resolved == k
    assert k == 32 or not result.complete
    values = result.values[:k]
    assert np.abs(values / known_names - 1).max() < 1e-6
    assert (np.abs(values - known_names) <= result.residuals + 1e-9 * known_names[0]).all()
    assert result.frobenius == pytest.approx(expected.frobenius, rel=1e-9)
    for side in ("left", "right"):
        basis = getattr(result, side)
        assert (basis.T @ basis - torch.eye(k)).abs().max() < 3e-6
        if kind in ("decaying", "spikes") and k <= 10:
            assert principal_angles(basis, getattr(expected, side)).max() < 0.1


@pytest.mark.parametrize("rank", [0, 1, 5, 16, 17, 40])
def test_rank_below_k(rank):
    values = np.linspace(2, 1, rank)
    matrix, _, _ = built(SIDE, 600, values)
    result = top(matrix, 32)
    count = min(rank, 32)
    assert result.resolved == result.left.shape[1] == result.right.shape[1] == count
    assert result.values[:count] == pytest.approx(values[:count], rel=1e-9)
    assert (result.values[count:] <= result.floor).all()


def test_one_element():
    matrix = torch.zeros(SIDE, 600)
    matrix[3, 5] = -7e-20
    result = top(matrix, 8)
    assert result.resolved == 1
    assert result.values[0] == pytest.approx(7e-20)
    assert float(result.left[3, 0] * result.right[5, 0]) == pytest.approx(-1)


def test_values_that_are_too_small_are_flagged():
    values = np.logspace(0, -8, 24)
    result = top(built(SIDE, 600, values)[0], 24)
    assert (values > 1e-4).sum() <= result.resolved < 24
    known_names = values[: result.resolved]
    assert np.abs(result.values[: result.resolved] / known_names - 1).max() < 1e-4
    assert result.left.shape[1] == result.resolved


@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-4, 1e-3, 3e-3, 1e-2])
@pytest.mark.parametrize("copies", [15, 17, 40])
def test_repeated_values_are_all_found(copies, spread):
    rest = np.geomspace(0.9, 0.1, SIDE - copies)
    values = np.concatenate([np.linspace(1, 1 - spread, copies), rest])
    matrix = (orthonormal(SIDE, SIDE, 0) * torch.from_numpy(values)) @ orthonormal(SIDE, SIDE, 1).T
    assert np.abs(top(matrix, 32).values[:32] / values[:32] - 1).max() < 1e-4


def test_multiple_of_the_identity():
    few, many = top(torch.eye(SIDE) * 3, 8), top(torch.eye(SIDE) * 3, 32)
    assert few.values == pytest.approx(np.full(8, 3.0))
    assert many.complete
    assert many.values == pytest.approx(np.full(SIDE, 3.0))


def test_small_matrices_and_large_k_are_complete():
    small, large = top(normal(40, 60), 8), top(normal(SIDE, 600), 200)
    assert small.complete
    assert small.left.shape == (40, 8)
    assert large.complete
    assert large.left.shape == (SIDE, 200)


def test_what_needs_every_value_is_nan():
    matrix = deltas()["decaying"]
    result, expected = (delta_metrics(way(matrix, 16), 16) for way in (top, full))
    nan = {name for name, value in result.items() if value != value}
    assert nan == {"nuclear_norm", "effective_rank", "condition_number"}
    for name in result.keys() - nan - {"resolved"}:
        assert result[name] == pytest.approx(expected[name], rel=1e-6)


def test_same_seed_same_values_other_seed_nearly():
    matrix = deltas()["spikes"]
    item, again, other = top(matrix, 8), top(matrix, 8), top(matrix, 8, seed=1)
    assert np.array_equal(item.values, again.values)
    assert torch.equal(item.left, again.left)
    assert item.values == pytest.approx(other.values, rel=1e-6)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 40), st.floats(-3, 0))
def test_transpose_and_scale(seed, k, decay):
    matrix = built(SIDE, 530, np.logspace(0, decay, SIDE), seed)[0]
    item = top(matrix, k)
    assert top(matrix.T * 4, k).values == pytest.approx(4 * item.values, rel=1e-9)


MEASURE = """
import ctypes, sys, torch
from pathlib import Path
from surgery.stats.krylov import top
from surgery.stats.spectrum import full
torch.set_num_threads(1)
def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
def peak(compute, matrix):
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = resident("VmRSS")
    compute(matrix, 32)
    return resident("VmHWM") - before
full(torch.randn(64, 80), 4)  # loads the libraries
print(
    peak(lambda matrix, k: full(matrix, k, vectors=False), torch.randn(30000, 768)),
    peak(full, torch.randn(1100, 1100)),
    peak(top, torch.randn(1200, 1500)),
    peak(top, torch.eye(1300)),  # begins to iterate, then goes the direct way
)
"""
MEASURED = [(30000, 768, "values"), (1100, 1100, "full"), (1200, 1500, "top"), (1300, 1300, "top")]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_measured_memory_is_at_most_what_is_projected():
    output = subprocess.run(
        [sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True
    ).stdout
    for (rows, columns, kind), measured in zip(MEASURED, output.split(), strict=True):
        projected = projected_bytes((rows, columns), kind, 32)
        # Pages that were there before are not counted again, so the peak may look a little small.
        assert int(measured) <= projected <= 2.2 * int(measured), (rows, columns, kind)
