"""Foreign names in a figure, drawn as they are written and never as formulas."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

from surgery.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

CHANGE: Final = r"$\|\Delta W\|\,/\,\|W\|$"
SHIFT: Final = r"$\|\sigma' - \sigma\|\,/\,\|\sigma\|$"
_FORMULAS: Final = re.compile("|".join(map(re.escape, (CHANGE, SHIFT))))


def literal(figure: Figure) -> Figure:
    """Return the figure with every dollar sign but those of our own formulas as a character.

    Ticks at numbers keep the formulas that matplotlib writes them with.
    """
    for text in figure.findobj(lambda artist: isinstance(artist, Text)):
        text.set_text(_plain(text.get_text()))  # type: ignore[attr-defined]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for form in (axis.get_major_formatter(), axis.get_minor_formatter()):
                if isinstance(form, FixedFormatter):
                    form.seq = [_plain(str(label)) for label in form.seq]
                elif isinstance(form, FuncFormatter):  # ticks with names
                    form.func = partial(_plain_tick, form.func)
    return figure


def _plain_tick(name: Callable[..., str], value: float, place: int | None = None) -> str:
    return _plain(name(value, place))


def _plain(text: str) -> str:
    formulas = _FORMULAS.findall(text)
    parts = [printable(part).replace("$", r"\$") for part in _FORMULAS.split(text)]
    return "".join(part + formula for part, formula in zip(parts, [*formulas, ""], strict=True))
