"""Figures of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from surgery.report.scores.tables import panels_of, traits, variants
from surgery.report.style import GREY, WIDTH, grid, legend, new_figure, styles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from surgery.runs import RunTables

_ROW = 0.19  # inches of one variant's line
_ACROSS = 3  # panels side by side


def scores(tables: RunTables) -> Figure | None:
    """Every variant's score on every metric, with its 95% interval."""
    panels = list(panels_of(tables.table("scores")))
    names = variants(tables)
    if not panels:
        return None
    figure, axes = _forest(len(panels), len(names))
    for (title, rows), panel in zip(panels, axes, strict=False):
        _points(panel, names, rows, "value", tables.summary.get("base"))
        panel.set_title(title)
        panel.set_xlim(-0.03, 1.03)
        panel.xaxis.set_major_formatter(PercentFormatter(1.0))
    figure.supxlabel("share of samples, 95% interval", fontsize=8)
    return figure


def recovery(tables: RunTables) -> Figure | None:
    """Draw each variant's share of the donor's gain, with a bootstrap interval."""
    table = tables.table("recovery")
    panels = [(title, rows) for title, rows in panels_of(table) if rows["share"].notna().any()]
    names = [name for name in variants(tables) if name in set(table["variant"])]
    if not panels:
        return None
    figure, axes = _forest(len(panels), len(names))
    for (title, rows), panel in zip(panels, axes, strict=False):
        _points(panel, names, rows, "share", None)
        for edge in (0.0, 1.0):
            panel.axvline(edge, color=GREY, linewidth=0.8, linestyle=":")
        panel.set_title(title)
        low, high = rows["low"].min(), rows["high"].max()
        panel.set_xlim(max(-1.0, min(-0.15, low - 0.05)), min(2.5, max(1.15, high + 0.05)))
        _beyond(panel, names, rows)
        panel.xaxis.set_major_formatter(PercentFormatter(1.0))
    base, donor = tables.summary["base"], tables.summary["donor"]
    figure.supxlabel(f"share of the gain from {base} (0%) to {donor} (100%)", fontsize=8)
    return figure


def layers(tables: RunTables) -> Figure | None:
    """Draw the effect of single transplanted layers of the donor, along depth."""
    layer_traits = {name: trait for name, trait in traits(tables).items() if "layer" in trait}
    table = tables.table("pairs")
    panels = [
        (title, rows[rows["variant"].isin(layer_traits)].copy(), rows)
        for title, rows in panels_of(table)
        if rows["variant"].isin(layer_traits).any()
    ]
    if not panels:
        return None
    components = list(dict.fromkeys(trait["component"] for trait in layer_traits.values()))
    series = styles([str(component) for component in components])
    figure = new_figure(1.6 * len(panels) + 0.9)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    donor = tables.summary.get("donor")
    for (title, rows, every), panel in zip(panels, axes, strict=True):
        rows["layer"] = [layer_traits[name]["layer"] for name in rows["variant"]]
        rows["component"] = [layer_traits[name]["component"] for name in rows["variant"]]
        for look in series:
            trait = rows[rows["component"] == look.label].sort_values("layer")
            x = trait["layer"].to_numpy(float)
            panel.plot(x, trait["difference"], **look.line())
            panel.fill_between(
                x, trait["low"], trait["high"], color=look.colour, alpha=0.15, linewidth=0
            )
        panel.axhline(0, color=GREY, linewidth=0.8)
        whole = every[every["variant"] == donor]["difference"]
        if len(whole):
            panel.axhline(float(whole.iloc[0]), color=GREY, linewidth=1.0, linestyle=":")
        panel.set_title(title)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        grid(panel)
    axes[-1].set_xlabel("layer")
    against = tables.summary.get("against")
    figure.supylabel(f"difference from '{against}' (percentage points, 95% interval)", fontsize=8)
    legend(
        figure,
        series,
        f"all layers of {donor}" if donor else "",
        f"one transplanted layer{f' of {donor}' if donor else ''}, by component",
    )
    return figure


def _forest(panels: int, rows: int) -> tuple[Figure, list[Axes]]:
    """Panels side by side that share their rows."""
    across = min(panels, _ACROSS)
    down = -(-panels // across)
    figure = new_figure(down * (rows * _ROW + 0.45) + 0.35)
    axes = figure.subplots(down, across, sharey=True, squeeze=False)
    for unused in axes.flat[panels:]:
        unused.set_axis_off()
    figure.set_size_inches(WIDTH, figure.get_figheight())
    return figure, list(axes.flat)


def _beyond(axes: Axes, names: Sequence[str], rows: DataFrame) -> None:
    """Tell the values that lie outside the axes, at the edge they lie beyond."""
    left, right = axes.get_xlim()
    shares = dict(zip(rows["variant"], rows["share"], strict=True))
    for row, name in enumerate(reversed(names)):
        share = shares.get(name, np.nan)
        if left <= share <= right or not np.isfinite(share):
            continue
        text = f"\u2190 {share:.0%}" if share < left else f"{share:.0%} \u2192"
        edge, side = (0.01, "left") if share < left else (0.99, "right")
        axes.annotate(text, (edge, row), xycoords=("axes fraction", "data"),
                      ha=side, va="center", color=GREY, fontsize=6.5)  # fmt: skip


def _points(
    axes: Axes, names: Sequence[str], rows: DataFrame, column: str, marked: str | None
) -> None:
    """One point with its interval per variant, the first on top; the base's value as a line."""
    scores = rows.set_index("variant").reindex(names)
    y = np.arange(len(names), dtype=float)[::-1]
    value, low, high = (scores[key].to_numpy(float) for key in (column, "low", "high"))
    colour = styles(["points"])[0].colour
    finite = np.isfinite(value)
    axes.hlines(y[finite], low[finite], high[finite], color=colour, linewidth=1.2)
    axes.plot(value[finite], y[finite], "o", color=colour, markersize=3.6, markeredgewidth=0)
    for row in y[~finite]:
        axes.annotate("not estimable", (0.5, row), xycoords=("axes fraction", "data"),
                      ha="center", va="center", color=GREY, fontsize=6.5)  # fmt: skip
    if marked in names and np.isfinite(value[names.index(marked)]):
        axes.axvline(value[names.index(marked)], color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(y, names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.88", linewidth=0.4)
    axes.set_axisbelow(True)
