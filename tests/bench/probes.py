"""Probes: all layers in one batch and one layer at a time, and the screen without generating."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from eval.asking.changes import AnsweringModel, Changes
from eval.asking.loop import ask
from eval.asking.settings import EvalSettings
from eval.asking.store import Store
from eval.generation import Generation
from eval.probes.ablation import Switching, offs_of, with_accuracy
from eval.probes.likelihood import screen
from eval.probes.pairs import load_pairs, suites_of
from eval.probes.swap import Swapping
from eval.suites.specimen import load
from eval.variants import plain
from surgery.intervene import Ablation, Branch, Mode
from tests.bench.evaluation import build
from tests.eval.subjects import subject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eval.asking.session import Subject
    from eval.records import Response

NEW = 48
"""New tokens of every answer."""
QUESTIONS = 4


def measure(folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Every figure, as it goes into bench.json.

    Args:
        folder: Where to work; needs 1 GB.
        rounds: How often the two ways take turns.
        say: Gets a line per step.
    """
    say("building a random Qwen2.5-VL model of about 150 million parameters, 12 layers")
    cuda = torch.cuda.is_available()
    model = plain("random", str(build(folder / "model", 0)))
    whole = with_accuracy([load(QUESTIONS, 0)])[0]
    suite = replace(whole, tasks=tuple(task for task in whole.tasks if task.name == "read"))
    device = "cuda" if cuda else "cpu"
    settings = EvalSettings(Generation(max_new_tokens=NEW), device=device, dtype="float32")
    results: dict[str, Any] = {"device": torch.cuda.get_device_name() if cuda else "cpu"}
    with subject(model, [suite], settings) as item:
        switching = Switching(offs_of([Branch.LAYER], range(item.layers)))
        results["ablation"] = _both(
            "ablation", folder, rounds, say,
            lambda store, slow: _asked(item, switching, store, slow),
        )  # fmt: skip
        results["ablation"]["questions_batched_s"] = _question_batches(item, switching, rounds, say)
        results["screen"] = _screened(item, switching, folder, rounds)
    slow = statistics.median(results["ablation"]["sequential_s"])
    results["screen"]["times_as_fast"] = slow / statistics.median(results["screen"]["seconds"])
    say(
        f"  log-probability screen: {min(results['screen']['seconds']):.2f} s, "
        f"{results['screen']['times_as_fast']:.1f} times as fast as generating one layer at a time"
    )
    pairs = [pair for pair in load_pairs("specimen", folder, QUESTIONS, 0)
             if pair.target.task == "ocr"]  # fmt: skip
    with subject(model, suites_of(pairs), settings) as item:
        for mode in Mode:
            results[f"swap {mode}"] = _both(
                f"swap {mode}", folder, rounds, say,
                lambda store, slow, mode=mode: _asked(item, _swapping(item, mode), store, slow),
            )  # fmt: skip
    return results


def _swapping(subject: Subject, mode: Mode) -> Swapping:
    half = len(subject.questions) // 2  # the targets, then the sources
    sources = {(q.sample.task, q.sample.id): q for q in subject.questions[half:]}
    return Swapping(mode, tuple(range(subject.layers)), sources)


def _question_batches(
    subject: Subject, switching: Switching, rounds: int, say: Callable[[str], None]
) -> list[float]:
    """Seconds of one layer at a time with all questions in one batch, as a careful user would."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        for off in switching.items:
            subject.engine.answer_blocks(subject.questions, Ablation([off]))
        seconds.append(time.perf_counter() - start)
    say(
        f"  one layer at a time, {len(subject.questions)} questions in a batch: "
        f"{min(seconds):.1f} s"
    )
    return seconds


def _asked(subject: Subject, changes: Changes[Any], store: Store, slow: bool) -> list[Response]:
    """Ask; every response in order."""
    questions = subject.questions
    subject.engine._text = lambda tokens: " ".join(
        map(str, tokens)
    )  # tokens are compared, not text
    if isinstance(changes, Swapping):
        questions = questions[: len(questions) // 2]
    model = AnsweringModel(subject, changes, sequential=slow)
    ask(model, questions, store, lambda *_: None)
    return [
        store.responses[model.key(question, item)]
        for question in questions
        for item in changes.items
    ]


def _both(
    name: str,
    folder: Path,
    rounds: int,
    say: Callable[[str], None],
    ask: Callable[[Store, bool], list[Response]],
) -> dict[str, Any]:
    """Measure all layers in one batch and one at a time, in turn, from scratch each time."""
    times: dict[bool, list[float]] = {False: [], True: []}
    output: dict[bool, list[Response]] = {}
    for turn in range(rounds):
        for slow, spent in times.items():
            store = Store(folder / f"{name}-{turn}-{slow}")
            start = time.perf_counter()
            output[slow] = ask(store, slow)
            spent.append(time.perf_counter() - start)
    equal = sum(a == b for a, b in zip(output[False], output[True], strict=True))
    ratios = [slow / fast for fast, slow in zip(times[False], times[True], strict=True)]
    ratio = statistics.median(ratios)
    say(
        f"  {name}: {len(output[True])} responses of {NEW} tokens, all layers at once in "
        f"{min(times[False]):.1f} s, one at a time in {min(times[True]):.1f} s: {ratio:.1f} times "
        f"as fast, {equal} equal"
    )
    return {
        "responses": len(output[True]), "equal": equal, "batched_s": times[False],
        "sequential_s": times[True], "times_as_fast": ratio,
    }  # fmt: skip


def _screened(subject: Subject, switching: Switching, folder: Path, rounds: int) -> dict[str, Any]:
    seconds = []
    for turn in range(rounds):
        place = folder / f"screen-{turn}"
        start = time.perf_counter()
        screen(subject, switching, place, lambda *_: None)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def print_table(results: dict[str, Any]) -> None:
    """Markdown, as it stands in the README."""
    print("\n| | all layers at once | one at a time | times as fast | same answers |")
    print("|---|---|---|---|---|")
    for name in ("ablation", *(f"swap {mode}" for mode in Mode)):
        item = results[name]
        print(
            f"| {name} | {min(item['batched_s']):.1f} s | {min(item['sequential_s']):.1f} s | "
            f"{item['times_as_fast']:.1f} | {item['equal']} of {item['responses']} |"
        )
    batched = results["ablation"]
    fast, slow = min(batched["batched_s"]), min(batched["questions_batched_s"])
    print(
        f"| ablation, beside {QUESTIONS} questions in a batch | {fast:.1f} s | {slow:.1f} s | "
        f"{slow / fast:.1f} | |"
    )
    item, slow = results["screen"], results["ablation"]
    print(
        f"| log-probability screen | {min(item['seconds']):.2f} s | "
        f"{min(slow['sequential_s']):.1f} s (generating) | {item['times_as_fast']:.1f} | |"
    )
