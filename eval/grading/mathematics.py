"""Expressions, compared by math-verify.

Its time limits are alarms, which only the main thread may set, so they stay off here: what could
take long is refused before it is parsed.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import Final

from eval.grading.boxes import last_box
from eval.grading.values import arithmetic

LONGEST: Final = 400
"""Characters of an answer that is worked out."""
LONGEST_PROSE: Final = 4000
"""Characters of a text that math-verify searches, in quadratic time, for an expression."""

_EXPRESSION: Final = re.compile(r"[\d\\$]")
_DIGITS: Final = re.compile(r"\d{60}")
_EXPONENT: Final = re.compile(r"(?:\^|\*\*)\s*[{(]*\s*-?\s*(\d[\d,]*)")
_STARS: Final = re.compile(r"([\d).]\s*)?\*{2,}(?=(\s*[-\d(.])?)")
_POWER: Final = re.compile(r"\^|\*\*")
_FACTORIAL: Final = re.compile(r"\d{3,}\s*[)}]*\s*!|!\s*[)}]*\s*!|[)}]\s*!")
_OPERATORS: Final = ("\\int", "\\sum", "\\prod", "\\lim", "\\binom", "\\dbinom", "\\tbinom")
_DISTANT: Final = 1e-4
"""math-verify rounds to six decimals, so values that are closer are left to it."""
_MOST_POWERS: Final = 12
_LARGEST_EXPONENT: Final = 2000


@lru_cache(maxsize=16384)
def same_mathematics(gold: str, answer: str) -> bool | None:
    """Check whether math-verify considers two expressions equal.

    Args:
        gold: What is right, with or without `$`.
        answer: The response's expression, with or without `$`.

    Returns:
        Its verdict, or None where the answer was refused: longer than `LONGEST`, with powers of
        powers or huge exponents, large factorials, or with a sum or integral that is still to be
        worked out and is not so in the gold answer.
    """
    if not answer.strip():
        return False
    if differ(gold, answer):
        return False
    if is_hard(answer) or any(sign in answer and sign not in gold for sign in _OPERATORS):
        return None
    return _verify(_parsed(gold), _parsed(answer))


def differ(first: str, second: str) -> bool:
    """Check for two values whose distance exceeds every rounding of math-verify."""
    values = arithmetic(first), arithmetic(second)
    if values[0] is None or values[1] is None:
        return False
    return abs(values[0] - values[1]) > _DISTANT * max(abs(values[0]), abs(values[1]))


def same_in_prose(gold: str, answer: str) -> bool | None:
    """Return math-verify's verdict on two texts that are handed to it as they are.

    It finds the expression itself: in `145°` or `42, clearly` the number, and no LaTeX outside `$`
    and boxes. The answer stands in the first place, as in the scripts of arXiv 2602.12395, and the
    verdict depends on the order.

    Returns:
        The verdict, or None where the answer was refused: longer than `LONGEST_PROSE`, or for the
        other reasons of `same_mathematics`.
    """
    if not (_EXPRESSION.search(gold) and _EXPRESSION.search(answer)):
        return False  # words alone: there is nothing that math-verify would parse
    # Asterisks are bold print unless they stand between two numbers.
    plain = _STARS.sub(lambda stars: stars[0] if stars[1] and stars[2] else " ", answer)
    if is_hard(plain, LONGEST_PROSE) or any(s in answer and s not in gold for s in _OPERATORS):
        return None
    return _verify(_expressions(answer), _expressions(gold))


def _verify(first: tuple[object, ...], second: tuple[object, ...]) -> bool:
    from math_verify import verify

    return bool(verify(list(first), list(second), timeout_seconds=None))


def value_of(text: str) -> float | None:
    """Return the value of an expression; None if it has none, or is expensive to compute."""
    if not text.strip() or is_hard(text) or any(sign in text for sign in _OPERATORS):
        return None
    for parsed in _parsed(text):
        if getattr(parsed, "is_number", False):
            with suppress(TypeError, ValueError, OverflowError):  # complex, infinite
                return float(parsed.evalf())  # type: ignore[attr-defined]
    return None


def is_hard(text: str, longest: int = LONGEST) -> bool:
    """Check whether evaluating an expression could take long."""
    if len(text) > longest or _DIGITS.search(text) or _FACTORIAL.search(text):
        return True
    powers = [int(match[1].replace(",", "")[:9]) for match in _EXPONENT.finditer(text)]
    if any(power > _LARGEST_EXPONENT for power in powers):
        return True
    return len(_POWER.findall(text)) > _MOST_POWERS or _is_tower(text)


def _is_tower(text: str) -> bool:
    """Check for a power in an exponent, or a large power raised to another."""
    depth_of_exponent: list[int] = []
    depth, raised, product = 0, False, 1
    for index, character in enumerate(text):
        if character in "{([":
            if raised:
                depth_of_exponent.append(depth)
            depth, raised = depth + 1, False
        elif character in "})]":
            depth -= 1
            if depth_of_exponent and depth_of_exponent[-1] >= depth:
                depth_of_exponent.pop()
        elif character == "^" or text.startswith("**", index):
            if depth_of_exponent or raised:
                return True
            raised = True
        elif not character.isspace():
            raised = False
    chained = re.search(r"\^\s*-?\w+\s*(?:\^|\*\*)|\*\*\s*-?\w+\s*(?:\^|\*\*)", text)
    for match in re.finditer(r"[)}\]]\s*(?:\^|\*\*)\s*[{(]*\s*-?\s*(\d+)", text):
        product *= max(1, int(match[1]))
    return chained is not None or product > _LARGEST_EXPONENT


def _parsed(text: str) -> tuple[object, ...]:
    boxed = last_box(text)
    text = (text if boxed is None else boxed).strip()
    for opening, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(opening) and text.endswith(right) and len(text) > len(opening + right):
            text = text[len(opening) : -len(right)].strip()
            break
    return _expressions(f"\\boxed{{{text}}}")


@lru_cache(maxsize=4096)
def _expressions(text: str) -> tuple[object, ...]:
    import logging

    from math_verify import parse

    # It warns, once, of what the refusals above take care of.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return tuple(parse(text, parsing_timeout=None))
