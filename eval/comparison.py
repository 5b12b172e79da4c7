"""Comparisons of variants: paired differences, recovery and power.

Two variants are only ever compared on the samples that both answered.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import nan
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from eval.metrics import Outcomes, tasks_of
from eval.statistics.intervals import difference
from eval.statistics.power import detectable_difference
from eval.statistics.recovery import Recovery, recovery
from eval.statistics.significance import holm, mcnemar
from surgery.errors import SurgeryError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from eval.graded import Graded

    _Task: TypeAlias = tuple[str, str, bool]
    """Suite, task, and whether it is pooled."""


@dataclass(frozen=True)
class PairedDifference:
    """A variant and another one on identical samples.

    Attributes:
        variant: The variant.
        against: The other one.
        suite: The suite.
        task: Its task, or several pooled, as in `eval.metrics.Score`.
        measure: The metric.
        difference: The variant's score minus the other's.
        low: Lower end of the 95% interval of the difference.
        high: Upper end.
        p: Two-sided exact p (McNemar's, or sign flips of whole clusters).
        p_holm: p after Holm's correction over all single tasks and variants of the comparison; nan
            for pooled tasks, which reuse the samples of single tasks.
        n: Samples that both answered.
        clusters: Independent groups among them.
        better: Samples on which the variant did better.
        worse: Samples on which it did worse.
        dropped: Samples excluded because one of the two has no response.
        pooled: Whether several tasks are pooled.
    """

    variant: str
    against: str
    suite: str
    task: str
    measure: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    n: int
    clusters: int
    better: int
    worse: int
    dropped: int
    pooled: bool = False


@dataclass(frozen=True)
class Share:
    """A variant's share of the donor's gain over the base.

    Attributes:
        variant: The variant.
        base: Baseline variant (0% recovery).
        donor: Donor variant (100% recovery).
        suite: The suite.
        task: Its task, or several pooled.
        measure: The metric.
        gain: donor - base; if it is negative, the share is that of a loss.
        share: (variant - base) / (donor - base); nan where that is not estimable.
        low: Lower end of its 95% bootstrap interval.
        high: Upper end.
        reason: Why it is not estimable; "" when it is.
        pooled: Whether several tasks are pooled.
    """

    variant: str
    base: str
    donor: str
    suite: str
    task: str
    measure: str
    gain: float
    share: float
    low: float
    high: float
    reason: str
    pooled: bool = False


@dataclass(frozen=True)
class Power:
    """The differences that the samples of a task can detect.

    Attributes:
        suite: The suite.
        task: Its task.
        n: Samples.
        discordant: Share of samples on which two variants differ: the observed median over the
            pairs, 0.1 without a comparison, and at least 3/n (rule of three).
        smallest: Minimum detectable difference, with 80% power at the 5% level; nan where there is
            none.
        pooled: Whether several tasks are pooled.
    """

    suite: str
    task: str
    n: int
    discordant: float
    smallest: float
    pooled: bool = False


def pairs(records: Sequence[Graded], against: str) -> list[PairedDifference]:
    """Every variant against one, task by task.

    Args:
        records: Of all variants.
        against: The one to compare with.

    Raises:
        SurgeryError: If there is no such variant.
    """
    table = _Table(records)
    table.check(against)
    differences = [
        _pair((variant, against), place, measure, variant_outcomes, other_outcomes)
        for variant in table.variants
        if variant != against
        for place, measure, variant_outcomes, other_outcomes in table.both(variant, against)
    ]
    return _corrected(differences)


def shares(records: Sequence[Graded], base: str, donor: str) -> list[Share]:
    """Return every other variant's share of the donor's gain over the base.

    Raises:
        SurgeryError: If there is no such base or donor.
    """
    table = _Table(records)
    table.check(base)
    table.check(donor)
    results = []
    for variant in table.variants:
        if variant in (base, donor):
            continue
        for place, measure, outcomes, low, high in table.all_three(variant, base, donor):
            part = _recovered(outcomes, low, high)
            suite, task, pooled = place
            results.append(
                Share(
                    variant, base, donor, suite, task, measure,
                    part.gain, part.share, part.low, part.high, part.reason, pooled,
                )
            )  # fmt: skip
    return results


def power(differences: Sequence[PairedDifference], records: Sequence[Graded]) -> list[Power]:
    """Return each task's power; without a comparison, one in ten samples is assumed to differ."""
    shares_of: dict[_Task, list[float]] = defaultdict(list)
    compared: dict[_Task, int] = {}
    for pair in differences:
        place = pair.suite, pair.task, pair.pooled
        compared[place] = max(compared.get(place, 0), pair.n)
        if pair.n:
            shares_of[place].append((pair.better + pair.worse) / pair.n)
    lines = []
    counted: dict[_Task, int] = {}
    for (_, suite, task, pooled), group in tasks_of(records).items():
        place = suite, task, pooled
        n = compared[place] if place in compared else len(Outcomes.of(group).samples)
        counted[place] = max(counted.get(place, 0), n)
    for (suite, task, pooled), n in counted.items():
        if n == 0:
            continue
        discordant_shares = shares_of.get((suite, task, pooled))
        discordant = min(
            1.0, max(float(np.median(discordant_shares)) if discordant_shares else 0.1, 3 / n)
        )
        smallest = detectable_difference(n, discordant)
        lines.append(Power(suite, task, n, discordant, smallest, pooled))
    return lines


class _Table:
    """Outcomes by variant and task."""

    def __init__(self, records: Sequence[Graded]) -> None:
        self.variants = tuple(dict.fromkeys(record.variant for record in records))
        self._outcomes: dict[str, dict[_Task, Outcomes]] = defaultdict(dict)
        self._measures: dict[_Task, str] = {}
        for (variant, suite, task, pooled), group in tasks_of(records).items():
            self._outcomes[variant][suite, task, pooled] = Outcomes.of(group)
            self._measures[suite, task, pooled] = str(group[0].metric)

    def check(self, name: str) -> None:
        if name not in self._outcomes:
            raise SurgeryError(
                f"the run has no variant {name!r}.{did_you_mean(name, self.variants)}"
            )

    def both(self, variant: str, other: str) -> Iterator[tuple[_Task, str, Outcomes, Outcomes]]:
        for place, first in self._outcomes[variant].items():
            second = self._outcomes[other].get(place)
            if second is not None:
                yield place, self._measures[place], first, second

    def all_three(
        self, variant: str, base: str, donor: str
    ) -> Iterator[tuple[_Task, str, Outcomes, Outcomes, Outcomes]]:
        for place, measure, outcomes, low in self.both(variant, base):
            high = self._outcomes[donor].get(place)
            if high is not None:
                yield place, measure, outcomes, low, high


def _aligned(*outcomes: Outcomes) -> tuple[list[NDArray[np.float64]], list[str]]:
    """Values of the samples that all have, and those samples' clusters."""
    common = set.intersection(*(set(outcome.ids) for outcome in outcomes))
    indexes = [i for i, name in enumerate(outcomes[0].ids) if name in common]
    order = [outcomes[0].ids[i] for i in indexes]
    values = []
    for outcome in outcomes:
        position = dict(zip(outcome.ids, outcome.values(), strict=True))
        values.append(np.array([position[name] for name in order], np.float64))
    return values, [outcomes[0].clusters[i] for i in indexes]


def _pair(
    names: tuple[str, str], place: _Task, measure: str, first: Outcomes, second: Outcomes
) -> PairedDifference:
    (a, b), clusters = _aligned(first, second)
    everyone = max(len(picture.samples) + picture.missing for picture in (first, second))
    if len(a):
        interval = difference(a, b, clusters)
        numbers = (interval.value, interval.low, interval.high, mcnemar(a, b, clusters))
    else:
        numbers = (nan, nan, nan, nan)
    suite, task, pooled = place
    return PairedDifference(
        *names, suite, task, measure, *numbers,
        p_holm=nan,
        n=len(a),
        clusters=len(set(clusters)),
        better=int((a > b).sum()),
        worse=int((a < b).sum()),
        dropped=everyone - len(a),
        pooled=pooled,
    )  # fmt: skip


def _corrected(differences: Sequence[PairedDifference]) -> list[PairedDifference]:
    single = [pair for pair in differences if not pair.pooled]
    corrected = dict(zip(map(id, single), holm([pair.p for pair in single]), strict=True))
    return [replace(pair, p_holm=corrected.get(id(pair), nan)) for pair in differences]


def _recovered(outcomes: Outcomes, low: Outcomes, high: Outcomes) -> Recovery:
    (variant, base, donor), clusters = _aligned(outcomes, low, high)
    if not len(variant):
        return Recovery(nan, nan, nan, nan, "no sample was answered by all three")
    return recovery(variant, base, donor, clusters)
