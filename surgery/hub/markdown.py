"""Text of others in a card, so that it stays text: cells of tables, code, prose."""

from __future__ import annotations

import re

_MARKUP = re.compile(r"[\\`*\[\]<>&~]|(?<!\w)_|_(?!\w)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def plain(text: str) -> str:
    """Text of which nothing is markup, for a cell or a line."""
    escaped = _MARKUP.sub(lambda found: f"\\{found.group()}", " ".join(text.split()))
    return escaped.replace("|", "&#124;")


def code(text: str) -> str:
    """Text in the type of code, whatever backticks it has."""
    text = " ".join(text.split())
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    edge = " " if "`" in text[:1] + text[-1:] else ""
    return f"{ticks}{edge}{text}{edge}{ticks}"


def row(*cells: str) -> str:
    """A line of a table; cells are markdown."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def closed(text: str) -> str:
    """Prose whose last block of code does not reach into what follows."""
    fence = ""
    for line in text.splitlines():
        found = _FENCE.fullmatch(line)
        if found is None:
            continue
        mark, rest = found.groups()
        if not fence:
            fence = mark
        elif mark.startswith(fence) and not rest.strip():
            fence = ""
    return f"{text.strip()}\n{fence}".strip()
