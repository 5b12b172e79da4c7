"""Graded records made by hand: what a run would have written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from eval.graded import Graded
from eval.records import CONDITIONS, Condition, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def record(
    variant: str,
    sample: str,
    right: bool | None,
    *,
    metric: Metric = Metric.REASONING,
    condition: Condition = Condition.TEXT,
    **more: object,
) -> Graded:
    """One response, right or wrong, or missing."""
    plain = Graded(
        variant=variant, suite="s", task="t", metric=metric, sample=sample, condition=condition,
        repeat=0, key=f"{variant}/{sample}/{condition}", cluster=sample, categories={}, gold="7",
        failure="timeout" if right is None else "", text="" if right is None else "7",
        tokens=0 if right is None else 3, well_formed=right is not None, answer="7",
        rule="whole", comparison="numeric", correct=right,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def paired(
    variant: str, metric: Metric, cells: Mapping[tuple[bool, bool], int], **more: object
) -> list[Graded]:
    """Samples of a paired metric, so many in each cell of its table."""
    first, second = CONDITIONS[metric]
    results, number = [], 0
    for (item, other), count in cells.items():
        for _ in range(count):
            name, number = f"q{number}", number + 1
            for condition, right in ((first, item), (second, other)):
                results.append(
                    record(variant, name, right, metric=metric, condition=condition, **more)
                )
    return results


def texts(variant: str, right: Sequence[bool | None], **more: object) -> list[Graded]:
    """Samples of a text metric, in order."""
    return [record(variant, f"q{i}", item, **more) for i, item in enumerate(right)]
