r"""Numbers as people and models write them: `1,234.5`, `45\%`, `\frac{3}{4}`, `1 1/2`, `5 cm`.

What is decided here:

- A percentage, or a number with `thousand`, `million`, ... after it, has two readings: 45% is 45 or
  0.45. It equals a plain number that is either; of two percentages only the values count.
- A unit after a number is ignored; a gold answer has none, or the question's.
- A comma before exactly three digits groups thousands, any other is a decimal comma: 12,345 is
  twelve thousand and 3,5 is three and a half. `3, 5` is no number.
- 5x, 5\pi, 3:4, `5 or 6` and ranges are no numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from eval.grading.boxes import unwrapped
from eval.grading.normalise import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST: Final = 200
"""Characters; a longer text is no number."""

_SLACK: Final = Fraction(1, 10**9)
"""Share of the gold by which numbers that are not both whole may differ: floats in data files."""

_DECIMAL: Final = (
    r"(?:\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)(?:\.\d+)?|\d+(?:[.,]\d+)?|\.\d+)"
)
_POWER: Final = r"\s?[x*]\s?10\s?\^\s?(?:\{\s?([-+]?\d{1,3})\s?\}|([-+]?\d{1,3}))"
_MIXED: Final = re.compile(r"(\d+)\s+(\d+)\s?/\s?(\d+)")
_RATIO: Final = re.compile(rf"({_DECIMAL})\s?/\s?([-+]?{_DECIMAL})")
_SCIENTIFIC: Final = re.compile(rf"({_DECIMAL}){_POWER}")
_EXPONENT: Final = re.compile(rf"({_DECIMAL})[eE]([-+]?\d{{1,3}})(?![\w.])")
_TEN: Final = re.compile(r"10\s?\^\s?(?:\{\s?([-+]?\d{1,3})\s?\}|([-+]?\d{1,3}))")
_SPACED: Final = re.compile(r"(\d{1,3}(?: \d{3})+)(?![\d ]*/|\s*\d)((?:\.\d+)?)")
_PLAIN: Final = re.compile(_DECIMAL)

_SINGLE: Final = (
    rf"(?:(?:{_DECIMAL}){_POWER}|(?:{_DECIMAL})[eE][-+]?\d{{1,3}}(?![\w.])|\d+ \d+/\d+"
    rf"|{_DECIMAL}(?:/\d+)?)"
).replace("([-+]", "(?:[-+]")
_IN_PROSE: Final = re.compile(
    rf"(?<![\w.^_])(?<!\d,)(?:(?<![\w)\]}}.])[-+])?{_SINGLE}(?:\s?(?:%|percent\b))?"
)

_LATEX: Final = (
    (re.compile(r"\\[dtc]?frac\s?\{\s?(-?[\d.,]+)\s?\}\s?\{\s?(-?[\d.,]+)\s?\}"), r" \1/\2 "),
    (re.compile(r"\\[dtc]?frac\s?(\d)\s?(\d)"), r" \1/\2 "),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])|[\u00d7·⋅∙]"), "*"),
    (re.compile(r"\\approx(?![a-zA-Z])|\\sim(?![a-zA-Z])"), "≈"),
    (re.compile(r"\^\s?\{?\s?(?:\\circ|°)\s?\}?|\\degree(?![a-zA-Z])"), "°"),
    (re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![a-zA-Z])"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;:! ]"), ""),
    (re.compile(r"\\[()\[\]]|(?<!\\)\$(?=\s*\\)"), " "),
    (re.compile(r"\\([%$#&])"), r"\1"),
    (re.compile(r"~"), " "),
)

_ABOUT: Final = re.compile(
    r"(?:about|approximately|approx\.?|around|roughly|nearly|almost|exactly|only|equals?|≈|≃"
    r"|the)\s*",
    re.IGNORECASE,
)
_CURRENCY: Final = re.compile(r"(?:US|USD|EUR|GBP|RMB|CNY|Rs\.?|[$€£¥₹₩])\s*")
_UNIT: Final = re.compile(
    r"(?:[^\W\d_]|[µΩ°\u2032″'\"%‰$€£¥/.·*()\s-]|(?<=[^\W\d_])[23]|(?<=[^\W\d_])\^\{?-?\d\}?)*"
)
_VARIABLE: Final = re.compile(r"[xyznkijpqabuvwe]|[^\W\d_]?[π√∞].*|.*\bpi\b.*")
_NO_UNIT: Final = frozenset(
    [
        "or",
        "and",
        "to",
        "not",
        "plus",
        "minus",
        "times",
        "half",
        "thirds",
        "quarters",
        "squared",
        "cubed",
        "factorial",
        "dozen",
        "root",
        "divided",
        "over",
        "nor",
        "than",
        "but",
        "if",
        "versus",
        "vs",
    ]
)
_UNIT_WORDS: Final = 6
_ASIDE: Final = re.compile(
    r"\s*(?:(?<=\s)\([^()]*\)|\([^()\d\\\u221a]*\)|[,;.:]\s[^\d]*|[,;.:!]+)$"
)

_SCALES: Final[Mapping[str, Fraction]] = MappingProxyType(
    {
        "%": Fraction(1, 100),
        "percent": Fraction(1, 100),
        "per cent": Fraction(1, 100),
        "percentage": Fraction(1, 100),
        "‰": Fraction(1, 1000),
        "hundred": Fraction(100),
        "thousand": Fraction(1000),
        "million": Fraction(10**6),
        "billion": Fraction(10**9),
        "trillion": Fraction(10**12),
    }
)
_SCALED: Final = re.compile(rf"\s*({'|'.join(_SCALES)})s?(?![a-z])", re.IGNORECASE)

_SMALL: Final = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS: Final = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NUMBER_WORDS: Final[Mapping[str, int]] = MappingProxyType(
    {
        **{word: number for number, word in enumerate(_SMALL)},
        **{word: 20 + 10 * number for number, word in enumerate(_TENS)},
        **{
            f"{ten}-{_SMALL[one]}": 20 + 10 * number + one
            for number, ten in enumerate(_TENS)
            for one in range(1, 10)
        },
    }
)
"""zero to ninety-nine."""
_WORD: Final = re.compile(r"[a-z]+(?:[- ](?:one|two|three|four|five|six|seven|eight|nine)\b)?")


@dataclass(frozen=True)
class Quantity:
    """A number that was read.

    Attributes:
        value: What it says, without its scale.
        scale: 1/100 for a percentage, 10^6 for `million`; 1 without any.
        unit: What stands after it.
    """

    value: Fraction
    scale: Fraction = Fraction(1)
    unit: str = ""

    @property
    def readings(self) -> tuple[Fraction, ...]:
        """Return the possible meanings of a number."""
        return (self.value,) if self.scale == 1 else (self.value, self.value * self.scale)


def quantity(text: str) -> Quantity | None:
    """Read a text that is a number, perhaps with a unit, and nothing else.

    Args:
        text: For example `about $1,234.50` or `x = 3/4`.

    Returns:
        The number, or None if it is not one.
    """
    if len(text) > LONGEST:
        return None
    rest = _tidy(text)
    rest = re.split(r"[=≈≃]", rest)[-1].strip() if re.search(r"[=≈≃]\s*\S", rest) else rest
    rest = rest.strip("\"'` ")
    while about := _ABOUT.match(rest):
        rest = rest[about.end() :]
    sign = rest[:1] if rest[:1] in {"-", "+"} else ""
    rest = rest[len(sign) :].lstrip()
    if currency := _CURRENCY.match(rest):
        rest = rest[currency.end() :]
        if not sign and rest[:1] == "-":
            sign, rest = "-", rest[1:].lstrip()
    number = _leading(rest)
    if number is None:
        return None
    value, end = number
    scale, rest = _scale(rest[end:])
    unit = _unit(rest)
    return None if unit is None else Quantity(-value if sign == "-" else value, scale, unit)


def _tidy(text: str) -> str:
    text = unwrapped(plain(text)).strip()
    for pattern, instead in _LATEX:
        text = pattern.sub(instead, text)
    text = text.strip()
    while len(text) > 1 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    if text.count("$") == 1 and text.endswith("$"):
        text = text[:-1].strip()
    text = text.strip("*_` \n")
    return re.sub(r"(?<=\d)\$(?=\s|$)", "", text) if text.count("$") > 1 else text


def _leading(text: str) -> tuple[Fraction, int] | None:
    """Return the number at the start, and its end."""
    word = _WORD.match(text.lower())
    if word:
        for name in (word[0].replace(" ", "-"), re.split(r"[- ]", word[0])[0]):
            if name in NUMBER_WORDS:
                return Fraction(NUMBER_WORDS[name]), len(name)
        return None
    for form, value in _FORMS:
        if match := form.match(text):
            number = value(match)
            return None if number is None else (number, match.end())
    return None


def _mixed(result: re.Match[str]) -> Fraction | None:
    whole, over, under = (int(part) for part in result.groups())
    return whole + Fraction(over, under) if under else None


def _ratio(result: re.Match[str]) -> Fraction | None:
    bottom = _decimal(result[2].lstrip("+-")) * (-1 if result[2][0] == "-" else 1)
    return _decimal(result[1]) / bottom if bottom else None


_FORMS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Fraction | None]], ...]] = (
    (_MIXED, _mixed),
    (_RATIO, _ratio),
    (_SCIENTIFIC, lambda match: _decimal(match[1]) * Fraction(10) ** int(match[2] or match[3])),
    (_EXPONENT, lambda match: _decimal(match[1]) * Fraction(10) ** int(match[2])),
    (_TEN, lambda match: Fraction(10) ** int(match[1] or match[2])),
    (_SPACED, lambda match: Fraction(match[1].replace(" ", "") + match[2])),
    (_PLAIN, lambda match: _decimal(match[0])),
)
"""Patterns of a written number; the first match counts."""


def _decimal(text: str) -> Fraction:
    if "," in text:
        last = len(text) - text.rindex(",") - 1
        is_decimal = "." in text[: text.rindex(",")] or (
            text.count(",") == 1 and (last != 3 or text[0] == "0") and "." not in text
        )
        text = text.replace(".", "").replace(",", ".") if is_decimal else text.replace(",", "")
    return Fraction(text)


def _scale(rest: str) -> tuple[Fraction, str]:
    match = _SCALED.match(rest)
    return (_SCALES[match[1].lower()], rest[match.end() :]) if match else (Fraction(1), rest)


def _unit(rest: str) -> str | None:
    """Return the unit, "" for none, or None if the rest makes it something other than a number."""
    unit = _ASIDE.sub("", rest).strip().strip("*_`$").strip()
    if not unit:
        return ""
    names = unit.lower().split()
    if not _UNIT.fullmatch(unit) or len(names) > _UNIT_WORDS or _NO_UNIT & set(names):
        return None
    glued = not rest[:1].isspace()
    return None if _VARIABLE.fullmatch(unit) or (glued and unit[0] in "-*.(/'") else unit


def numbers_in(text: str) -> list[str]:
    """Return the numbers in prose, as they are written, in order."""
    cleaned = plain(text)
    for pattern, instead in _LATEX:
        cleaned = pattern.sub(instead, cleaned)
    return [match[0].strip() for match in _IN_PROSE.finditer(cleaned)]


def equal(answer: Quantity, gold: Quantity, tolerance: float = 0.0) -> bool:
    """Check whether one reading of the answer equals one of the gold's, within a tolerance.

    Args:
        answer: The response's number.
        gold: What is right.
        tolerance: How far off it may be, in the gold's unit. Whole numbers get nothing on top,
            others 10^-9 of the gold.
    """
    allowed = Fraction(str(tolerance))
    if answer.scale != 1 and gold.scale != 1:
        pairs = [(answer.value * answer.scale, gold.value * gold.scale)]
        allowed *= gold.scale
    else:
        pairs = [(reading, right) for reading in answer.readings for right in gold.readings]
    for reading, right in pairs:
        whole = reading.denominator == right.denominator == 1
        slack = 0 if whole else _SLACK * abs(right)
        if abs(reading - right) <= allowed + slack:
            return True
    return False
