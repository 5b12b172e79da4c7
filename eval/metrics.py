"""Scores of a variant: metrics with intervals, transitions, rates and lengths.

M_vis, M_v2r and M_rea are those of arXiv 2602.12395.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from math import nan
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

import numpy as np

from eval.composites import COMPOSITES
from eval.records import CONDITIONS, Condition, Metric
from eval.statistics.intervals import Interval, mean, proportion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from eval.graded import Graded

    Round: TypeAlias = dict[Condition, Graded]
    """One repeat of one sample: its record under each condition."""

TRANSITIONS: Final = ("tt", "tf", "ft", "ff")
"""Right and wrong (true, false) under a paired metric's first and second condition."""


@dataclass(frozen=True)
class Score:
    """One number about one variant.

    Attributes:
        variant: The variant.
        suite: The suite.
        task: Its task, or `all m_vis` and the like, where tasks with one metric are pooled.
        split: Category that the samples were chosen by, such as `level=4`; "" for all samples.
        measure: A metric, or one of `right[image]`, `tt`, `format[image]`, `tokens[image]` etc.
        value: The number; nan when there is no sample.
        low: Lower end of its 95% interval.
        high: Upper end.
        n: Number of samples.
        clusters: Independent groups among them.
        missing: Samples excluded because a response is missing.
        guessed: Responses whose answer is a guess.
        majority: For `right[...]` of one task, the majority baseline: the accuracy of always giving
            the most frequent gold answer; else nan.
        pooled: Whether several tasks are pooled.
    """

    variant: str
    suite: str
    task: str
    split: str
    measure: str
    value: float
    low: float
    high: float
    n: int
    clusters: int
    missing: int
    guessed: int
    majority: float
    pooled: bool = False


def correct_under(metric: Metric, right: Mapping[Condition, bool]) -> bool:
    """Return one sample's outcome from its correctness under each condition (arXiv 2602.12395).

    M_vis = P[f(i,p) = y and f(b,p) != y]; M_v2r = P[f(i,p) = y and f(b,d,p) = y];
    M_rea = P[f(p) = y]; accuracy = P[f(i,p) = y], or P[f(p) = y] without image.
    """
    match metric:
        case Metric.VISION:
            return right[Condition.IMAGE] and not right[Condition.BLANK]
        case Metric.ALIGNMENT:
            return right[Condition.IMAGE] and right[Condition.DESCRIBED]
        case Metric.REASONING:
            return right[Condition.TEXT]
        case Metric.ACCURACY:
            return next(iter(right.values()))


@dataclass(frozen=True)
class Outcomes:
    """Records of one variant and one metric, sample by sample.

    Attributes:
        samples: Id, cluster and complete rounds of each sample that has one.
        missing: Number of samples that have none.
        guessed: Number of responses whose answer is a guess.
    """

    samples: tuple[tuple[str, str, tuple[Round, ...]], ...]
    missing: int
    guessed: int

    @classmethod
    def of(cls, records: Iterable[Graded]) -> Self:
        """Group records by sample and repeat."""
        rounds: dict[tuple[str, str], dict[int, Round]] = {}
        guessed = 0
        for record in records:
            repeats = rounds.setdefault((record.task, record.sample), {})
            repeats.setdefault(record.repeat, {})[record.condition] = record
            guessed += record.guessed
        samples = []
        for (task, sample), repeats in rounds.items():
            complete = tuple(answers for answers in repeats.values() if _complete(answers))
            if complete:
                cluster = next(iter(complete[0].values())).cluster
                samples.append((f"{task}/{sample}", cluster, complete))
        return cls(tuple(samples), len(rounds) - len(samples), guessed)

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the samples that nothing is missing of."""
        return tuple(name for name, _, _ in self.samples)

    @property
    def clusters(self) -> tuple[str, ...]:
        """Return the cluster of each sample."""
        return tuple(cluster for _, cluster, _ in self.samples)

    def values(self, decide: Callable[[Round], bool] | None = None) -> NDArray[np.float64]:
        """Return the outcome of each sample in [0, 1]: the mean over repeats.

        Args:
            decide: Returns whether one repeat is a success, from its records by condition; the
                metric itself when absent.
        """
        success = decide or _metric
        means = [sum(map(success, rounds)) / len(rounds) for _, _, rounds in self.samples]
        return np.array(means, np.float64)


def _complete(answers: Round) -> bool:
    return all(record.correct is not None for record in answers.values())


def _metric(answers: Round) -> bool:
    right = {condition: bool(record.correct) for condition, record in answers.items()}
    return correct_under(next(iter(answers.values())).metric, right)


def scores(records: Sequence[Graded]) -> Iterator[Score]:
    """Every number about every variant, in the order of the records."""
    for place, group in tasks_of(records).items():
        yield from _Group(*place).scores(group)


class ScoredTask(NamedTuple):
    """A variant on a task, or on all tasks of a suite that share a metric.

    Attributes:
        variant: The variant.
        suite: The suite.
        task: The task, or `all m_vis`, ... where tasks are pooled.
        pooled: Whether several tasks are pooled.
    """

    variant: str
    suite: str
    task: str
    pooled: bool


def tasks_of(records: Iterable[Graded]) -> dict[ScoredTask, list[Graded]]:
    """Return records by task; then, where several tasks share a metric, all of them pooled."""
    groups: dict[ScoredTask, list[Graded]] = defaultdict(list)
    pooled: dict[tuple[str, str, Metric], list[Graded]] = defaultdict(list)
    for record in records:
        groups[ScoredTask(record.variant, record.suite, record.task, False)].append(record)
        pooled[record.variant, record.suite, record.metric].append(record)
    for (variant, suite, metric), group in pooled.items():
        if len({record.task for record in group}) > 1:
            groups[ScoredTask(variant, suite, f"all {metric}", True)] = group
    return groups


_CELLS: Final = ((True, True), (True, False), (False, True), (False, False))


@dataclass(frozen=True)
class _Transition:
    """Check whether a sample falls into one cell of the table of two conditions."""

    conditions: tuple[Condition, ...]
    expected: tuple[bool, bool]

    def __call__(self, answers: Round) -> bool:
        observed = tuple(bool(answers[condition].correct) for condition in self.conditions)
        return observed == self.expected


def _only(answers: Round) -> Graded:
    (record,) = answers.values()
    return record


def _is_right(answers: Round) -> bool:
    return bool(_only(answers).correct)


@dataclass(frozen=True)
class _Group:
    variant: str
    suite: str
    task: str
    pooled: bool

    def scores(self, records: Sequence[Graded]) -> Iterator[Score]:
        metric = records[0].metric
        outcomes = Outcomes.of(records)
        yield self.score(metric, outcomes)
        conditions = CONDITIONS[metric]
        if len(conditions) > 1:
            for name, cell in zip(TRANSITIONS, _CELLS, strict=True):
                yield self.score(name, outcomes, _Transition(conditions, cell))
        for condition in dict.fromkeys(record.condition for record in records):
            under = [record for record in records if record.condition is condition]
            outcomes = Outcomes.of(under)
            majority = nan if self.pooled else _majority(under)
            yield self.score(f"right[{condition}]", outcomes, _is_right, majority=majority)
            yield self.score(
                f"format[{condition}]", outcomes, lambda answers: _only(answers).well_formed
            )
            yield self.score(
                f"truncated[{condition}]", outcomes, lambda answers: _only(answers).truncated
            )
            yield self.score(
                f"guessed[{condition}]", outcomes, lambda answers: _only(answers).guessed
            )
            yield self.score(
                f"unanswered[{condition}]", outcomes, lambda answers: _only(answers).answer is None
            )
            yield self.length(f"tokens[{condition}]", under, outcomes)
        if not self.pooled:
            yield from self.composites(records)
            for split, selected in _splits(records):
                yield self.score(metric, Outcomes.of(selected), split=split)
                for condition in dict.fromkeys(record.condition for record in selected):
                    under = [record for record in selected if record.condition is condition]
                    yield self.score(
                        f"right[{condition}]", Outcomes.of(under), _is_right, split=split
                    )

    def score(
        self,
        measure: str,
        outcomes: Outcomes,
        decide: Callable[[Round], bool] | None = None,
        *,
        split: str = "",
        majority: float = nan,
    ) -> Score:
        values = outcomes.values(decide)
        interval = proportion(values, outcomes.clusters) if len(values) else Interval(nan, 0, 1)
        return self._score_from(measure, outcomes, interval, split=split, majority=majority)

    def composites(self, records: Sequence[Graded]) -> Iterator[Score]:
        """Yield the official scores of a bundled benchmark."""
        answered = [record for record in records if record.correct is not None]
        for composite in COMPOSITES.get(self.suite, ()) if answered else ():
            units = composite.units(answered)
            yield replace(
                self._score_from(
                    composite.measure, Outcomes.of(records), composite.interval(units)
                ),
                n=len(units),
                clusters=len({unit.cluster for unit in units}),
            )

    def length(self, measure: str, records: Sequence[Graded], outcomes: Outcomes) -> Score:
        answered = [record for record in records if record.correct is not None]
        lengths = np.array([record.tokens for record in answered], np.float64)
        clusters = tuple(record.cluster for record in answered)
        interval = mean(lengths, clusters) if answered else Interval(nan, nan, nan)
        return self._score_from(measure, outcomes, interval)

    def _score_from(
        self,
        measure: str,
        outcomes: Outcomes,
        interval: Interval,
        *,
        split: str = "",
        majority: float = nan,
    ) -> Score:
        return Score(
            variant=self.variant,
            suite=self.suite,
            task=self.task,
            split=split,
            measure=str(measure),
            value=interval.value,
            low=interval.low,
            high=interval.high,
            n=len(outcomes.samples),
            clusters=len(set(outcomes.clusters)),
            missing=outcomes.missing,
            guessed=outcomes.guessed,
            majority=majority,
            pooled=self.pooled,
        )


def _majority(records: Sequence[Graded]) -> float:
    """Share of the commonest right answer among the samples."""
    gold = {record.sample: record.gold for record in records}
    return max(Counter(gold.values()).values()) / len(gold)


def _splits(records: Sequence[Graded]) -> Iterator[tuple[str, list[Graded]]]:
    """Return records by every level of every category with more than one level."""
    names = dict.fromkeys(name for record in records for name in record.categories)
    for name in names:
        levels: dict[str, list[Graded]] = defaultdict(list)
        for record in records:
            if name in record.categories:
                levels[record.categories[name]].append(record)
        if len(levels) > 1:
            for level, selected in sorted(levels.items()):
                yield f"{name}={level}", selected
