"""Held-out questions of the world that the specimen family was trained in."""

from __future__ import annotations

from functools import cache
from typing import Final

from eval.records import Sample
from surgery.specimen.world import items

TASKS: Final = ("read", "count", "arithmetic", "expression")
"""Reading a number and counting need sight; arithmetic needs none; an expression needs both."""


@cache  # drawing takes longer than a tiny model's answer
def samples(task: str, n: int, seed: int) -> tuple[Sample, ...]:
    """Draw `n` different held-out questions; the same arguments give the same questions.

    Args:
        task: One of `TASKS`.
        n: How many.
        seed: Any whole number from 0.

    Raises:
        SurgeryError: If there is no such task, or it has fewer held-out questions.
    """
    return tuple(
        Sample(item.id, "specimen", task, item.prompt, item.image, item.answer)
        for item in items(task, n, seed)
    )
