"""Answers to numbers: accuracies with intervals, and paired differences between checkpoints."""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from surgery.specimen.evaluate import EVAL_TASKS, WAYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    Answers = Mapping[tuple[str, str], Sequence[Mapping[str, str]]]

_Z: Final = 1.959964  # of a 95% interval


@dataclass(frozen=True)
class Score:
    """One checkpoint on one task.

    Attributes:
        seed: Of the family.
        checkpoint: Which one.
        task: The task.
        way: "greedy" or "sampled".
        n: Held-out questions, all different.
        correct: Exact answers in the strict format.
        low: Lower end of the 95% Wilson interval of the accuracy.
        high: Its upper end.
        majority: Accuracy of always giving the commonest gold answer.
        common: Accuracy where no step is a rare fact; nan where the task has none.
        rare: Accuracy where one is.
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
        """Correct over n."""
        return self.correct / self.n


@dataclass(frozen=True)
class Difference:
    """One checkpoint less another, over the same questions.

    Attributes:
        seed: Of the family.
        checkpoint: The one.
        against: The other.
        task: The task.
        way: "greedy" or "sampled".
        difference: Of the accuracies.
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


def wilson(correct: int, n: int) -> tuple[float, float]:
    """95% score interval of a proportion (Wilson 1927, JASA 22, 209-212)."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def paired(ours: Sequence[bool], theirs: Sequence[bool]) -> tuple[float, float, float]:
    """Difference of two proportions over the same questions, with its 95% interval.

    The large-sample interval of matched pairs, from the two counts of questions that only one gets
    right (Agresti, Categorical Data Analysis, section 11.1.1).

    Args:
        ours: Whether each question was answered right.
        theirs: The same of the other.

    Returns:
        The difference, and the ends of its interval.
    """
    n = len(ours)
    won = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    lost = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    difference = (won - lost) / n
    spread = _Z * math.sqrt(max(won + lost - (won - lost) ** 2 / n, 0)) / n
    return difference, difference - spread, difference + spread


def read_answers(path: Path) -> dict[tuple[str, str], list[dict[str, str]]]:
    """A checkpoint's answers, by task and way."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["task"], row["way"]), []).append(row)
    return found


def scored(seed: int, checkpoint: str, answers: Answers) -> list[Score]:
    """A checkpoint's scores, tasks in order."""
    return [
        _score(seed, checkpoint, task, way, answers[task, way])
        for way in WAYS
        for task in EVAL_TASKS
    ]


def _score(
    seed: int, checkpoint: str, task: str, way: str, rows: Sequence[Mapping[str, str]]
) -> Score:
    right = [row["correct"] == "1" for row in rows]
    rare = [row["rare"] == "1" for row in rows]
    commonest = Counter(row["gold"] for row in rows).most_common(1)[0][1]
    low, high = wilson(sum(right), len(rows))

    def among(wanted: bool) -> float:
        chosen = [r for r, is_rare in zip(right, rare, strict=True) if is_rare is wanted]
        return sum(chosen) / len(chosen) if any(rare) and chosen else math.nan

    return Score(
        seed, checkpoint, task, way, len(rows), sum(right), low, high, commonest / len(rows),
        among(False), among(True),
    )  # fmt: skip


def differences(
    seed: int, checkpoint: str, ours: Answers, against: str, theirs: Answers
) -> list[Difference]:
    """One checkpoint less another, tasks in order."""
    found = []
    for way in WAYS:
        for task in EVAL_TASKS:
            one, two = ours[task, way], theirs[task, way]
            if [row["item"] for row in one] != [row["item"] for row in two]:
                raise ValueError(
                    f"{checkpoint} and {against} were asked different {task} questions"
                )
            told = paired([r["correct"] == "1" for r in one], [r["correct"] == "1" for r in two])
            found.append(Difference(seed, checkpoint, against, task, way, *told))
    return found


Record = TypeVar("Record", Score, Difference)


def write_records(path: Path, records: Sequence[Score | Difference]) -> None:
    """Scores or differences to csv."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(records[0])], lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow({k: _short(v) for k, v in asdict(record).items()})


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """Scores or differences back from `write_records`'s csv."""
    casts: dict[str, Any] = {"str": str, "int": int, "float": float}
    with path.open(newline="") as file:
        return [
            kind(**{f.name: casts[str(f.type)](row[f.name]) for f in fields(kind)})
            for row in csv.DictReader(file)
        ]


def _short(value: Any) -> Any:
    return f"{value:.4f}" if isinstance(value, float) else value


def table(scores: Iterable[Score], against: Iterable[Difference]) -> list[str]:
    """Markdown: RL beside IN, one row per seed and task, of one way of answering."""
    known = {(s.seed, s.checkpoint, s.task): s for s in scores}
    lines = [
        "| seed | task | majority | IN | RL | RL - IN (95%) |",
        "|---|---|---|---|---|---|",
    ]
    for one in against:
        if one.checkpoint != "rl" or one.against != "in":
            continue
        before, after = known[one.seed, "in", one.task], known[one.seed, "rl", one.task]
        cells = (
            str(one.seed),
            one.task,
            f"{before.majority:.1%}",
            _interval(before),
            _interval(after),
            _points(one),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def arms_table(scores: Iterable[Score], names: Sequence[str]) -> list[str]:
    """Markdown: accuracies of the first seed's checkpoints, tasks as columns."""
    known = {(s.checkpoint, s.task): s for s in scores if s.seed == 0}
    lines = [
        "| checkpoint | " + " | ".join(EVAL_TASKS) + " |",
        "|---" * (len(EVAL_TASKS) + 1) + "|",
    ]
    for name in names:
        cells = [f"{known[name, task].accuracy:.1%}" for task in EVAL_TASKS]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return lines


def costs_table(against: Iterable[Difference], names: Sequence[str]) -> list[str]:
    """Markdown: what the first seed's other checkpoints gain over IN and lose to RL."""
    known = {(d.checkpoint, d.against, d.task): d for d in against if d.seed == 0}
    lines = [
        "| checkpoint | arithmetic - IN | arithmetic - RL | expression - IN | expression - RL |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        cells = [
            _points(known[name, other, task])
            for task in ("arithmetic", "expression")
            for other in ("in", "rl")
        ]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return lines


def _interval(score: Score) -> str:
    return f"{score.accuracy:.1%} ({score.low:.1%} to {score.high:.1%})"


def _points(one: Difference) -> str:
    return f"{100 * one.difference:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
