"""Text for people: foreign text made safe to print, sizes, durations, layer ranges, lists."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BYTES: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_COUNTS: Final = ((10**12, "T"), (10**9, "B"), (10**6, "M"))
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
            return f"{_three_digits(nbytes / unit)} {name}"
    return f"{nbytes:.0f} B"


def count_text(count: int) -> str:
    """Return a number of parameters: `7.62B`, `494M`, `2,048`."""
    for unit, name in _COUNTS:
        if count >= unit:
            return f"{_three_digits(count / unit)}{name}"
    return f"{count:,}"


def quantity(count: int, noun: str) -> str:
    """Return a counted noun: `1 tensor`, `729 tensors`, `9,000 tensors`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def duration_text(seconds: float) -> str:
    """Return a length of time: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def first_names(names: Sequence[str], limit: int = 3, separator: str = ", ") -> str:
    """Return the first names of a list and how many more there are: `a, b, c and 2 more`."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return separator.join(names[:limit]) + more


def all_names(names: Sequence[str]) -> str:
    """Return the names of a list as a sentence does: `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), *names[-1:]] if len(names) > 1 else names)


def abbreviate(text: str, limit: int) -> str:
    """Return text that is at most so long; dots stand for the end of a longer one."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
