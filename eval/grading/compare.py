"""Comparison of an extracted answer with the correct one, and the rule that decided."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from eval.grading import options
from eval.grading.mathematics import same_mathematics, value_of
from eval.grading.normalise import plain, words
from eval.grading.numbers import equal, quantity
from eval.records import AnswerKind

if TYPE_CHECKING:
    from eval.records import Sample

_SPACE: Final = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
"""Space that means nothing: between two digits it parts two numbers."""


def compare(sample: Sample, answer: str) -> tuple[bool, str]:
    """Compare an answer with the sample's.

    Args:
        sample: The question; its kind decides how.
        answer: What was extracted.

    Returns:
        Whether it is right, and the comparison: `exact`, `text`, `numeric`, `option`,
        `math-verify`, or `refused` for mathematics too large to be worked out.
    """
    match sample.kind:
        case AnswerKind.EXACT:
            return answer == sample.answer, "exact"
        case AnswerKind.TEXT:
            return words(answer) == words(sample.answer), "text"
        case AnswerKind.OPTION:
            return options.choose(sample, answer) == sample.answer.strip().upper(), "option"
        case AnswerKind.NUMBER:
            return _number(sample, answer)
        case AnswerKind.MATH:
            return _mathematics(sample.answer, answer)


def _number(sample: Sample, answer: str) -> tuple[bool, str]:
    gold, answer_quantity = quantity(sample.answer), quantity(answer)
    if gold is None:  # a ratio, a range: nothing a tolerance could apply to
        return words(answer) == words(sample.answer), "text"
    if answer_quantity is not None:
        return equal(answer_quantity, gold, sample.tolerance), "numeric"
    if sample.tolerance and (value := value_of(answer)) is not None:
        return abs(value - float(gold.value)) <= sample.tolerance, "numeric"
    return _mathematics(sample.answer, answer)


def _mathematics(gold: str, answer: str) -> tuple[bool, str]:
    gold, answer = plain(gold).strip(), plain(answer).strip()
    if answer and _SPACE.sub("", gold) == _SPACE.sub("", answer):
        return True, "exact"
    is_same = same_mathematics(gold, answer)
    return (False, "refused") if is_same is None else (is_same, "math-verify")
