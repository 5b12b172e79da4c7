"""Several models through one suite, on several processes."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

from eval.engines.local import LocalEngine
from eval.grade import grade_exact
from eval.metrics import accuracy
from eval.suites import specimen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from eval.records import Grade, Score


@dataclass(frozen=True)
class Questions:
    """Which questions are asked.

    Attributes:
        tasks: Names of the specimen suite's tasks.
        n: Questions per task.
        seed: Which ones.
        max_new_tokens: Longest answer.
        batch: Questions at once.
    """

    tasks: tuple[str, ...] = specimen.TASKS
    n: int = 100
    seed: int = 0
    max_new_tokens: int = 40
    batch: int = 100


@dataclass(frozen=True)
class Result:
    """One model's marks.

    Attributes:
        name: The model.
        scores: One per task.
        grades: Per task, one grade per question, in the order of the questions; every model
            answers the same ones, so that models can be compared question by question.
    """

    name: str
    scores: tuple[Score, ...]
    grades: Mapping[str, tuple[Grade, ...]]


def evaluate(folder: Path, name: str, questions: Questions) -> Result:
    """Load one checkpoint and ask it everything.

    Args:
        folder: The checkpoint.
        name: What to call it.
        questions: Which questions.
    """
    engine = LocalEngine.load(
        folder, batch=questions.batch, max_new_tokens=questions.max_new_tokens
    )
    grades = {task: _ask(engine, task, questions) for task in questions.tasks}
    return Result(name, tuple(accuracy(task, found) for task, found in grades.items()), grades)


def _ask(engine: LocalEngine, task: str, questions: Questions) -> tuple[Grade, ...]:
    samples = specimen.samples(task, questions.n, questions.seed)
    responses = engine.answer(samples)
    return tuple(grade_exact(s, r) for s, r in zip(samples, responses, strict=True))


def sweep(folders: Mapping[str, Path], questions: Questions, processes: int) -> Iterator[Result]:
    """Evaluate several checkpoints.

    A tiny model gains nothing from several threads, so each process has one.

    Args:
        folders: Checkpoints by name.
        questions: What all of them are asked.
        processes: How many models at once.

    Yields:
        Results as they are ready, in no particular order.
    """
    jobs: Sequence[tuple[Path, str]] = [(folder, name) for name, folder in folders.items()]
    with ProcessPoolExecutor(
        max(1, min(processes, len(jobs))), mp_context=get_context("spawn"), initializer=_one_thread
    ) as pool:
        futures = [pool.submit(evaluate, folder, name, questions) for folder, name in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _one_thread() -> None:
    """Prepare a process: one thread, no chatter, and an end without a traceback on Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
