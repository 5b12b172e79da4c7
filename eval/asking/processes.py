"""Variants answered in this process or in several, one resident model in each."""

from __future__ import annotations

import os
import signal
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from multiprocessing import get_context, parent_process
from threading import Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from eval.asking.changes import AnsweringModel, Unchanged
from eval.asking.loop import ask
from eval.asking.session import Session
from eval.asking.store import Store
from eval.questions import questions
from surgery.checkpoint.hub import fixed_revisions
from surgery.errors import ExecutionError
from surgery.execute.work import processors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from eval.asking.prepare import PreparedVariant
    from eval.asking.session import Timing
    from eval.asking.settings import EvalSettings
    from eval.prompts import Style
    from eval.questions import Question
    from eval.records import Suite

    Report: TypeAlias = Callable[[str, int, int], object]
    """Called with a variant's name, the number of responses that arrived, and the number of all."""

_MAX_PROCESSES: Final = 4  # on a CPU: more only wait for its memory
_BYTES_PER_PARAMETER: Final = 8
"""Of memory: a parameter in float32, and as much again for batches and variants."""
_POLL_SECONDS: Final = 0.2  # between two looks at what the processes report


class Worker:
    """One process's session, its store, and the questions in every prompt style.

    Args:
        suites: The questions.
        settings: Settings of the run.
        folder: The run's folder.

    Attributes:
        store: The run's responses.
    """

    def __init__(self, suites: tuple[Suite, ...], settings: EvalSettings, folder: Path) -> None:
        self.store = Store(folder)
        self._suites = suites
        self._session = Session(settings)
        self._questions: dict[Style, tuple[Question, ...]] = {}

    def questions(self, style: Style) -> tuple[Question, ...]:
        """Return the questions in a prompt style; the same objects for every variant."""
        if style not in self._questions:
            generation = self._session.settings.generation
            self._questions[style] = tuple(questions(self._suites, style, generation))
        return self._questions[style]

    def keys(self, prepared: PreparedVariant) -> tuple[str, ...]:
        """Return the key of every question's response, those that cannot be asked among them."""
        facts = self._session.settings.engine_facts()
        return tuple(
            question.key(prepared.content, facts) for question in self.questions(prepared.style)
        )

    def expected_keys(self, prepared: PreparedVariant) -> set[str]:
        """Return the keys of all questions that can be asked."""
        questions = zip(self.questions(prepared.style), self.keys(prepared), strict=True)
        return {key for question, key in questions if question.askable}

    def answer(self, prepared: PreparedVariant, report: Report) -> Timing:
        """Ask one variant its remaining questions.

        Raises:
            SurgeryError: If the model cannot be loaded, or becomes another one than was prepared.
        """
        start = perf_counter()
        with self._session.subject(prepared, self.questions(prepared.style)) as subject:
            answered = ask(
                AnsweringModel(subject, Unchanged()), subject.questions, self.store,
                partial(report, subject.name), only_new=True,
            )  # fmt: skip
        return replace(subject.timing, total=perf_counter() - start, answered=answered)


def process_count(prepared: Sequence[PreparedVariant], settings: EvalSettings) -> int:
    """Return the number of resident models that this machine has processors and memory for."""
    import psutil

    if settings.resolve_device() != "cpu":
        return 1
    largest = max((item.numel for item in prepared), default=0) * _BYTES_PER_PARAMETER
    available = int(psutil.virtual_memory().available)
    return max(1, min(processors(), _MAX_PROCESSES, available // max(1, largest)))


def answer_in_processes(
    waiting: Sequence[PreparedVariant],
    worker: tuple[tuple[Suite, ...], EvalSettings, Path],
    count: int,
    report: Report,
) -> dict[str, Timing]:
    """Ask variants in several processes.

    Args:
        waiting: The variants.
        worker: Arguments of each process's `Worker`.
        count: Number of processes.
        report: Called with a variant's name, the number of responses that arrived, and of all.

    Raises:
        ExecutionError: If a process is killed.
        SurgeryError: As `Worker.answer`.
    """
    context = get_context("spawn")  # a fork would copy torch's threads in an undefined state
    reports = context.SimpleQueue()
    pool = ProcessPoolExecutor(
        count, mp_context=context, initializer=_start,
        initargs=(*worker, reports),
    )  # fmt: skip
    try:
        futures = {pool.submit(_answer, item): item.variant.name for item in waiting}
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            while not reports.empty():
                report(*reports.get())
            for future in done:
                future.result()
    except BrokenProcessPool:
        raise ExecutionError(
            f"a process that answered questions was killed, most likely because memory ran out. "
            f"What it had answered is kept in {worker[-1]}; run again with fewer processes or a "
            f"smaller batch to resume."
        ) from None
    finally:
        processes = list((pool._processes or {}).values())  # shutting down forgets them
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:  # idle when all went well; what they had answered is stored
            process.terminate()
    return {name: future.result() for future, name in futures.items()}


_lifetime: Final = ExitStack()
"""Blocks that last as long as a process of the pool."""
_worker: Worker
_reports: Any


def _start(suites: tuple[Suite, ...], settings: EvalSettings, folder: Path, reports: Any) -> None:
    """Prepare a process: one thread, no chatter, and an end when its parent ends."""
    global _worker, _reports
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C, and ends this one
    Thread(target=_end_with_parent, daemon=True).start()
    import torch
    import transformers

    threads = settings.threads or 1
    torch.set_num_threads(threads)
    transformers.utils.logging.set_verbosity_error()
    _lifetime.enter_context(fixed_revisions())
    transformers.utils.logging.disable_progress_bar()
    _worker, _reports = Worker(suites, replace(settings, threads=threads), folder), reports


def _end_with_parent() -> None:
    """End with a parent that was killed; its children would wait for it for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(prepared: PreparedVariant) -> Timing:
    return _worker.answer(prepared, lambda *report: _reports.put(report))
