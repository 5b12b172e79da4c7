"""Angles between subspaces: rotation of singular vectors, overlap of updates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from surgery.stats.spectrum import Decomposition

    Array = np.ndarray[tuple[int], np.dtype[np.float64]]


def principal_angles(first: Tensor, second: Tensor) -> Array:
    """Principal angles between two subspaces.

    Large angles come from the cosines (Björck & Golub 1973, theorem 1), which cannot resolve angles
    below 1e-8; small angles from the sines (Knyazev & Argentati 2002, section 3).

    Args:
        first: `Float[Tensor, "d k1"]`, orthonormal columns.
        second: `Float[Tensor, "d k2"]`, likewise.

    Returns:
        min(k1, k2) angles in degrees, ascending; exactly 0 for a basis and itself.
    """
    if first is second:
        return np.zeros(first.shape[1])
    small, large = sorted((first.double(), second.double()), key=lambda basis: basis.shape[1])
    if not small.shape[1]:
        return np.empty(0)
    shared = large.T @ small
    cosines = torch.linalg.svdvals(shared).clamp(max=1)
    # R has the singular values of what is left over, and only as many rows as there are angles.
    left_over = torch.linalg.qr(small - large @ shared, mode="r").R
    sines = _padded(torch.linalg.svdvals(left_over), len(cosines)).clamp(max=1).flip(0)
    angles = torch.where(cosines**2 < 0.5, cosines.acos(), sines.asin())
    result: Array = angles.rad2deg().cpu().numpy()
    return result


def _padded(values: Tensor, count: int) -> Tensor:
    """Singular values, with the zeros that a matrix with too few rows does not have."""
    return torch.cat([values, values.new_zeros(count - len(values))])


def rotation(before: Decomposition, after: Decomposition) -> dict[str, Any]:
    """Return the rotation of a weight's leading singular subspaces.

    Args:
        before: Spectrum of the weight before, with vectors.
        after: The same after.

    Returns:
        `rotation_left_mean`, `rotation_left_max` and the same for `right`, in degrees, NaN where
        there are no vectors; `angles_left` and `angles_right`, the principal angles themselves.
    """
    metrics: dict[str, Any] = {}
    sides = {"left": (before.left, after.left), "right": (before.right, after.right)}
    for side, (first, second) in sides.items():
        angles = principal_angles(first, second)
        metrics[f"angles_{side}"] = angles
        metrics[f"rotation_{side}_mean"] = float(angles.mean()) if angles.size else math.nan
        metrics[f"rotation_{side}_max"] = float(angles.max()) if angles.size else math.nan
    return metrics


def overlap(first: Decomposition, second: Decomposition) -> dict[str, float]:
    """Return the overlap of the leading singular subspaces of two updates.

    The overlap is ||U1^T U2||_F^2 / min(r1, r2), the mean squared cosine of the principal angles
    (Hu et al. 2021, arXiv 2106.09685, eq. 4). For two random subspaces of R^d its expectation is
    max(r1, r2) / d, as each squared entry of U1^T U2 has expectation 1 / d.

    Args:
        first: Spectrum of one delta, with vectors.
        second: Spectrum of the other, of the same shape.

    Returns:
        `subspace_rank`, min(r1, r2), and per side `subspace_overlap_*` and `subspace_chance_*`,
        NaN where the rank is 0.
    """
    ranks = first.left.shape[1], second.left.shape[1]
    rank = min(ranks)
    metrics: dict[str, float] = {"subspace_rank": rank}
    sides = {"left": (first.left, second.left), "right": (first.right, second.right)}
    for side, (basis, other) in sides.items():
        shared = float((basis.double().T @ other.double()).square().sum())
        metrics[f"subspace_overlap_{side}"] = min(1.0, shared / rank) if rank else math.nan
        metrics[f"subspace_chance_{side}"] = max(ranks) / len(basis) if rank else math.nan
    return metrics
