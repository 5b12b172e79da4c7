"""Singular values and leading singular vectors of a matrix, and measures of a delta.

The values are the square roots of the eigenvalues of the smaller Gram matrix, in float64. An
eigenvalue of it is found to within about `4 sqrt(max(m, n)) eps` of the largest one (rounding of
the sums and of the eigensolver, Golub & Van Loan 2013, chapter 8), so a singular
value s carries a relative error of half that times (s_1 / s)^2. Those for which this exceeds 1e-4
lie below the `floor`, 2e-5 to 5e-5 of the largest for the matrices of language models. They are
kept, right to floor/70 in absolute terms, but they do not count as `resolved`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from surgery.stats.gram import Gram

if TYPE_CHECKING:
    from torch import Tensor

    Array = np.ndarray[tuple[int], np.dtype[np.float64]]

ACCURACY = 1e-4
"""Relative error that a resolved singular value may have."""

_NAN = math.nan


@dataclass(frozen=True)
class Decomposition:
    """The computed part of the singular value decomposition of an m x n matrix A.

    Attributes:
        shape: (m, n).
        values: Singular values, descending: all min(m, n) of them if `complete`, else the top k.
        left: `Float[Tensor, "m r"]`, orthonormal columns: the leading left singular vectors, in
            A's element type and on its device. r = min(k, resolved), 0 where none were asked for.
        right: `Float[Tensor, "n r"]`, likewise on the right.
        complete: Whether `values` holds every singular value.
        frobenius: Frobenius norm of A.
        resolved: How many leading values are right to a relative 1e-4.
        floor: Value below which none is.
        residuals: ||A v_i - s_i u_i|| per vector, in units of A: a singular value lies within it of
            s_i. 0 where the decomposition is direct.
    """

    shape: tuple[int, int]
    values: Array
    left: Tensor
    right: Tensor
    complete: bool
    frobenius: float
    resolved: int
    floor: float
    residuals: Array


def full(matrix: Tensor, k: int, *, vectors: bool = True) -> Decomposition:
    """All singular values and the top k pairs of singular vectors.

    Args:
        matrix: `Float[Tensor, "m n"]`, float32 or float64, finite, m, n >= 1.
        k: How many pairs of vectors.
        vectors: Whether to compute vectors at all; it goes faster and takes less memory without.
    """
    return decompose(Gram.of(matrix), k if vectors else 0)


def decompose(gram: Gram, k: int) -> Decomposition:
    """All singular values and the top k pairs of vectors from a Gram matrix."""
    if k:
        squares, basis = torch.linalg.eigh(gram.square)
        basis = basis[:, -k:].flip(1)
    else:
        squares = torch.linalg.eigvalsh(gram.square)
        basis = squares.new_empty(len(squares), 0)
    return from_eigenpairs(gram, squares.flip(0), basis, squares.new_zeros(basis.shape[1]))


def from_eigenpairs(gram: Gram, squares: Tensor, basis: Tensor, residuals: Tensor) -> Decomposition:
    """Return a spectrum from eigenvalues and leading eigenvectors of a Gram matrix.

    Args:
        gram: The Gram matrix G.
        squares: `Float[Tensor, "r"]`, float64, descending: all eigenvalues, or the leading r.
        basis: `Float[Tensor, "p k"]`, float64: the eigenvectors u of the first k.
        residuals: `Float[Tensor, "k"]`: ||A v - s u|| of these, scaled as G is.
    """
    values = squares.clamp(min=0).sqrt()
    floor = noise_floor(gram.shape) * float(values[0])
    resolved = int((values > floor).sum())
    basis = basis[:, :resolved]
    sides = (basis, _other_side(gram, basis, values))
    left, right = sides if gram.shape[0] <= gram.shape[1] else sides[::-1]
    dtype = gram.wide.dtype
    return Decomposition(
        shape=gram.shape,
        values=values.cpu().numpy() / gram.scale,
        left=left.to(dtype),
        right=right.to(dtype),
        complete=len(values) == len(gram.square),
        frobenius=math.sqrt(float(gram.square.trace())) / gram.scale,
        resolved=resolved,
        floor=floor / gram.scale,
        residuals=residuals[:resolved].cpu().numpy() / gram.scale,
    )


def noise_floor(shape: tuple[int, int]) -> float:
    """Noise floor as a share of the largest singular value; see the module docstring."""
    noise = 4 * math.sqrt(max(shape)) * torch.finfo(torch.float64).eps
    return math.sqrt(noise / (2 * ACCURACY))


def _other_side(gram: Gram, basis: Tensor, values: Tensor) -> Tensor:
    """Return v = A^T u / s, orthonormalized: for small s they are orthonormal only to 1e-4."""
    far = gram.across(basis) / values[: basis.shape[1]]
    if not basis.shape[1]:
        return far
    q = torch.linalg.qr(far)
    signed: Tensor = q.Q.mul_(q.R.diagonal().sign())
    return signed


def delta_metrics(spectrum: Decomposition, k: int) -> dict[str, float]:
    """Return the spectral columns of `tensors.csv` for a delta.

    Stable rank is ||A||_F^2 / s_1^2 (Rudelson & Vershynin 2007, arXiv math/0503442, section 1).
    Effective rank is the exponential of the entropy of s_i / sum(s) (Roy & Vetterli 2007,
    section 2). Log-volume is the sum of ln(s_i) over the top k that are resolved. The condition
    number is s_1 / s_min, and NaN unless every value is resolved: s_min might be 0.

    Args:
        spectrum: Of the delta.
        k: How many values count as the top.

    Returns:
        By column. NaN for what needs every value where only the top is known, and for what a zero
        delta does not have: all but norms.
    """
    count = min(k, *spectrum.shape)
    metrics: dict[str, float] = {"top": count, "resolved": spectrum.resolved}
    every = spectrum.complete
    return metrics | value_metrics(spectrum.values, k, spectrum.frobenius, every, spectrum.resolved)


def value_metrics(
    values: Array, k: int, frobenius: float, complete: bool, resolved: int
) -> dict[str, float]:
    """Return the columns of `delta_metrics` from singular values (descending)."""
    largest = float(values[0])
    if not largest:
        names = ("stable_rank", "effective_rank", "condition_number", "log_volume", "top_energy")
        return {"spectral_norm": 0.0, "nuclear_norm": 0.0} | dict.fromkeys(names, _NAN)
    # Ratios first: the square of a norm may be beyond what a float can hold.
    relative = values / largest
    whole = (frobenius / largest) ** 2
    return {
        "spectral_norm": largest,
        "nuclear_norm": float(values.sum()) if complete else _NAN,
        "stable_rank": whole,
        "effective_rank": _effective_rank(relative) if complete else _NAN,
        "condition_number": float(1 / relative[-1])
        if complete and resolved == len(values)
        else _NAN,
        "log_volume": float(np.log(values[: min(k, resolved)]).sum()),
        "top_energy": min(1.0, float((relative[:k] ** 2).sum()) / whole),
    }


def _effective_rank(values: Array) -> float:
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def shift(before: Decomposition, after: Decomposition, most: int | None = None) -> float:
    """Normalised spectral shift ||s(W') - s(W)|| / ||s(W)|| over the values known of both.

    Args:
        before: Spectrum of W.
        after: Of W'.
        most: Look at so many of the largest at most.

    Returns:
        The shift; NaN if W is zero.
    """
    count = min(len(before.values), len(after.values), most or len(before.values))
    size = float(np.linalg.norm(before.values[:count]))
    change = float(np.linalg.norm(after.values[:count] - before.values[:count]))
    return change / size if size else _NAN
