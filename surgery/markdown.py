"""Escaping of foreign text in a model card: prose, code, cells of tables."""

from __future__ import annotations

import re
from typing import Final

from surgery.text import one_line, printable

_MARKUP: Final = re.compile(r"[\\`*\[\]<>&~$]|(?<![^\W_])_|_(?![^\W_])")
_BLOCK: Final = re.compile(
    r"^(?:#{1,6}(?=\s|$)|[-+](?=\s|$)|[-=]+(?=\s*$)|\d{1,9}(?=[.)](?:\s|$)))"
)
_PIPE: Final = re.compile(r"(\\*)\|")


def plain(text: str) -> str:
    """Return text with all markup escaped, for a cell, a heading or a line."""
    line = _MARKUP.sub(lambda match: f"\\{match.group()}", one_line(text))
    return _BLOCK.sub(_escape_block, line.replace("|", "&#124;"))


def _escape_block(match: re.Match[str]) -> str:
    """Escape the start of a line, so that it opens no heading, list or rule."""
    mark = match.group()
    return f"&#{ord(mark[0])};{mark[1:]}"


def prose(text: str) -> str:
    """Return paragraphs with all markup escaped."""
    return "\n\n".join(plain(part) for part in re.split(r"\n\s*\n", text) if part.strip())


def code(text: str) -> str:
    """Return inline code; backticks in the text stay literal."""
    text = one_line(text)
    edge = " " if "`" in text[:1] + text[-1:] else ""
    ticks = "`" * _ticks(text, 1)
    return f"{ticks}{edge}{text}{edge}{ticks}"


def fenced(text: str, language: str) -> str:
    """Return a block of code that nothing in it closes."""
    text = printable(text.strip())
    fence = "`" * _ticks(text, 3)
    return f"{fence}{language}\n{text}\n{fence}"


def row(*cells: str) -> str:
    """Return a line of a table; cells are Markdown."""
    return f"| {' | '.join(_PIPE.sub(_escape_pipe, cell) for cell in cells)} |"


def _escape_pipe(match: re.Match[str]) -> str:
    """Return an escaped pipe; backslashes before it are doubled, so that they stay literal."""
    return f"{match[1] * 2}\\|"


def _ticks(text: str, least: int) -> int:
    """Return a number of backticks, greater than that of any run in the text."""
    return max(least, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
