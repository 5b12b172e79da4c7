"""Spectral measures of one matrix: its updates, its drift, their overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from surgery.errors import ExecutionError
from surgery.stats import memory
from surgery.stats.krylov import top
from surgery.stats.null import random_delta
from surgery.stats.options import SpectrumKind
from surgery.stats.read import load, load_delta
from surgery.stats.spectrum import delta_metrics, full, shift
from surgery.stats.subspace import overlap, rotation

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from surgery.stats.options import CheckpointPair, Options
    from surgery.stats.read import TensorView
    from surgery.stats.spectrum import Decomposition


def projected_bytes(shape: tuple[int, int], kind: SpectrumKind, k: int) -> int:
    """Most that all the spectra of one matrix hold at a time.

    The matrix in float32, what one decomposition takes, and the leading vectors of those done
    before: of three models and three updates at most.

    Args:
        shape: Rows and columns.
        kind: The largest values, or all.
        k: How many vectors.
    """
    rows, columns = shape
    vectors = 6 * 8 * min(k, rows, columns) * (rows + columns)
    return 4 * rows * columns + memory.projected_bytes(shape, str(kind), k) + vectors


def choose_device(name: str) -> str:
    """Return the device to compute on: for `auto`, a GPU if there is one.

    Raises:
        ExecutionError: If it is not there, or cannot compute in float64.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, dtype=torch.float64, device=name).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0].rstrip(".")[:200]
        raise ExecutionError(
            f"device {name!r} cannot be used here: {reason}. Expected auto, cpu, or a GPU that "
            f"computes in float64, such as cuda or cuda:1."
        ) from error
    return name


class Spectral:
    """Spectra of one matrix in all models.

    Every matrix is read, decomposed and released before the next; the result is singular values and
    the leading vectors.

    Args:
        name: The tensor's, for the names of arrays.
        shape: Rows and columns.
        views: The tensor in each model, every element finite.
        options: Which values, how many vectors, and the device, never `auto`.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int],
        views: Mapping[str, TensorView],
        options: Options,
    ) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._name = name
        self._shape = shape
        self._views = views
        self._options = options
        self._weights: dict[str, Decomposition] = {}
        self._deltas: dict[CheckpointPair, Decomposition] = {}

    def pair(self, pair: CheckpointPair, rounding: float) -> dict[str, Any]:
        """Return the columns of `tensors.csv` that need singular values.

        Args:
            pair: Which.
            rounding: Norm of what rounding to bf16 adds to the delta.
        """
        delta = self._delta(pair)
        if not delta.frobenius:  # nothing changed: what is known of one side holds for both
            spectrum_before = self._weights.get(pair.after) or self._weight(pair.before)
            for model in (pair.before, pair.after):
                self._keep(model, spectrum_before)
        before, after = self._weight(pair.before), self._weight(pair.after)
        turned = rotation(before, after)
        for side in ("left", "right"):
            self.arrays[f"{self._name}/{pair}/angles_{side}"] = turned.pop(f"angles_{side}")
        edge = random_delta(self._shape, rounding, self._options.top)["random_spectral_norm"]
        # Small matrices are decomposed whole either way; all should say the same thing.
        looked_at = None if self._options.spectrum is SpectrumKind.FULL else self._options.top
        kind = SpectrumKind.FULL if delta.complete else SpectrumKind.TOP
        return {
            "spectrum": str(kind),
            "above_rounding": int((delta.values > edge).sum()),
            **delta_metrics(delta, self._options.top),
            **random_delta(self._shape, delta.frobenius, self._options.top),
            "spectral_shift": shift(before, after, looked_at),
            **turned,
        }

    def update(self, first: CheckpointPair, second: CheckpointPair) -> dict[str, Any]:
        """Return the columns of `updates.csv` that need singular vectors."""
        return overlap(self._delta(first), self._delta(second))

    def _weight(self, model: str) -> Decomposition:
        if model not in self._weights:
            decomposition = self._decompose(load(self._views[model]))
            self._keep(model, decomposition)
        return self._weights[model]

    def _keep(self, model: str, decomposition: Decomposition) -> None:
        self.arrays[f"{self._name}/{model}/weight"] = decomposition.values
        self._weights[model] = decomposition

    def _delta(self, pair: CheckpointPair) -> Decomposition:
        if pair not in self._deltas:
            delta = load_delta(self._views[pair.before], self._views[pair.after])
            decomposition = self._decompose(delta)
            self.arrays[f"{self._name}/{pair}/delta"] = decomposition.values
            self._deltas[pair] = decomposition
        return self._deltas[pair]

    def _decompose(self, array: NDArray[Any]) -> Decomposition:
        matrix = torch.from_numpy(array).reshape(self._shape).to(self._options.device)
        return (
            full(matrix, self._options.top)
            if self._options.spectrum is SpectrumKind.FULL
            else top(matrix, self._options.top)
        )
