"""Normalization of characters that look the same, and of words that mean the same."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from eval.grading.boxes import unwrapped

_SUPERSCRIPT: Final = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_RAISED: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_FRACTION: Final = re.compile("(?<=[0-9])([¼½¾⅐-⅞])")
_ALIKE: Final = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),  # hyphens, en dash, minus
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
        "\u2044": "/",
        "。": ". ",
        "、": ", ",
        "【": "[",
        "】": "]",
        "\r": "\n",
        "\t": " ",
    }
)
_GROUPED: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_ARTICLES: Final = re.compile(r"\b(?:the|an?(?=\s+(?!(?:is|are|was|and|or|has)\b)\S))\b")
"""Articles; `a is closer` speaks of the letter."""
_COLON: Final = re.compile(r"(?<=\d)\s*:\s*(?=\d)")
_TOKEN: Final = re.compile(
    r"<(?:/s|eos|end_of_turn|\|(?:im_end|end|endoftext|eot_id|end_of_text|return)\|"
    r"|\uff5cend\u2581of\u2581sentence\uff5c)>|\[(?:EOS|/INST)\]"
)
_FIRST_TOKEN: Final = re.compile(
    r"\s*(?:<s>|<bos>|<\|(?:im_start|begin_of_text|startoftext)\|>)\s*"
)
_MARKS: Final = frozenset("%#&@\\")
"""Punctuation in Unicode's sense that distinguishes words."""


def plain(text: str) -> str:
    """Full-width letters, Unicode minus, odd blanks, fractions and superscripts in plain ASCII.

    Line ends become newlines and invisible characters go; nothing else changes, so LaTeX and words
    of any language stay. Doing it twice changes nothing more.
    """
    if text.isascii() and "\r" not in text and "\t" not in text:
        return text
    text = text.replace("\r\n", "\n")
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = text.replace("º", "°")  # typed for degrees
    text = _SUPERSCRIPT.sub(lambda run: "^{" + run[0].translate(_RAISED) + "}", text)
    text = _FRACTION.sub(r" \1", text)
    return unicodedata.normalize("NFKC", text).translate(_ALIKE)


def without_tokens(text: str) -> str:
    """Return a response up to its end-of-sequence token, without the token that may open it."""
    if "<" not in text and "[" not in text:
        return text
    if match := _FIRST_TOKEN.match(text):
        text = text[match.end() :]
    for end in _TOKEN.finditer(text):
        if text[: end.start()].strip():
            return text[: end.start()]
    return _TOKEN.sub("", text)


def ungrouped(text: str) -> str:
    """Return the text with 12,345 written as 12345."""
    return _GROUPED.sub(lambda number: number[0].replace(",", ""), text)


def words(text: str) -> str:
    """Return the text as words to compare, without case, articles, punctuation and blanks.

    A point or sign that belongs to a number stays, and so does what tells `C#` from `C`. A text of
    punctuation alone is left as it is.
    """
    base = (
        _COLON.sub(":", ungrouped(unwrapped(plain(text))))
        .replace("$", " ")
        .casefold()
        .replace("'", "")
    )
    allowed = [_kept_character(base, index) for index in range(len(base))]
    tidy = " ".join("".join(allowed).split())
    without = " ".join(_ARTICLES.sub(" ", tidy).split())
    return without or tidy or " ".join(base.split())


def _kept_character(text: str, index: int) -> str:
    character = text[index]
    if not unicodedata.category(character).startswith("P") or character in _MARKS:
        return character
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    if character in ".:/" and before.isdigit() and after.isdigit():
        return character
    starts_number = after.isdigit() or (after == "." and text[index + 2 : index + 3].isdigit())
    if character == "-" and starts_number and not before.isalnum():
        return character
    return character if character == "." and after.isdigit() and not before.isalnum() else " "
