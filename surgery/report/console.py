"""A console that prints foreign text as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surgery.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console


def plain_console(**options: Any) -> Console:
    """Return a console that prints text as text: no markup in it, and nothing a terminal obeys."""
    from rich.console import Console
    from rich.segment import Segment

    class PrintableConsole(Console):
        """A console that makes every piece of text printable before it writes it."""

        def render(self, *arguments: Any, **keywords: Any) -> Iterator[Segment]:
            for segment in super().render(*arguments, **keywords):
                text = segment.text if segment.control else printable(segment.text)
                yield Segment(text, segment.style, segment.control)

    return PrintableConsole(highlight=False, markup=False, emoji=False, **options)
