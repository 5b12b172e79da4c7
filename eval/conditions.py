"""The conditions under which a sample is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.records import CONDITIONS, Condition, Metric

if TYPE_CHECKING:
    from eval.records import Sample


def conditions_of(metric: Metric, sample: Sample) -> tuple[Condition, ...]:
    """Return the conditions that a metric needs; a question without image is asked as text.

    Raises:
        ValueError: If the metric compares an image with something else, and there is none.
    """
    conditions = CONDITIONS[metric]
    if sample.images or Condition.IMAGE not in conditions:
        return conditions
    if len(conditions) > 1:
        raise ValueError(f"{metric} needs an image, and sample {sample.id!r} has none")
    return (Condition.TEXT,)
