"""Division of a plan into jobs, and their execution on a few threads."""

from __future__ import annotations

import os
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from surgery.checkpoint.source import Checkpoint
    from surgery.plan.model import TensorOp

MAX_WORKERS = 8
"""More threads than this only wait for memory and disk."""

LONGEST_RUN = 256 << 20
"""Bytes after which neighboring copies become two pieces, so that threads end together."""


def processors() -> int:
    """Return how many processors this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system tells
        return os.cpu_count() or 1


def default_workers() -> int:
    """Return a number of threads: the processors to run on, at most `MAX_WORKERS`."""
    return min(MAX_WORKERS, processors())


class JobStopped(Exception):  # noqa: N818 - not an error: a thread was asked to end
    """Another thread failed or the user interrupted the work."""


@dataclass(frozen=True)
class CopyRun:
    """Copies whose bytes are neighbours both where they come from and where they go.

    Attributes:
        ops: The copies, in order.
        descriptor: The open source file.
        offset: First byte of the first tensor in it.
    """

    ops: tuple[TensorOp, ...]
    descriptor: int
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes to copy."""
        return sum(op.nbytes for op in self.ops)


def runs(ops: Sequence[TensorOp], checkpoints: Mapping[str, Checkpoint]) -> Iterator[CopyRun]:
    """Gather the plan's plain copies into runs.

    Args:
        ops: In the order of the output files.
        checkpoints: The recipe's models, open.

    Yields:
        Runs of at most `LONGEST_RUN` bytes, or of one larger tensor.
    """
    run: list[TensorOp] = []
    start = (-1, 0)
    end = size = 0
    for op in ops:
        place = copy_place(op, checkpoints)
        follows = (
            bool(run)
            and place == (start[0], end)
            and op.shard == run[0].shard
            and size + op.nbytes <= LONGEST_RUN
        )
        if not follows and run:
            yield CopyRun(tuple(run), *start)
            run = []
        if place is None:
            continue
        if not run:
            start, size = place, 0
        run.append(op)
        end, size = place[1] + op.nbytes, size + op.nbytes
    if run:
        yield CopyRun(tuple(run), *start)


def copy_place(op: TensorOp, checkpoints: Mapping[str, Checkpoint]) -> tuple[int, int] | None:
    """Descriptor and offset of the bytes a copy moves; None for what has to be computed."""
    if not op.is_copy:
        return None
    (ref,) = op.inputs
    return checkpoints[ref.model].file_range(ref.tensor)


def do_all(
    jobs: Sequence[tuple[int, Callable[[Event], None]]],
    workers: int,
    checkpoints: Iterable[Checkpoint] = (),
) -> None:
    """Do jobs on threads, the largest first; the first failure stops the rest.

    Args:
        jobs: Sizes and functions. A function looks at the event it is given now and then, and
            raises `JobStopped` once it is set.
        workers: Number of threads.
        checkpoints: Where jobs may wait for fetched bytes; fetches are canceled with the jobs.

    Raises:
        BaseException: The exception of the first job to fail, or an interrupt of this thread; no
            job runs any more when it leaves.
    """
    stop = Event()
    ordered = [job for _, job in sorted(jobs, key=lambda pair: -pair[0])]
    with ThreadPoolExecutor(workers, thread_name_prefix="surgery") as pool:
        futures = [pool.submit(job, stop) for job in ordered]
        failed = None
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in done if future.exception() is not None]
        finally:
            stop.set()
            if failed != []:
                for checkpoint in checkpoints:
                    checkpoint.cancel()
            pool.shutdown(wait=True, cancel_futures=True)
    errors = [future.exception() for future in failed]
    for error in sorted(errors, key=lambda result: isinstance(result, JobStopped)):
        assert error is not None  # only failed futures were kept
        raise error
