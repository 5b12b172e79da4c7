"""The elementwise pass compared with numpy's sum of the same bytes, both from page cache."""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from surgery.checkpoint.local import LocalCheckpoint
from surgery.stats.elementwise import measure
from surgery.stats.read import TensorView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

CHUNK = 1 << 24
"""Elements after which a tensor is cut, so that all threads have work."""


def rates(paths: Sequence[Path], rounds: int = 7, threads: int | None = None) -> dict[str, Any]:
    """Time both ways in turn, round after round, so that a slow spell hits both.

    Args:
        paths: Two or three checkpoint folders with the same tensors.
        rounds: How often; a first round that fills the page cache is not counted.
        threads: For our pass; one per processor when None. numpy's sum has one.

    Returns:
        GB/s (1e9 bytes) of both, best and median; `numpy` is the faster of its sums as uint64 and
        as float32. `ratio` is the median over the rounds of ours over numpy's in the same round.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(LocalCheckpoint(path)) for path in paths]
        names = [n for n, t in opened[0].info.tensors.items() if t.numel >= 1 << 20]
        rows = [[TensorView(checkpoint, name) for checkpoint in opened] for name in names]
        nbytes = sum(view.numel * view.dtype.size for row in rows for view in row)
        workers = threads or len(os.sched_getaffinity(0))
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        ways = {
            "uint64": lambda: _sum(rows, np.uint64),
            "float32": lambda: _sum(rows, np.float32),
            "ours": lambda: _measure(rows, pool),
        }
        results = [{k: _rate(nbytes, way) for k, way in ways.items()} for _ in range(rounds + 1)][
            1:
        ]
    numpy = [max(item["uint64"], item["float32"]) for item in results]
    actual = [item["ours"] for item in results]
    return {
        "gigabytes": nbytes / 1e9,
        "numpy_best": max(numpy),
        "numpy_median": statistics.median(numpy),
        "ours_best": max(actual),
        "ours_median": statistics.median(actual),
        "ratio": statistics.median(a / b for a, b in zip(actual, numpy, strict=True)),
    }


def _rate(nbytes: int, way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return nbytes / (time.perf_counter() - start) / 1e9


def _sum(rows: Sequence[Sequence[TensorView]], dtype: Any) -> None:
    with np.errstate(over="ignore", invalid="ignore"):  # bf16 bits are no float32
        for row in rows:
            for view in row:
                stored = view.window(0, view.numel).view(np.uint8)
                stored[: stored.size // 8 * 8].view(dtype).sum()


def _measure(rows: Sequence[Sequence[TensorView]], pool: ThreadPoolExecutor) -> None:
    chain = len(rows[0]) == 3
    pairs = [(0, 1), (1, 2), (0, 2)] if chain else [(0, 1)]
    jobs = [
        pool.submit(measure, row, pairs, (0, 1) if chain else None, start, stop)
        for row in rows
        for start in range(0, row[0].numel, CHUNK)
        for stop in [min(start + CHUNK, row[0].numel)]
    ]
    for job in jobs:
        job.result()
