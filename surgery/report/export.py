"""A drawing outside the terminal: text of bounded length, escaped HTML, an SVG file."""

from __future__ import annotations

from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from surgery.errors import ExecutionError
from surgery.report.console import plain_console
from surgery.text import one_line, printable

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console, RenderableType

MAX_LINES: Final = 58
"""Maximum lines of a `repr`, so that it fits on a screen."""

_WIDTH: Final = 100
_SVG_OPENING: Final = b'<svg class="rich-terminal"'
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


def write_svg(drawing: RenderableType, path: Path, title: str) -> None:
    """Draw into an SVG file that looks like a terminal window.

    Raises:
        ExecutionError: If the file cannot be written, or is another than such a picture.
    """
    from surgery.checkpoint.sibling import put

    console = _console(_WIDTH, record=True, force_terminal=True, color_system="truecolor")
    console.print(drawing)
    # rich numbers its CSS classes by content; a fixed id keeps the file the same every time.
    svg = console.export_svg(title=one_line(title), unique_id="plan")
    if path.is_file() and not path.read_bytes().startswith(_SVG_OPENING):
        raise ExecutionError(
            f"{path} is not a picture of a plan, and is not replaced. Name another."
        )
    put(path, lambda draft: draft.write_text(svg, encoding="utf-8"))


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
    return plain_console(width=width, file=StringIO(), **options)
