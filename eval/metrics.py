"""Grades to scores, each with its uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scipy.stats import binomtest

from eval.records import Score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.records import Grade


def wilson(correct: int, n: int) -> tuple[float, float]:
    """95% score interval of a proportion: Wilson 1927, JASA 22(158), 209-212.

    Unlike the normal approximation it holds for few samples and for shares near 0 and 1.

    Args:
        correct: Number of successes.
        n: Number of trials.

    Returns:
        Lower and upper end, both in [0, 1].

    Raises:
        ValueError: If n is not positive or correct is not in [0, n].
    """
    if n <= 0 or not 0 <= correct <= n:
        raise ValueError(f"{correct} of {n} is not a proportion")
    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def accuracy(task: str, grades: Sequence[Grade]) -> Score:
    """Share of right answers with its 95% Wilson interval; no answer counts as wrong.

    Raises:
        ValueError: If there are no grades.
    """
    correct = sum(grade.correct for grade in grades)
    low, high = wilson(correct, len(grades))
    answered = sum(grade.answer is not None for grade in grades)
    return Score(task, len(grades), correct, answered, low, high)
