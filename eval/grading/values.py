r"""Values of plain LaTeX arithmetic: `\frac{7}{16}`, `2\sqrt{3}`, `16\pi`, `3 \cdot 2^5`.

math-verify decides whether two expressions are equal, and needs ten milliseconds for it. That two
values differ is seen in ten microseconds, and most wrong answers are such.
"""

from __future__ import annotations

import math
import operator
import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from eval.grading.boxes import unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TOKEN: Final = re.compile(
    r"\s*(\d+(?:\.\d+)?|\.\d+|\\[dtc]?frac|\\sqrt|\\pi|\\cdot|\\times|\\div|[-+*/^(){}\[\]\u03c0\u221a])"
)
_BLANK: Final = re.compile(r"\\(?:left|right|displaystyle|[,;:! ])|\$|~")
_LARGEST_EXPONENT: Final = 64
_LONGEST: Final = 120
_PRODUCTS: Final[Mapping[str, Callable[[float, float], float]]] = MappingProxyType(
    {
        "*": operator.mul,
        "\\cdot": operator.mul,
        "\\times": operator.mul,
        "/": operator.truediv,
        "\\div": operator.truediv,
    }
)
_CLOSING: Final = MappingProxyType({"(": ")", "{": "}", "[": "]"})


@lru_cache(maxsize=16384)
def arithmetic(text: str) -> float | None:
    r"""Return the value of an expression of numbers, or None if it contains anything else.

    Args:
        text: Numbers, `+ - * / ^`, brackets, `\frac`, `\sqrt`, `\pi`; at most 120 characters.
    """
    if len(text) > _LONGEST:
        return None
    tokens = _tokens(_BLANK.sub(" ", unwrapped(text)).strip().rstrip(".").strip())
    if not tokens:
        return None
    try:
        reader = _Reader(tokens)
        value = reader.sum()
    except (ArithmeticError, ValueError, IndexError, RecursionError):
        return None
    return value if reader.position == len(tokens) and math.isfinite(value) else None


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return []
        tokens.append(match[1])
        position = match.end()
    return tokens


class _Reader:
    """A recursive descent through tokens; `position` is the next one."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0

    def next_token(self) -> str:
        """Return the next token without consuming it; "" at the end."""
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def follows_number(self) -> bool:
        """Check whether the token before the next one is a number."""
        return self.tokens[self.position - 1][-1].isdigit()

    def sum(self) -> float:
        """Read terms with `+` and `-` between them."""
        value = self.product()
        while (sign := self.next_token()) in {"+", "-"}:
            self.position += 1
            term = self.product()
            value = value + term if sign == "+" else value - term
        return value

    def product(self) -> float:
        """Read factors; without a sign between them, they are multiplied."""
        sign = 1.0
        while self.next_token() in {"+", "-"}:
            sign = -sign if self.next_token() == "-" else sign
            self.position += 1
        value = self.power()
        while (token := self.next_token()) and token not in {"+", "-", ")", "}", "]"}:
            if token[0].isdigit() or (token.endswith("frac") and self.follows_number()):
                raise ValueError(token)  # `3 4` is no product, and `2\\frac{1}{2}` is 2 1/2
            operation = _PRODUCTS.get(token)
            self.position += operation is not None
            value = (operation or operator.mul)(value, self.power())
        return sign * value

    def power(self) -> float:
        """Read a factor and its exponent."""
        base = self.factor()
        if self.next_token() != "^":
            return base
        self.position += 1
        sign = -1.0 if self.next_token() == "-" else 1.0
        self.position += sign < 0
        exponent = sign * self.factor()
        if abs(exponent) > _LARGEST_EXPONENT:
            raise ValueError(exponent)
        value = base**exponent
        if isinstance(value, complex):
            raise ValueError(base)
        return float(value)

    def factor(self) -> float:
        """Read a number, a bracket, a fraction, a root or pi."""
        token = self.tokens[self.position]
        self.position += 1
        if token[0].isdigit() or token[0] == ".":
            return float(token)
        if token in {"\\pi", "\u03c0"}:
            return math.pi
        if token in {"\\sqrt", "\u221a"}:
            return self.root()
        if token.endswith("frac"):
            return self.part() / self.part()
        closing = _CLOSING.get(token, "")
        if not closing:
            raise ValueError(token)
        value = self.sum()
        if self.tokens[self.position] != closing:
            raise ValueError(token)
        self.position += 1
        return value

    def part(self) -> float:
        r"""Read half of a fraction: `{12}`, or the digits of `\frac12`."""
        token = self.next_token()
        if not token.isdigit():
            return self.factor()
        if len(token) > 1:  # \frac12 is 1/2
            self.tokens[self.position] = token[1:]
            return float(token[0])
        self.position += 1
        return float(token)

    def root(self) -> float:
        r"""Read what is under a root: `\sqrt{2}`, `\sqrt[3]{2}`."""
        degree = self.factor() if self.next_token() == "[" else 2.0
        value = self.part()
        if value < 0:
            raise ValueError(value)
        return float(value ** (1.0 / degree))
