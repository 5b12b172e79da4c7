"""Panels along the depth of a decoder, with early, mid and late marked."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from surgery.report.layer_axis import fits, numbered
from surgery.report.style import GREY, WIDTH, grid, new_figure, shade

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from surgery.report.style import SeriesStyle

_ACROSS = 2
_HEIGHT = 1.25  # inches of a panel
_CHARACTER = 0.06  # inches, in 8 points


def grid_of(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels in rows and columns that share both axes."""
    across = min(_ACROSS, count)
    down = -(-count // across)
    figure = new_figure(_HEIGHT * down + 1.0)
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for unused in axes.flat[count:]:
        unused.set_axis_off()
    for above in axes[-2, count % across :] if count % across and down > 1 else ():
        above.tick_params(labelbottom=True)  # nothing stands below it that would be numbered
    return figure, list(axes.flat)


def folded(text: str, inches: float) -> str:
    """Return a text in 8 points, broken into lines between words."""
    width = max(1, int(inches / _CHARACTER))
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def band(axes: Axes, rows: DataFrame, style: SeriesStyle) -> None:
    """Draw a line along depth with its interval."""
    x = rows["layer"].to_numpy(float)
    value, low, high = (rows[name].to_numpy(float) for name in ("value", "low", "high"))
    axes.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)
    axes.plot(x, value, **style.line())  # type: ignore[arg-type]


def dress(panels: Sequence[Axes], summary: Mapping[str, Any]) -> None:
    """Ticks at layers, regions shaded, and named above the first panel.

    Args:
        panels: They share their x axis.
        summary: `layers` (how many) and `regions`, name to half-open range.
    """
    layers = range(summary["layers"])
    first = panels[0]
    inch = first.get_position().width * WIDTH / len(layers)
    for axes in panels:
        grid(axes)
        axes.set_xlim(-0.6, len(layers) - 0.4)
        axes.set_xticks(numbered(layers, inch))
        for index, (name, (start, stop)) in enumerate(summary["regions"].items()):
            if index != 1:
                shade(axes, start - 0.5, stop - 0.5)
            if _on_top(axes) and fits(name, (stop - start) * inch):
                place = {"ha": "center", "va": "bottom", "color": GREY, "fontsize": 6.5}
                transform = axes.get_xaxis_transform()
                axes.text((start + stop - 1) / 2, 1.01, name, transform=transform, **place)  # type: ignore[arg-type]
        if axes.get_title():
            pad = 12 if _on_top(axes) else None  # above the regions' names
            axes.set_title(folded(axes.get_title(), inch * len(layers)), pad=pad)


def _on_top(axes: Axes) -> bool:
    place = axes.get_subplotspec()
    return place is not None and place.is_first_row()
