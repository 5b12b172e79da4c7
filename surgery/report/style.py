"""The style of figures: sizes for a printed page, colors that all readers can distinguish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

WIDTH = 7.0
"""Width of a printed page between its margins, in inches."""

RC: Mapping[str, object] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.dpi": 200,
    # Names inside an SVG are random unless salted.
    "svg.hashsalt": "surgery",
}

GREY = "0.35"
_SHADE = "0.94"

# Okabe and Ito's palette, the strong colours first: thin lines need them.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", (0, (6, 1.2)), (0, (4, 2, 1, 2)), (0, (2.5, 1)), "-", (0, (6, 1.2)), "-")


@dataclass(frozen=True)
class SeriesStyle:
    """The style of one series, distinct with and without color.

    Attributes:
        index: Which series.
        label: Its name in the legend.
    """

    index: int
    label: str

    @property
    def colour(self) -> str:
        """Its colour, as `#rrggbb`."""
        return _COLOURS[self.index % len(_COLOURS)]

    def line(self) -> dict[str, object]:
        """Properties of its line."""
        i = self.index % len(_COLOURS)
        return {
            "color": self.colour,
            "marker": _MARKERS[i],
            "linestyle": _DASHES[i],
            # Later series are thinner, so that all are visible where series coincide.
            "linewidth": max(2.0 - 0.5 * self.index, 0.9),
            "markersize": max(4.4 - 0.8 * self.index, 2.6),
            "markeredgewidth": 0.0,
            "label": self.label,
        }


def styles(labels: Sequence[str]) -> list[SeriesStyle]:
    """One style per series."""
    return [SeriesStyle(index, label) for index, label in enumerate(labels)]


class NotebookFigure(Figure):
    """A figure that notebooks show without pyplot, which would keep every figure in memory."""

    def _repr_png_(self) -> bytes:
        """Return the figure as a PNG file."""
        from io import BytesIO

        file = BytesIO()
        self.savefig(file, format="png", dpi=120)
        return file.getvalue()


def new_figure(height: float) -> Figure:
    """Return an empty figure as wide as a page; the height is in inches."""
    figure = NotebookFigure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(height: float, count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of stacked panels that share their x axis.

    Args:
        height: Of one panel, in inches.
        count: How many.
    """
    figure = new_figure(height * count + 1.0)
    return figure, list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])


def curve(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], style: SeriesStyle) -> None:
    """Draw a series; what is exactly zero stands as a hollow mark on the floor of a log axis."""
    log = axes.get_yscale() == "log"
    axes.plot(x, np.where(y > 0, y, np.nan) if log else y, **style.line())  # type: ignore[arg-type]
    zero = y == 0
    if log and zero.any():
        # Series stand above one another, or the last would hide the others.
        floor = np.full(int(zero.sum()), 0.03 + 0.06 * style.index)
        at_floor = axes.get_xaxis_transform()
        hollow = {"marker": "v", "markersize": 3.5, "markerfacecolor": "white", "linestyle": ""}
        hollow |= {"markeredgecolor": style.colour, "markeredgewidth": 0.8, "label": "_zero"}
        axes.plot(x[zero], floor, transform=at_floor, **hollow)  # type: ignore[arg-type]


def null(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], style: SeriesStyle | None
) -> None:
    """Draw what chance alone would give: thin, dotted, without marks, grey or the series' own."""
    colour = GREY if style is None else style.colour
    finite = np.concatenate([[False], np.isfinite(y), [False]])
    # A dotted line of one point would not be seen: it gets a dash.
    alone = np.flatnonzero(finite[1:-1] & ~finite[:-2] & ~finite[2:])
    dash = {"marker": "_", "markersize": 6, "markevery": alone.tolist()}
    look = {"color": colour, "linestyle": ":", "linewidth": 1.0, "label": "_null", "zorder": 1.5}
    axes.plot(x, y, **(look | (dash if len(alone) else {})))  # type: ignore[arg-type]


def log_limits(axes: Axes) -> None:
    """Add space around the data of a log axis of at least one decade."""
    data_lines = [
        np.asarray(line.get_ydata(), dtype=float)
        for line in axes.get_lines()
        if line.get_label() != "_zero"
    ]
    data = np.concatenate([*data_lines, np.empty(0)])
    data = data[np.isfinite(data) & (data > 0)]
    low, high = (data.min(), data.max()) if data.size else (1e-6, 1e-5)
    # The zeros have the lowest part to themselves.
    zeros = any(line.get_label() == "_zero" for line in axes.get_lines())
    span = max(np.log10(high / low), 1.0)
    middle = np.sqrt(low * high)
    low, high = middle / 10 ** (span / 2), middle * 10 ** (span / 2)
    axes.set_ylim(low / 10 ** (span * (0.3 if zeros else 0.08)), high * 10 ** (span * 0.08))


def legend(
    figure: Figure, series: Sequence[SeriesStyle], chance: str = "", title: str = ""
) -> None:
    """Add one legend for all panels, above them.

    Args:
        figure: Where.
        series: The series.
        chance: What the dotted line is, if there is one.
        title: What all of them have in common.
    """
    handles = [Line2D([], [], **style.line()) for style in series]  # type: ignore[arg-type]
    if chance:
        handles.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.0, label=chance))
    if any(line.get_label() == "_zero" for axes in figure.axes for line in axes.get_lines()):
        hollow = {"marker": "v", "markersize": 3.5, "markerfacecolor": "white", "linestyle": ""}
        look = {"markeredgecolor": GREY, "markeredgewidth": 0.8, "label": "exactly zero"}
        handles.append(Line2D([], [], **hollow, **look))  # type: ignore[arg-type]
    inches = [0.6 + 0.065 * len(str(handle.get_label())) for handle in handles]
    columns = len(handles) if sum(inches) <= WIDTH else max(1, int(WIDTH / max(inches)))
    place: Literal["outside upper center"] = "outside upper center"
    figure.legend(handles=handles, loc=place, ncols=columns, title=title or None)


def shade(axes: Axes, low: float, high: float) -> None:
    """Shade a section of the x axis."""
    axes.axvspan(low, high, color=_SHADE, linewidth=0, zorder=0)


def grid(axes: Axes) -> None:
    """Thin lines behind the data, along the values only; a tick per decade where they are log."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())  # minor ticks would take most of the drawing's time
    axes.grid(axis="y", color="0.85", linewidth=0.4)
    axes.set_axisbelow(True)
