"""Text for people: foreign text made safe to print, sizes, layer ranges."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

_BYTES: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
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


def layer_runs(layers: Iterable[int]) -> list[list[int]]:
    """Return layers as half-open runs: 0, 1, 2, 7 are `[[0, 3], [7, 8]]`."""
    runs: list[list[int]] = []
    for layer in sorted(set(layers)):
        if runs and runs[-1][1] == layer:
            runs[-1][1] += 1
        else:
            runs.append([layer, layer + 1])
    return runs


def layer_ranges(layers: Iterable[int]) -> str:
    """Return layers with inclusive ends: `3-5`, `0-2, 7`; an empty text for none."""
    return ", ".join(
        f"{start}-{end - 1}" if end > start + 1 else str(start) for start, end in layer_runs(layers)
    )


def layer_numbers(layers: Iterable[int]) -> str:
    """Return layers with inclusive ends and their noun: `layers 0-3, 9-17`, or `layer 5`.

    Raises:
        ValueError: If there are none.
    """
    ranges = layer_ranges(numbers := set(layers))
    if not numbers:
        raise ValueError("no layers to describe")
    return f"layer{'s' if len(numbers) > 1 else ''} {ranges}"


def size_text(nbytes: float) -> str:
    """Return bytes in decimal units, as disks and the Hub count them: `16.6 GB`."""
    for unit, name in _BYTES:
        if nbytes >= unit:
            return f"{three_digits(nbytes / unit)} {name}"
    return f"{nbytes:.0f} B"


def three_digits(value: float) -> str:
    """Return a number with three digits: `1.50`, `16.6`, `228`."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
