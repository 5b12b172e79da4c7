"""Matrices with a known singular value decomposition."""

from __future__ import annotations

import numpy as np
import torch


def normal(*shape, seed=0, dtype=torch.float64):
    """Independent Gaussian elements."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def orthonormal(rows, columns, seed=0):
    """A random orthonormal basis in float64."""
    return torch.linalg.qr(normal(rows, columns, seed=seed)).Q


def built(rows, columns, values, seed=0):
    """U diag(values) V^T in float64, with U and V."""
    values = torch.as_tensor(values, dtype=torch.float64)
    remaining = orthonormal(rows, len(values), 2 * seed)
    right = orthonormal(columns, len(values), 2 * seed + 1)
    return (remaining * values) @ right.T, remaining, right


def reference(matrix):
    """Singular values by LAPACK, in float64."""
    return np.linalg.svd(matrix.double().numpy(), compute_uv=False)


def turned(basis, degrees, seed):
    """A basis whose principal angles with `basis` are `degrees`."""
    rows, columns = basis.shape
    aside = normal(rows, columns, seed=seed)
    aside = torch.linalg.qr(aside - basis @ (basis.T @ aside)).Q
    radians = torch.as_tensor(degrees, dtype=torch.float64).deg2rad()
    return basis * radians.cos() + aside * radians.sin()
