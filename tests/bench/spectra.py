"""Spectra of a delta and `torch.linalg.svdvals`, and two matrices in parallel."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surgery.stats.krylov import top
from surgery.stats.spectrum import full

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (2048, 11008)
"""An MLP matrix of Qwen2.5-VL-3B."""

_TOP = 64
_CHECKED = (768, 4128)
"""Shape for the comparison with LAPACK in float64, which would take minutes on `SHAPE`."""


def delta(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """Noise with a few directions that stand out, as training leaves: `Float[Tensor, "m n"]`."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = shape
    remaining = torch.randn(rows, 32, generator=generator) * torch.logspace(0, -2, 32)
    noise = torch.randn(shape, generator=generator)
    return 1e-4 * (noise + remaining @ torch.randn(32, columns, generator=generator))


def decaying(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """Singular values from 1 to 1e-6: `Float[Tensor, "m n"]`."""
    generator = torch.Generator().manual_seed(seed)
    rank = min(shape)
    Q = torch.linalg.qr(torch.randn(shape[0], rank, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(shape[1], rank, generator=generator)).Q
    return (Q * torch.logspace(0, -6, rank)) @ right.T


def spectra(tell: Callable[[str], None], rounds: int = 3) -> dict[str, Any]:
    """Seconds per matrix of the plain way and of ours, and how far the values are off.

    Args:
        tell: Gets a line per measurement.
        rounds: Of ours; the plain way runs once. The least time of the rounds counts.
    """
    matrix = delta(SHAPE)
    ways: dict[str, Callable[[], object]] = {
        "full, values only": lambda: full(matrix, 0, vectors=False),
        f"full, {_TOP} vectors": lambda: full(matrix, _TOP),
        f"top {_TOP}": lambda: top(matrix, _TOP),
    }
    seconds = {"svdvals": _least(lambda: torch.linalg.svdvals(matrix), 1)}
    seconds |= {name: _least(way, rounds) for name, way in ways.items()}
    # Each way twice at once with one thread each: what a run over many matrices does.
    seconds |= {f"{name}, 2 at once": _least_of_pair(way, rounds) for name, way in ways.items()}
    for name, taken in seconds.items():
        faster = seconds["svdvals"] / taken
        tell(f"  {name:<32} {taken:7.2f} s per matrix  {faster:5.1f} times as fast as svdvals")
    errors = {
        "delta": _errors(delta(_CHECKED), tell, "delta"),
        "decaying": _errors(decaying(_CHECKED), tell, "decaying"),
    }
    return {"shape": SHAPE, "threads": torch.get_num_threads(), "seconds": seconds, **errors}


def _least(way: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        way()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _least_of_pair(way: Callable[[], object], rounds: int) -> float:
    """Seconds per matrix when two are computed at the same time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def both() -> None:
        with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(lambda _: way(), range(2)))

    try:
        return _least(both, rounds) / 2
    finally:
        torch.set_num_threads(threads)


def _errors(matrix: torch.Tensor, tell: Callable[[str], None], name: str) -> dict[str, float]:
    """Largest relative errors, against LAPACK in float64."""
    known_names = torch.linalg.svdvals(matrix.double()).numpy()
    every, leading = full(matrix, _TOP), top(matrix, _TOP)
    above = known_names > 1e-4 * known_names[0]
    off = np.abs(every.values / known_names - 1)
    best = leading.resolved if not leading.complete else _TOP
    result = {
        "above_1e-4_of_largest": float(off[above].max()),
        "resolved": float(off[: every.resolved].max()),
        "top": float(np.abs(leading.values[:best] / known_names[:best] - 1).max()),
        "unresolved_values": float(len(known_names) - every.resolved),
    }
    tell(f"  relative errors, {name}: " + ", ".join(f"{k} {v:.2g}" for k, v in result.items()))
    return result


if __name__ == "__main__":
    spectra(print)
