"""Grades to scores, each with its uncertainty."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Final

from eval.records import Score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.records import Grade

Z95: Final = 1.959963984540054
"""Two-sided 95% quantile of the standard normal distribution."""


def wilson(correct: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Score interval for a proportion: Wilson 1927, JASA 22(158), 209-212.

    Unlike the normal approximation it holds for few samples and for shares near 0 and 1.

    Args:
        correct: Number of successes.
        n: Number of trials.
        z: Normal quantile of the wanted coverage.

    Returns:
        Lower and upper end, both in [0, 1].

    Raises:
        ValueError: If n is not positive or correct is not in [0, n].
    """
    if n <= 0 or not 0 <= correct <= n:
        raise ValueError(f"{correct} of {n} is not a proportion")
    share = correct / n
    scale = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z / scale * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the formula is exact; rounding is not.
    low = 0.0 if correct == 0 else max(0.0, middle - half)
    high = 1.0 if correct == n else min(1.0, middle + half)
    return low, high


def accuracy(task: str, grades: Sequence[Grade]) -> Score:
    """Share of right answers with its 95% Wilson interval; no answer counts as wrong.

    Raises:
        ValueError: If there are no grades.
    """
    correct = sum(grade.correct for grade in grades)
    low, high = wilson(correct, len(grades))
    answered = sum(grade.answer is not None for grade in grades)
    return Score(task, len(grades), correct, answered, low, high)
