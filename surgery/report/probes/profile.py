"""Figures of a profile: all measures by layer, and their correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surgery.report.probes.depth import dress, folded
from surgery.report.probes.tables import is_of_all
from surgery.report.style import GREY, WIDTH, new_figure, styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from surgery.runs import RunTables

_NAME = 1.7  # inches of a column's name
_MOST = 14  # things that are drawn; the tables have all


def drawn_columns(tables: RunTables) -> list[str]:
    """Return the columns to draw: if there are too many, columns of all tasks first."""
    names = [name for name in tables.layers.columns if name != "layer"]

    pooled = {name.partition(": ")[0] for name in names if is_of_all(name.partition(": ")[2])}

    def rank(name: str) -> int:
        """Return the rank of a column: without tasks, all tasks, single tasks, constants."""
        kind, colon, task = name.partition(": ")
        if tables.layers[name].nunique() < 2:
            return 3
        return 0 if not colon else 1 if is_of_all(task) or kind not in pooled else 2

    columns = sorted(names, key=rank)[:_MOST]
    return [name for name in names if name in columns]


def curves(tables: RunTables) -> Figure:
    """One panel per column, along depth."""
    names = drawn_columns(tables)
    figure = new_figure(0.72 * len(names) + 0.7)
    axes = list(figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0])
    look = styles(["value"])[0]
    for name, panel in zip(names, axes, strict=True):
        panel.plot(tables.layers["layer"], tables.layers[name], **look.line())
        panel.update_datalim([(0, 0)], updatex=False)
        panel.margins(y=0.2)
        panel.set_ylim(
            panel.get_ylim()
        )  # rounded ends of the lines and shades below would move them
        panel.axhline(0, color=GREY, linewidth=0.6)
        place = {"ha": "left", "va": "center", "fontsize": 7}
        panel.text(1.01, 0.5, folded(name, _NAME), transform=panel.transAxes, **place)
    dress(axes, tables.summary)
    figure.supxlabel("decoder layer", fontsize=8)
    return figure


def agreement(tables: RunTables) -> Figure | None:
    """Rank correlations of every two columns."""
    names = drawn_columns(tables)
    if len(names) < 2:
        return None
    grid = np.full((len(names), len(names)), np.nan)
    strong = np.zeros_like(grid, dtype=bool)
    place = {name: index for index, name in enumerate(names)}
    for row in tables.correlations.itertuples():
        if row.a in place and row.b in place:
            low, high = sorted((place[row.a], place[row.b]))
            grid[high, low] = row.rho
            strong[high, low] = row.low > 0 or row.high < 0
    side = max(3.0, min(WIDTH, 0.42 * len(names) + 2.4))
    figure = new_figure(side * 0.82)
    axes = figure.subplots()
    image = axes.imshow(grid[1:, :-1], cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(grid[1:, :-1]):
        if np.isfinite(value):
            heavy = "bold" if strong[row + 1, column] else "normal"
            tone = "white" if abs(value) > 0.65 else "black"
            look = {"ha": "center", "va": "center", "fontsize": 6, "color": tone}
            axes.text(column, row, f"{value:.2f}", fontweight=heavy, **look)  # type: ignore[arg-type]
    labels = [folded(name, _NAME) for name in names]
    axes.set_yticks(range(len(names) - 1), labels[1:])
    axes.set_xticks(range(len(names) - 1), labels[:-1], rotation=40, ha="right")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("rank correlation over layers\n(bold: interval without 0)")
    return figure
