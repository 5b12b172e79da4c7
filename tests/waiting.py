"""Waiting for what will come, bounding work and starting processes, on a machine of any speed."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.context import ForkProcess
    from subprocess import Popen

PATIENCE = 240.0
"""Seconds after which a test that waits for something has hung, however loaded the machine is."""


def until(event: Callable[[], object], process: Popen | ForkProcess | None = None) -> None:
    """Wait for an event, of a process that has to live until then."""
    end = time.monotonic() + PATIENCE
    while not event():
        if process is not None:
            code = process.poll() if hasattr(process, "poll") else process.exitcode
            assert code is None or event(), f"the process ended with {code} before the event"
        assert time.monotonic() < end, "the event did not come"
        time.sleep(0.002)


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Fail if the block takes more processor time of this process.

    Give a limit ten times what an idle machine needs: it is for the wrong power of n. Speed is
    measured by `make bench`.
    """
    before = time.process_time()
    yield
    assert time.process_time() - before < seconds


def forked(function: Callable[..., Any], *arguments: object) -> ForkProcess:
    """Start a function in a process forked from this one, which has imported everything."""
    process = get_context("fork").Process(target=_run, args=(function, *arguments))
    process.start()
    return process


def _run(function: Callable[..., Any], *arguments: object) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    function(*arguments)
