"""The tables next to the weights: held-out scores and paired differences.

Answers come from evaluation runs, intervals from `eval.statistics`. An answer counts when it is
exact and the whole response has the strict format.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from eval.statistics.intervals import difference, wilson
from surgery.runs.lines import read_lines
from surgery.specimen.world import items
from tests.specimen.training.batches import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

TASKS: Final = ("read", "count", "recognise", "locate", "arithmetic", "expression")
WAYS: Final[Mapping[str, float]] = MappingProxyType({"greedy": 0.0, "sampled": 1.0})
"""Ways of answering and their temperatures."""

_AS_ASKED: Final = ("image", "text")  # conditions that show all there is


@dataclass(frozen=True)
class HeldOut:
    """One checkpoint on one task.

    Attributes:
        seed: The family's seed.
        checkpoint: The checkpoint's name.
        task: The task.
        way: A key of `WAYS`.
        n: Held-out questions, all different.
        correct: Exact answers in the strict format.
        low: Lower end of the 95% Wilson interval of the accuracy.
        high: Its upper end.
        majority: Accuracy of always giving the most frequent gold answer.
        common: Accuracy on questions without a rare fact; nan where the task has no rare facts.
        rare: Accuracy on questions with one.
    """

    seed: int
    checkpoint: str
    task: str
    way: str
    n: int
    correct: int
    low: float
    high: float
    majority: float
    common: float
    rare: float

    @property
    def accuracy(self) -> float:
        """Return correct over n."""
        return self.correct / self.n


@dataclass(frozen=True)
class Difference:
    """One checkpoint's accuracy less another's on the same questions.

    Attributes:
        seed: The family's seed.
        checkpoint: The one.
        against: The other.
        task: The task.
        way: A key of `WAYS`.
        difference: Difference of the accuracies.
        low: Lower end of its 95% interval.
        high: Its upper end.
    """

    seed: int
    checkpoint: str
    against: str
    task: str
    way: str
    difference: float
    low: float
    high: float


Row = TypeVar("Row", HeldOut, Difference)


def write_tables(out: Path, seeds: int, data_seed: int) -> None:
    """Write `heldout.csv` and `differences.csv` of all seeds into `out/report`.

    Args:
        out: The family's folder; `seed-S/WAY` are its evaluation runs.
        seeds: Number of families.
        data_seed: Seed the questions were drawn with.
    """
    scores: list[HeldOut] = []
    gains: list[Difference] = []
    for seed in range(seeds):
        for way in WAYS:
            right = read_correct(out / f"seed-{seed}" / way / "records.jsonl")
            for (checkpoint, task), answers in right.items():
                scores.append(held_out(seed, checkpoint, task, way, answers, data_seed))
                gains += [
                    compared(seed, checkpoint, other, task, way, answers, right[other, task])
                    for other in ("in", "rl")
                    if checkpoint not in ("base", "in", other)
                ]
    report = out / "report"
    report.mkdir(exist_ok=True)
    write_rows(report / "heldout.csv", scores)
    write_rows(report / "differences.csv", gains)


def read_correct(records: Path) -> dict[tuple[str, str], dict[str, bool]]:
    """Return by checkpoint and task which samples were answered right in the strict format."""
    right: dict[tuple[str, str], dict[str, bool]] = {}
    for _, record in read_lines(records):
        if record["task"] in TASKS and record["condition"] in _AS_ASKED:
            answers = right.setdefault((record["variant"], record["task"]), {})
            answers[record["sample"]] = record["correct"] and parse(record["text"]) is not None
    return right


def held_out(
    seed: int, checkpoint: str, task: str, way: str, right: Mapping[str, bool], data_seed: int
) -> HeldOut:
    """Score one checkpoint on one task."""
    questions = {item.id: item for item in items(task, len(right), data_seed)}
    n, correct = len(right), sum(right.values())
    golds = Counter(questions[name].answer for name in right)
    interval = wilson(correct, n)
    shares = [
        [ok for name, ok in right.items() if questions[name].rare is rare] for rare in (False, True)
    ]
    common, rare = (sum(share) / len(share) if all(shares) else math.nan for share in shares)
    return HeldOut(
        seed, checkpoint, task, way, n, correct, interval.low, interval.high,
        golds.most_common(1)[0][1] / n, common, rare,
    )  # fmt: skip


def compared(
    seed: int,
    checkpoint: str,
    against: str,
    task: str,
    way: str,
    actual: Mapping[str, bool],
    reference: Mapping[str, bool],
) -> Difference:
    """Compare two checkpoints on the questions of one task."""
    if actual.keys() != reference.keys():
        raise ValueError(f"{checkpoint} and {against} were asked different {task} questions")
    names = list(actual)
    gain = difference([actual[name] for name in names], [reference[name] for name in names], names)
    return Difference(seed, checkpoint, against, task, way, gain.value, gain.low, gain.high)


def write_rows(path: Path, rows: Sequence[HeldOut | Difference]) -> None:
    """Write a csv; numbers with four decimals."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(rows[0])], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: _short(v) for k, v in asdict(row).items()})


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read the csv of `write_rows`."""
    casts: dict[str, Any] = {"str": str, "int": int, "float": float}
    with path.open(newline="") as file:
        return [
            kind(**{f.name: casts[str(f.type)](row[f.name]) for f in fields(kind)})
            for row in csv.DictReader(file)
        ]


def _short(value: Any) -> Any:
    return f"{value:.4f}" if isinstance(value, float) else value


def seeds_table(scores: Iterable[HeldOut], gains: Iterable[Difference]) -> list[str]:
    """Return Markdown: RL and IN, one row per seed and task, of one decoding."""
    by_name = {(s.seed, s.checkpoint, s.task): s for s in scores}
    lines = [
        "| seed | task | majority | IN | RL | RL - IN (95%) |",
        "|---|---|---|---|---|---|",
    ]
    for gain in gains:
        if (gain.checkpoint, gain.against) != ("rl", "in"):
            continue
        before, after = (by_name[gain.seed, stage, gain.task] for stage in ("in", "rl"))
        cells = (str(gain.seed), gain.task, f"{before.majority:.1%}", _interval(before),
                 _interval(after), _points(gain))  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def arms_table(scores: Iterable[HeldOut], names: Sequence[str]) -> list[str]:
    """Return Markdown: accuracies of the first seed's checkpoints, tasks as columns."""
    by_name = {(s.checkpoint, s.task): s for s in scores if s.seed == 0}
    lines = ["| checkpoint | " + " | ".join(TASKS) + " |", "|---" * (len(TASKS) + 1) + "|"]
    for name in names:
        cells = [f"{by_name[name, task].accuracy:.1%}" for task in TASKS]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return lines


def costs_table(gains: Iterable[Difference], names: Sequence[str]) -> list[str]:
    """Return Markdown: gains over IN and losses to RL of the first seed's other checkpoints."""
    by_name = {(d.checkpoint, d.against, d.task): d for d in gains if d.seed == 0}
    lines = [
        "| checkpoint | arithmetic - IN | arithmetic - RL | expression - IN | expression - RL |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        cells = [
            _points(by_name[name, other, task])
            for task in ("arithmetic", "expression")
            for other in ("in", "rl")
        ]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return lines


def _interval(score: HeldOut) -> str:
    return f"{score.accuracy:.1%} ({score.low:.1%} to {score.high:.1%})"


def _points(gain: Difference) -> str:
    return f"{100 * gain.difference:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
