"""Every variant is asked every question, with one resident model per process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from eval.asking.loop import ask
from eval.asking.prepare import prepare
from eval.asking.processes import Worker, answer_in_processes, process_count
from eval.asking.served import ServedModel
from eval.asking.session import Timing
from eval.asking.store import Store
from eval.engines.resizing import find_shrinkage
from eval.engines.server import ServerEngine
from eval.questions import questions
from surgery.runs import RunKind, claimed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from eval.asking.processes import Report
    from eval.asking.settings import EvalSettings
    from eval.endpoint import Endpoint
    from eval.engines.resizing import Shrinkage
    from eval.prompts import Style
    from eval.questions import Question
    from eval.records import Suite
    from eval.variants import Variant


@dataclass(frozen=True)
class AskedVariant:
    """A variant with the questions it was asked.

    Attributes:
        variant: The variant.
        content: Its content fingerprint.
        style: The prompt style.
        questions: The questions, those that cannot be asked among them.
        keys: The key of each question's response.
        timing: Seconds it took, 0 if all responses were stored already.
        shrinkage: Images that the model's processor shrinks, if there are any.
    """

    variant: Variant
    content: str
    style: Style
    questions: tuple[Question, ...]
    keys: tuple[str, ...]
    timing: Timing = field(default_factory=Timing, compare=False)
    shrinkage: Shrinkage | None = None


def ask_variants(
    variants: Sequence[Variant],
    suites: tuple[Suite, ...],
    settings: EvalSettings,
    folder: Path,
    *,
    processes: int | None = 1,
    progress: Report | None = None,
) -> list[AskedVariant]:
    """Ask all questions without a response, and store responses in the folder as they arrive.

    Args:
        variants: The models; those with the same base share one resident model.
        suites: The questions.
        settings: Settings of the run.
        folder: The run's folder.
        processes: Number of resident models, each in its own process; None takes one with CUDA, and
            on a CPU as many as there are processors and memory for.
        progress: Called with a variant's name, the number of responses that arrived, and the number
            of all.

    Returns:
        The variants in their order.

    Raises:
        SurgeryError: If a model cannot be used, or another process is running in the folder.
    """
    report = progress or (lambda *_: None)
    settings.resolve_device()  # a fault shows before there is a folder
    prepared = [prepare(variant, settings) for variant in variants]
    with claimed(folder, RunKind.EVALUATION):
        worker = Worker(suites, settings, folder)
        waiting = []
        for item in prepared:
            keys = worker.expected_keys(item)
            pending = keys - worker.store.responses.keys()
            report(item.variant.name, len(keys) - len(pending), len(keys))
            if pending:
                waiting.append(item)
        # Neighbours share a base, so that it is loaded once.
        waiting.sort(key=lambda item: str(item.recipe.models[item.recipe.base]))
        count = process_count(prepared, settings) if processes is None else processes
        if min(count, len(waiting)) <= 1:
            timings = {item.variant.name: worker.answer(item, report) for item in waiting}
        else:
            timings = answer_in_processes(
                waiting, (suites, settings, folder), min(count, len(waiting)), report
            )
    shrinkage = {
        item.folder: find_shrinkage(item.folder, worker.questions(item.style)) for item in prepared
    }
    return [
        AskedVariant(
            item.variant, item.content, item.style, worker.questions(item.style),
            worker.keys(item), timings.get(item.variant.name, Timing()), shrinkage[item.folder],
        )
        for item in prepared
    ]  # fmt: skip


def ask_served(
    variants: Sequence[Variant],
    suites: tuple[Suite, ...],
    settings: EvalSettings,
    folder: Path,
    connect: Callable[[str], Endpoint],
    *,
    concurrency: int = 16,
    progress: Report | None = None,
) -> list[AskedVariant]:
    """Ask models behind a server, otherwise as `ask_variants` does.

    Args:
        variants: Models; the trait `served` is the name at the server, where that is another one.
        suites: The questions.
        settings: Settings of the run.
        folder: The run's folder.
        connect: Returns the endpoint of a model's name.
        concurrency: Maximum number of concurrent requests to the server.
        progress: Called with a variant's name, the number of responses that arrived, and the number
            of all.

    Raises:
        SurgeryError: If another process is running there, or the server cannot be used.
    """
    report = progress or (lambda *_: None)
    served_questions = tuple(questions(suites, settings.style, settings.generation))
    results = []
    with claimed(folder, RunKind.EVALUATION):
        store = Store(folder)
        for variant in variants:
            name = str(variant.traits.get("served", variant.name))
            model = ServedModel(ServerEngine(connect(name), concurrency))
            start = perf_counter()
            count = ask(model, served_questions, store, partial(report, variant.name))
            timing = replace(model.timing, total=perf_counter() - start, answered=count)
            keys = tuple(model.key(question, None) for question in served_questions)
            results.append(
                AskedVariant(
                    variant, model.fingerprint, settings.style, served_questions, keys, timing
                )
            )
    return results
