"""Ask every variant every question, one resident model per process, and keep each response."""

from __future__ import annotations

import os
import signal
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from eval.engines.resizing import find_shrinkage
from eval.store import Store
from eval.sweep.desk import Desk, Timing, prepare, recipe_of
from surgery.errors import ExecutionError
from surgery.execute.work import processors
from surgery.runs import RunKind, claimed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from eval.asks import Ask
    from eval.engines.resizing import Shrinkage
    from eval.prompts import Style
    from eval.sweep.desk import Planned, Told, Work
    from eval.sweep.variants import Variant

_MOST: Final = 4  # processes on a CPU: more only wait for its memory
_BYTES: Final = 8
"""Of memory that a parameter takes: in float32, and once more for batches and variants."""
_POLL: Final = 0.2  # seconds between two looks at what the processes report


@dataclass(frozen=True)
class Asked:
    """A variant with what it was asked.

    Attributes:
        variant: The variant.
        content: Its content fingerprint.
        style: The prompt style.
        asks: Every question with the key of its response.
        timing: Where its time went, empty if all was there already.
        shrinkage: Images that the model's processor makes smaller, if there are any.
    """

    variant: Variant
    content: str
    style: Style
    asks: tuple[Ask, ...]
    timing: Timing = field(default_factory=Timing, compare=False)
    shrinkage: Shrinkage | None = None


def run(
    variants: Sequence[Variant],
    work: Work,
    folder: Path,
    *,
    processes: int | None = 1,
    progress: Told | None = None,
) -> list[Asked]:
    """Ask what has not been answered yet, and keep every response in the folder as it comes.

    Args:
        variants: The models; those with the same base share one resident model.
        work: What is asked, and how.
        folder: The run's folder.
        processes: How many models are resident at once, each in a process of its own; None takes
            one with CUDA, and on a CPU as many as there are processors and memory for.
        progress: Told what is there already, and after every batch what came.

    Returns:
        The variants in their order, each with its questions.

    Raises:
        SurgeryError: If a model cannot be used, or another process is running in the folder.
    """
    told = progress or (lambda *_: None)
    work.where()  # faults show before there is a folder
    planned = [prepare(variant, work) for variant in variants]
    with claimed(folder, RunKind.EVALUATION):
        store = Store(folder)
        desk = Desk(work, folder)
        asked = [Asked(one.variant, one.known.whole, one.style, desk.asks(one)) for one in planned]
        waiting = []
        for one, its in zip(planned, asked, strict=True):
            left = sum(ask.key not in store.responses for ask in its.asks)
            told(one.variant.name, len(its.asks) - left, len(its.asks))
            if left:
                waiting.append(one)
        # Neighbours share a base, so that it is loaded once.
        waiting.sort(key=_base)
        processes = min(fitting(planned, work) if processes is None else processes, len(waiting))
        if processes <= 1:
            timings = {one.variant.name: desk.answer(one, told) for one in waiting}
        else:
            timings = _in_processes(waiting, work, folder, processes, told)
    shrinkage = {one.folder: find_shrinkage(one.folder, asked[0].asks) for one in planned}
    return [
        replace(
            its, timing=timings.get(its.variant.name, Timing()), shrinkage=shrinkage[one.folder]
        )
        for one, its in zip(planned, asked, strict=True)
    ]


def fitting(planned: Sequence[Planned], work: Work) -> int:
    """How many resident models this machine has processors and memory for."""
    import psutil

    if work.where() != "cpu":
        return 1
    largest = max((one.numel for one in planned), default=0) * _BYTES
    there = int(psutil.virtual_memory().available)
    return max(1, min(processors(), _MOST, there // max(1, largest)))


def _base(planned: Planned) -> str:
    recipe = recipe_of(planned.variant)
    return str(recipe.models[recipe.base])


def _in_processes(
    waiting: Sequence[Planned], work: Work, folder: Path, processes: int, told: Told
) -> dict[str, Timing]:
    context = get_context("spawn")  # a fork would copy torch's threads in whatever state they are
    reports = context.SimpleQueue()
    pool = ProcessPoolExecutor(
        processes, mp_context=context, initializer=_start, initargs=(work, folder, reports)
    )
    try:
        futures = {pool.submit(_answer, one): one.variant.name for one in waiting}
        left = set(futures)
        while left:
            done, left = wait(left, timeout=_POLL, return_when=FIRST_COMPLETED)
            while not reports.empty():
                told(*reports.get())
            for future in done:
                future.result()
    except BrokenProcessPool:
        raise ExecutionError(
            f"a process that answered questions was killed, most likely because memory ran out. "
            f"What it had answered is kept in {folder}; run again with fewer processes or a "
            f"smaller batch to go on."
        ) from None
    finally:
        at_work = list((pool._processes or {}).values())  # shutting down forgets them
        pool.shutdown(wait=False, cancel_futures=True)
        for process in at_work:  # idle when all went well; what they had answered is kept
            process.terminate()
    return {name: future.result() for future, name in futures.items()}


_desk: Desk
_reports: Any


def _start(work: Work, folder: Path, reports: Any) -> None:
    """Prepare a process: one thread, no chatter, and an end when its parent ends."""
    global _desk, _reports
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C, and ends this one
    Thread(target=_end_with_parent, daemon=True).start()
    import torch
    import transformers

    torch.set_num_threads(work.threads or 1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    _desk, _reports = Desk(replace(work, threads=work.threads or 1), folder), reports


def _end_with_parent() -> None:
    """A parent that was killed cannot say so, and its children would wait for it for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(planned: Planned) -> Timing:
    return _desk.answer(planned, lambda *told: _reports.put(told))
