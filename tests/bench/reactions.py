"""Response times: help, a large header, a hostile answer, Ctrl-C in a transfer."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.grading.grade import GRADERS, grade
from eval.records import AnswerKind
from surgery.arch import resolve
from tests.bench.measure import run
from tests.eval.grading.kinds import FORMULAS, NUMBERS, OPTIONS, option_sample, sample
from tests.eval.grading.test_grading import HOSTILE, SAMPLES
from tests.families import save_tiny
from tests.hub import TOKEN, Hub, serve
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

SURGERY = str(Path(sys.executable).with_name("surgery"))
EXPERTS = [
    f"model.layers.{layer}.mlp.experts.{expert}.{part}_proj.weight"
    for layer in range(94) for expert in range(128) for part in ("gate", "up", "down")
]  # fmt: skip


def measure(folder: Path, pairs: int, say: Callable[[str], None]) -> dict[str, float]:
    """Return every figure in seconds: medians over the rounds.

    Args:
        folder: Where to work.
        pairs: Rounds.
        say: Gets a line per figure.
    """
    config = {"model_type": "qwen3_moe", "num_hidden_layers": 94}
    parts: dict[str, Callable[[], float]] = {
        "surgery --help": lambda: run([SURGERY, "--help"], folder / "log").wall_s,
        "sites of 36,096 experts": lambda: _timed(resolve, config, EXPERTS),
        "the slowest of the hostile answers": lambda: max(
            _timed(grade, question, text, grader)
            for text in HOSTILE for question in SAMPLES for grader in GRADERS
        ),
        **{
            f"1,000 gradings, {grader}": lambda grader=grader: _gradings(grader)
            for grader in GRADERS
        },
        "the end after Ctrl-C while the Hub sends slowly": lambda: _interrupted(folder),
    }  # fmt: skip
    results = {}
    for label, part in parts.items():
        results[label] = round(statistics.median(part() for _ in range(pairs)), 3)
        say(f"  {label}: {results[label]:.2f} s")
    return results


def _timed(function: Callable[..., Any], *arguments: object) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def _gradings(grader: str) -> float:
    """Return seconds for 1,000 gradings of the tests' responses, right and wrong ones."""
    cases = [
        (option_sample(choices, gold), response)
        for rows in OPTIONS.values() for choices, _, response in rows
        for gold in "ABCD"[: len(choices)]
    ]  # fmt: skip
    for table, kind in ((NUMBERS, AnswerKind.NUMBER), (FORMULAS, AnswerKind.MATH)):
        golds = [gold for rows in table.values() for gold, _ in rows if gold]
        responses = [response for rows in table.values() for _, response in rows]
        cases += [(sample(kind, gold), text) for gold in golds[:8] for text in responses]
    for case in cases:  # math-verify's import and parser tables
        grade(*case, grader)
    start = time.perf_counter()
    for case in cases:
        grade(*case, grader)
    return 1000 * (time.perf_counter() - start) / len(cases)


def _interrupted(folder: Path) -> float:
    """Return seconds from SIGINT to the end of a merge whose bytes come slowly."""
    hub = Hub()
    for seed, name in enumerate(("in", "rl")):
        hub.add(f"org/{name}", save_tiny("qwen2", folder / name, seed=seed))
        shutil.rmtree(folder / name)
    (folder / "r.yaml").write_text(
        "models: {in: org/in, rl: org/rl}\nbase: in\nsteps: [{transplant: language, from: rl}]\n"
    )
    with serve(hub) as address:
        env = {"HF_ENDPOINT": address, "HF_HOME": str(folder / "hf"), "HF_TOKEN": TOKEN,
               "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}  # fmt: skip
        slow = hub.fail("GET /cdn/", times=None, skip=2, drip=(100, 0.1))
        process = subprocess.Popen(
            [SURGERY, "merge", "r.yaml", "out", "--remote", "ranges", "-q"],
            cwd=folder, env=os.environ | env, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: slow.hits, process)
        start = time.perf_counter()
        process.send_signal(signal.SIGINT)
        process.wait()
        end = time.perf_counter()
    shutil.rmtree(folder / "hf")
    return end - start


def print_table(results: dict[str, float]) -> None:
    """Print the figures as in the README."""
    print("\nWhat a person waits for; medians")
    for label, seconds in results.items():
        print(f"  {label:48} {seconds:6.2f} s")
