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

_STATES: Final = frozenset(
    {"is", "are", "was", "were", "in", "at", "by", "called", "named", "of", "on"}
)
"""Words before an answer at the end of a sentence."""
_ALTERNATIVE: Final = re.compile(
    r"\b(?:or|and|not|nor|neither|either|no|never|without|but|than|except)\b|n't\b|/", re.IGNORECASE
)
_NAME_THEN_ASIDE: Final = re.compile(r"\s*[,(]\s*\w")
_PLAIN_WORDS: Final = frozenset({"yes", "no", "true", "false", "none", "not"})
_SHORTEST, _LONGEST = 2, 120
_LAST_POINT: Final = re.compile(r"(?<=[\d)}\]a-zA-Z])\s*[.,;:]+\s*((?:\\?[$)\]])*)$")
_WITH_WORDS: Final = re.compile(r"[A-Za-z][A-Za-z ,]*(?:[:=]\s*)?\$([^$]+)\$\s*\.?")
_UNIT: Final = re.compile(
    r"(?<=\S)(?:\\[,;: ]|~|\s)*\\(?:mathrm|text|textrm|mbox"
    r"|rm)\s*\{[\s~]*[a-zA-Z]{1,8}(?: ?[a-zA-Z]{1,8})?\s*\}\s*(?:\^\s*\{?\s*[23]\s*\}?)?\s*$"
)
_TAIL: Final = 24
_ROUNDING: Final = 1e-4
"""Share of the gold within which math-verify decides: it rounds to six decimals."""
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
            return _same_text(sample.answer, answer), "text"
        case AnswerKind.OPTION:
            return _same_option(sample, answer), "option"
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


def _same_option(sample: Sample, answer: str) -> bool:
    """Check a letter; two options with the same text are one."""
    if options.asks_several(sample):
        return options.several_letters(sample, answer) == options.several_letters(
            sample, sample.answer
        )
    gold, letter = sample.answer.strip().upper(), options.choose(sample, answer)
    if letter is None or letter == gold or gold not in options.letters(sample):
        return letter == gold
    return bool(sample.choices) and options.same(sample, letter, gold)


def _same_text(gold: str, answer: str) -> bool:
    """Check words, or a short sentence that says the gold answer and no alternative.

    `The bell was cast in Porto.` and `Porto, Portugal` say Porto.
    """
    expected, actual = words(gold), words(answer)
    if actual == expected:
        return True
    if len(expected) < _SHORTEST or expected in _PLAIN_WORDS or len(answer) > _LONGEST:
        return False
    if _ALTERNATIVE.search(answer) and not _ALTERNATIVE.search(gold):
        return False
    if actual.startswith(f"{expected} ") and _NAME_THEN_ASIDE.match(answer, len(gold)):
        return plain(answer).casefold().startswith(plain(gold).casefold())
    before = actual.removesuffix(f" {expected}")
    return before != actual and before.split()[-1] in _STATES


def _mathematics(gold: str, answer: str) -> tuple[bool, str]:
    gold, answer = _core(gold), _core(answer)
    numbers = quantity(gold), quantity(answer)
    if numbers[0] is not None and numbers[1] is not None:
        if equal(numbers[1], numbers[0]):
            return True, "numeric"
        if equal(numbers[1], numbers[0], _ROUNDING * abs(float(numbers[0].value))):
            return same_mathematics(gold, answer) is True, "math-verify"
        if numbers[0].unit == numbers[1].unit:
            return False, "numeric"  # math-verify would need a thousand times as long
    if answer and _SPACE.sub("", gold) == _SPACE.sub("", answer):
        return True, "exact"
    is_same = same_mathematics(gold, answer)
    return (False, "refused") if is_same is None else (is_same, "math-verify")


def _core(text: str) -> str:
    """Return an expression without the words, unit, dollar sign and full stop around it."""
    text = plain(text).strip()
    if match := _WITH_WORDS.fullmatch(text):
        text = match[1].strip()
    text = text[:-_TAIL] + _LAST_POINT.sub(r"\1", text[-_TAIL:])
    text = text.replace("\\$", "")
    inner = text.strip("$").strip()
    if inner.startswith("="):
        text = inner = inner[1:].strip()
    bare = _UNIT.sub("", inner)
    return bare if bare != inner and bare.strip() else text
