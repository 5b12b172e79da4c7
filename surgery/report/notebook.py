"""What a notebook shows of an object: text of bounded length, and HTML with everything escaped."""

from __future__ import annotations

from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from surgery.text import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

MAX_LINES: Final = 58
"""Lines of a `repr`: more than a screen hides what stands before it."""

_WIDTH: Final = 100
_PAGE: Final = '<pre style="line-height:1.2;font-family:monospace;white-space:pre">{code}</pre>'


def as_text(drawing: RenderableType, width: int = _WIDTH) -> str:
    """Return a drawing as plain text of at most `MAX_LINES` lines."""
    console = _console(width)
    with console.capture() as capture:
        console.print(drawing)
    return shortened(capture.get())


def as_html(drawing: RenderableType, width: int = _WIDTH) -> str:
    """Return a drawing as HTML, its colours inline and its text escaped."""
    console = _console(width, record=True, force_terminal=True, color_system="truecolor")
    console.print(drawing)
    return console.export_html(inline_styles=True, code_format=_PAGE)


def shortened(text: str) -> str:
    """Return text without trailing space, cut to `MAX_LINES` lines."""
    lines = [printable(line.rstrip()) for line in text.rstrip().split("\n")]
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"... and {len(lines) - MAX_LINES + 1:,} more lines"]
    return "\n".join(lines)


def paragraph(text: str) -> str:
    """Return a line of text as HTML."""
    return f"<p>{escape(printable(text))}</p>"


def _console(width: int, **options: Any) -> Console:
    from rich.console import Console

    return Console(
        width=width, file=StringIO(), highlight=False, markup=False, emoji=False, **options
    )
