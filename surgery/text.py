"""Sanitising of foreign text for a terminal, a file or an error message."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_HARMLESS: Final = frozenset("\n\t\u200c\u200d")  # the last two join letters and parts of emoji
_USER: Final = re.compile(r"(?<=://)[^\s/]*@")
_QUERY: Final = re.compile(r"(://[^\s?#'\"<>]*)[?#][^\s'\"<>]*")


def printable(text: str) -> str:
    """Return text without characters that control a terminal.

    Control characters, marks that turn the direction of writing, halves of surrogate pairs and
    whatever else is invisible are spelled out; line breaks stay.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in _HARMLESS or unicodedata.category(char) == "Zs"
        else ascii(char)[1:-1]
        for char in text
    )


def one_line(text: str) -> str:
    """Return printable text without line breaks, its runs of white space as single spaces."""
    return printable(" ".join(text.split()))


def well_formed(text: str) -> str:
    """Return text that every file can hold: the replacement character for half a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def without_credentials(text: str) -> str:
    """Return text without what URLs in it may hold of secrets: users, passwords, queries."""
    return _QUERY.sub(r"\1?...", _USER.sub("", text))
