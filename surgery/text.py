"""Sanitising of foreign text for a terminal, a file or an error message."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import urlsplit

_HARMLESS: Final = frozenset("\n\t\u200c\u200d")  # the last two join letters and parts of emoji
_USER: Final = re.compile(r"(?<=://)[^\s/]*@")
_QUERY: Final = re.compile(r"(://[^\s?#'\"<>]*)[?#][^\s'\"<>]*")


def printable(text: str) -> str:
    """Return text without characters that control a terminal.

    Control characters, bidirectional marks, lone surrogates and other invisible characters become
    escape sequences; line breaks stay.
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
    """Return text that UTF-8 can encode, with a replacement character for each lone surrogate."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_address(text: str) -> bool:
    """Check that text is the address of a server, as a client takes it."""
    try:
        parts = urlsplit(text)
        server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return server and text.isprintable() and " " not in text


def without_credentials(text: str) -> str:
    """Return text without the secrets that URLs in it may hold: users, passwords, queries."""
    return _QUERY.sub(r"\1?...", _USER.sub("", text))
