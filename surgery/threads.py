"""The number of threads that torch computes on, set for the calling thread alone.

OpenMP keeps this number for each thread of the process. `torch.set_num_threads` sets that of the
calling thread and also the number that threads start with which have not computed
anything yet. Only the first is wanted: two merges in one process would otherwise leave each other
with one thread, or with several, and sums depend on how many there are.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from threading import Lock, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_changing = Lock()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Compute on `count` threads in this thread, inside the block.

    Blocks may be nested, and other threads may be in blocks of their own: none changes the number
    of another. A thread that is started inside the block has the number from outside.

    Args:
        count: At least 1.
    """
    import torch

    with _changing:
        before = torch.get_num_threads()  # gives a new thread its number, so that it is its own
    if before == count:
        yield
        return
    _set(count, new_threads=before)
    try:
        yield
    finally:
        _set(before, new_threads=before)


def one_thread() -> AbstractContextManager[None]:
    """Keep torch's reductions in this thread from being divided: sums depend on the number."""
    return torch_threads(1)


def _set(count: int, *, new_threads: int) -> None:
    """Set the calling thread's number, and `new_threads` as that of threads to come."""
    import torch

    with _changing:
        torch.set_num_threads(count)
        if count != new_threads:
            setter = Thread(target=torch.set_num_threads, args=(new_threads,))
            setter.start()
            setter.join()
