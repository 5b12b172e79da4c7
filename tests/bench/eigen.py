"""The leading eigenpairs of a Gram matrix: the ways to find them, side by side.

`python -m tests.bench.eigen [SIZE...]` prints CPU seconds of one thread. Rounds are interleaved, so
that other load on the machine meets every way alike; the least of the rounds counts.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh

from surgery.stats.gram import Gram
from surgery.stats.krylov import top
from tests.bench.spectra import decaying, delta

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (1024, 2048, 3584)
"""Hidden sizes from small models to Qwen2.5-VL-7B."""

_TOP = 64
_WIDE = 1.5
"""Columns per row."""


def updates(size: int) -> dict[str, torch.Tensor]:
    """Deltas of the kinds that training leaves: `Float[Tensor, "size columns"]` each."""
    shape = (size, int(_WIDE * size))
    noise = 1e-4 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    spikes = torch.zeros(shape)
    spikes.diagonal()[:12] = torch.linspace(2e-2, 1e-2, 12) * size**0.5
    return {
        "low rank and noise": delta(shape),
        "spikes": noise + spikes,
        "random": noise,
        "decaying": decaying(shape),
    }


def ways(square: np.ndarray) -> dict[str, Callable[[], object]]:
    """Ways to find eigenpairs: subset and complete, by LAPACK and by ARPACK."""
    last = [len(square) - _TOP, len(square) - 1]
    matrix = torch.from_numpy(square)
    return {
        "eigh, subset (evr)": lambda: eigh(
            square, subset_by_index=last, driver="evr", check_finite=False
        ),
        "eigh, all (evd)": lambda: torch.linalg.eigh(matrix),
        "eigvalsh, all": lambda: torch.linalg.eigvalsh(matrix),
        "eigsh (ARPACK)": lambda: eigsh(square, k=_TOP, v0=np.ones(len(square))),
    }


def compare(size: int, rounds: int, say: Callable[[str], None]) -> None:
    """Print the seconds of every way for every kind of update."""
    for kind, matrix in updates(size).items():
        gram = Gram.of(matrix)
        todo = {
            "gram": lambda m=matrix: Gram.of(m),
            **ways(gram.square.numpy()),
            "gram and krylov": lambda m=matrix: top(m, _TOP),
        }
        seconds: dict[str, list[float]] = {name: [] for name in todo}
        for _ in range(rounds):
            for name, way in todo.items():
                start = time.process_time()
                way()
                seconds[name].append(time.process_time() - start)
        text = ", ".join(f"{name} {min(taken):.2f}" for name, taken in seconds.items())
        say(f"p = {size}, {kind}: {text}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for size in map(int, sys.argv[1:]) if sys.argv[1:] else SIZES:
        compare(size, 3 if size < 3000 else 2, lambda text: print(text, flush=True))
