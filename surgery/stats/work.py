"""Who works on what: threads, BLAS threads and memory."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SLACK = 200 << 20
"""Bytes that spectra may take beyond what the largest needs, so that small ones run beside it."""


@dataclass(frozen=True)
class Crew:
    """How the processors are shared out.

    Attributes:
        workers: Threads of ours.
        blas: Threads of the linear algebra library under each.
        memory: Bytes that all of them may hold together.
    """

    workers: int
    blas: int
    memory: int


def share_out(processors: int, needs: Sequence[int], memory: int | None) -> Crew:
    """Several matrices at once, one thread each, as far as memory goes; then threads for each.

    Decompositions spend half their time waiting for memory, so that two matrices on one thread each
    are done sooner than one after the other on two.

    Args:
        processors: Threads in all.
        needs: Bytes each matrix needs; empty without spectra.
        memory: Most bytes in all; what the largest needs and `SLACK` when None.
    """
    if not needs:
        return Crew(processors, 1, 0)
    limit = max(needs) + SLACK if memory is None else memory
    usual = sorted(needs)[len(needs) // 2]
    at_once = max(1, min(processors, limit // max(1, usual)))
    blas = max(1, processors // at_once)
    return Crew(max(1, processors // blas), blas, limit)


class Budget:
    """Lets threads hold memory as long as all of them together stay within a limit.

    Whoever needs more than the limit is let in alone.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._change = Condition()

    @contextmanager
    def hold(self, nbytes: int) -> Iterator[None]:
        """Wait until there is room, and keep it for the length of the block."""
        with self._change:
            self._change.wait_for(lambda: not self._held or self._held + nbytes <= self._limit)
            self._held += nbytes
        try:
            yield
        finally:
            with self._change:
                self._held -= nbytes
                self._change.notify_all()
