"""Official scores of benchmarks that are no plain accuracy, with intervals.

A composite weighs accuracies of parts of a benchmark, or counts groups of questions that are all
answered right. Its interval is the 95% percentile interval of a bootstrap over clusters: questions
about one image or figure are drawn together (Davison and Hinkley, Bootstrap Methods, 1997,
section 2.4). Every interval uses the same seed, so the same records give the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import nan
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from eval.statistics.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from eval.graded import Graded

_DRAWS: Final = 2000
_TAILS: Final = (2.5, 97.5)


@dataclass(frozen=True)
class Unit:
    """Something that a composite counts: a question, or a group of questions.

    Attributes:
        cluster: Units of one cluster are not independent.
        part: The part of the benchmark that it belongs to.
        value: 1 if it is right, 0 if it is wrong.
    """

    cluster: str
    part: str
    value: float


@dataclass(frozen=True)
class Composite:
    """An official score of a benchmark.

    Attributes:
        measure: Its name in `scores.csv`.
        units: Divides records with a response into units.
        weights: Weight of each part; equal weights where it is empty.
        source: The definition.
    """

    measure: str
    units: Callable[[Sequence[Graded]], list[Unit]]
    source: str
    weights: Mapping[str, float] = field(default_factory=dict)

    def interval(self, units: Sequence[Unit]) -> Interval:
        """Return the score and its interval.

        Args:
            units: At least one; where a weighted part has none, the value is nan.
        """
        parts = list(self.weights) or sorted({unit.part for unit in units})
        weights = np.array([self.weights.get(part, 1.0) for part in parts])
        sums, counts = _totals([unit for unit in units if unit.part in parts], parts)
        value = _weighted(sums.sum(0), counts.sum(0), weights)
        if np.isnan(value) or len(sums) == 1:
            return Interval(float(value), 0.0, 1.0)
        draws = np.random.default_rng(0).multinomial(
            len(sums), np.full(len(sums), 1 / len(sums)), _DRAWS
        )
        values = _weighted(draws @ sums, draws @ counts, weights)
        low, high = np.nanpercentile(values, _TAILS)
        return Interval(float(value), float(low), float(high))


def _totals(
    units: Sequence[Unit], parts: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sums and counts of units; each of shape (clusters, parts)."""
    clusters = {name: row for row, name in enumerate(dict.fromkeys(u.cluster for u in units))}
    sums = np.zeros((max(1, len(clusters)), len(parts)))
    counts = np.zeros_like(sums)
    for unit in units:
        place = clusters[unit.cluster], parts.index(unit.part)
        sums[place] += unit.value
        counts[place] += 1
    return sums, counts


def _weighted(
    sums: NDArray[np.float64], counts: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted mean of the parts' means; nan where a part is empty."""
    means = np.divide(sums, counts, out=np.full(sums.shape, nan), where=counts > 0)
    result: NDArray[np.float64] = means @ weights / weights.sum()
    return result


def _by_category(name: str) -> Callable[[Sequence[Graded]], list[Unit]]:
    def units(records: Sequence[Graded]) -> list[Unit]:
        return [
            Unit(record.cluster, record.categories.get(name, ""), float(bool(record.correct)))
            for record in records
        ]

    return units


def _all_right(*places: int) -> Callable[[Sequence[Graded]], list[Unit]]:
    """Return units of questions that share these places of their id, right if all of them are."""

    def units(records: Sequence[Graded]) -> list[Unit]:
        groups: dict[tuple[object, ...], list[Graded]] = defaultdict(list)
        for record in records:
            parts = record.sample.partition("#")[0].split("/")
            groups[record.repeat, *(parts[place] for place in places)].append(record)
        return [
            Unit(group[0].cluster, "", float(all(record.correct for record in group)))
            for group in groups.values()
        ]

    return units


# Ids of HallusionBench are category/subcategory/set/figure/question.
COMPOSITES: Final[Mapping[str, tuple[Composite, ...]]] = MappingProxyType(
    {
        "blink": (
            Composite("official", _by_category("kind"), "mean of the 14 tasks, arXiv 2404.12390"),
        ),
        "cvbench": (
            Composite(
                "official", _by_category("source"),
                "((ADE20K + COCO) / 2 + Omni3D) / 2, arXiv 2406.16860",
                {"ADE20K": 0.25, "COCO": 0.25, "Omni3D": 0.5},
            ),
        ),
        "hallusionbench": (
            Composite("aAcc", _by_category(""), "all questions, arXiv 2310.14566"),
            Composite("fAcc", _all_right(0, 1, 2, 3), "figures with all questions right"),
            Composite("qAcc", _all_right(0, 1, 2, 4), "questions right for all their figures"),
        ),
    }
)  # fmt: skip
"""Composites by suite."""
