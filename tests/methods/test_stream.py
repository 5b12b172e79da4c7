"""Elementwise methods: laws, and float64 as the oracle."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mergekit.merge_methods.slerp import slerp as mergekit_slerp

from surgery.methods.stream import PARALLEL, Angle, add_, combine_, linear_, working_dtype

FLOATS = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
VECTORS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[hnp.arrays(np.float32, n, elements=FLOATS)] * 3)
)


def tensors(arrays):
    return [torch.from_numpy(array.copy()) for array in arrays]


@given(VECTORS, st.floats(0, 1, width=32))
def test_linear_lies_between_and_matches_float64(arrays, t):
    x, y, _ = tensors(arrays)
    expected = (1 - t) * x.double() + t * y.double()
    result = linear_(x.clone(), y.clone(), t)
    larger = torch.maximum(x.abs(), y.abs()).double()
    assert ((result.double() - expected).abs() <= 2e-7 * larger + 1e-30).all()
    low, high = torch.minimum(x, y), torch.maximum(x, y)
    slack = 2e-7 * larger.float()
    assert (result >= low - slack).all()
    assert (result <= high + slack).all()


@given(VECTORS, st.floats(-2, 2, width=32))
def test_add_matches_float64(arrays, weight):
    x, plus, minus = tensors(arrays)
    expected = x.double() + weight * (plus.double() - minus.double())
    result = add_(x.clone(), plus.clone(), minus.clone(), weight)
    scale = x.abs() + 2 * (plus.abs() + minus.abs())
    assert ((result.double() - expected).abs() <= 4e-7 * scale.double() + 1e-30).all()


@given(VECTORS, st.floats(-2, 2, width=32))
def test_zero_delta_is_no_op(arrays, weight):
    x, plus, _ = tensors(arrays)
    assert torch.equal(add_(x.clone(), plus.clone(), plus.clone(), weight), x)


def angle_of(x, y, pieces=1):
    angle = Angle()
    for a, b in zip(x.chunk(pieces), y.chunk(pieces), strict=True):
        angle.see(a, b)
    return angle


@given(VECTORS, st.floats(0, 1, width=32))
def test_slerp_matches_mergekit(arrays, t):
    x, y, _ = tensors(arrays)
    angle = angle_of(x, y)
    if abs(abs(angle.cosine) - PARALLEL) < 1e-5:
        return  # the two may rightly stand on different sides of the threshold
    result = combine_(x.clone(), y.clone(), angle.weights(t))
    expected = mergekit_slerp(torch.tensor([t]), x[None], y[None])[0]
    larger = torch.maximum(x.abs(), y.abs())
    # Nearly opposite vectors: the factors grow like 1/sin, their error like 1/sin^2 of the angle.
    ill = 1 / (1 - angle.cosine**2) if abs(angle.cosine) <= PARALLEL else 1.0
    assert ((result - expected).abs() <= 2e-6 * ill * larger + 1e-30).all()


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0])
def test_slerp_of_a_right_angle_is_on_the_circle(t):
    x, y = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    result = combine_(x.clone(), y.clone(), angle_of(x, y).weights(t))
    expected = 3 * torch.tensor([np.cos(t * np.pi / 2), np.sin(t * np.pi / 2)])
    assert torch.allclose(result, expected.float(), atol=1e-6)


def test_angle_does_not_depend_on_the_blocks():
    x, y = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    assert angle_of(x, y, 1).cosine == pytest.approx(angle_of(x, y, 7).cosine, abs=1e-7)


def test_zero_tensor_has_no_direction():
    x = torch.zeros(4)
    assert angle_of(x, torch.ones(4)).cosine == 0.0


def test_working_dtype():
    assert working_dtype([torch.bfloat16, torch.float16]) is torch.float32
    assert working_dtype([torch.bfloat16, torch.float64]) is torch.float64
