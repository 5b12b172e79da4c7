"""Ask models that a server holds; the rest is as with models in memory."""

from __future__ import annotations

from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING

from eval.asks import addressed
from eval.engines.server import ServerEngine
from eval.records import Response
from eval.store import Kept, Store
from eval.sweep.desk import Timing
from eval.sweep.run import Asked
from surgery.runs import RunKind, claimed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from eval.endpoint import Endpoint
    from eval.sweep.desk import Told, Work
    from eval.sweep.variants import Variant


def run_served(
    variants: Sequence[Variant],
    work: Work,
    folder: Path,
    connect: Callable[[str], Endpoint],
    *,
    concurrency: int = 16,
    progress: Told | None = None,
) -> list[Asked]:
    """Ask what has not been answered yet, and keep every response in the folder as it comes.

    What a server holds cannot be fingerprinted: its responses are kept under the server's address
    and the model's name. Whoever changes the model behind a name uses another folder.

    Args:
        variants: Models; the trait `served` is the name at the server, where that is another one.
        work: What is asked, and how.
        folder: The run's folder.
        connect: The endpoint of a model's name.
        concurrency: Questions that are under way at once.
        progress: Told what is there already, and what comes.

    Raises:
        SurgeryError: If another process is running there.
    """
    told = progress or (lambda *_: None)
    asked = work.questions(work.style)
    found = []
    with claimed(folder, RunKind.EVALUATION):
        store = Store(folder)
        for variant in variants:
            model = str(variant.traits.get("served", variant.name))
            engine = ServerEngine(connect(model), concurrency)
            content = sha256(repr(sorted(engine.how.items())).encode()).hexdigest()
            asks = tuple(addressed(question, content, engine.how) for question in asked)
            waiting = [ask for ask in asks if ask.key not in store.responses]
            told(variant.name, len(asks) - len(waiting), len(asks))
            timing = Timing()
            start = perf_counter()
            for ask, outcome in engine.answer(waiting):
                store.append([Kept.of(ask, content, outcome)])
                timing.answered += isinstance(outcome, Response)
                told(variant.name, 1, len(asks))
            timing.answer = timing.total = perf_counter() - start
            found.append(Asked(variant, content, work.style, asks, timing))
    return found
