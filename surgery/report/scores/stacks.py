"""Figure of merged variants: the source of each decoder layer next to the variant's scores."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib import style
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from surgery.checkpoint.sibling import put
from surgery.report.literal import literal
from surgery.report.style import RC, new_figure, styles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from surgery.runs import RunTables

_ROW: Final = 0.27  # height of a variant in inches, enough for a letter in a cell
_LABELS: Final = {
    "m_vis": "M_vis",
    "m_v2r": "M_v2r",
    "m_rea": "M_rea",
    "right[image]": "correct with the image",
}
_PALE: Final = "0.75"  # fill of layers from a model outside the legend's colors


def stacks(
    run: RunTables, sources: Mapping[str, Sequence[str]], panels: Sequence[tuple[str, str]]
) -> Figure:
    """Draw each variant's decoder layers, colored by source model, next to its scores.

    Args:
        run: An evaluation of the variants.
        sources: The source model of each decoder layer, first layer first, by variant. All
            variants have the same number of layers. Variants are drawn in this order.
        panels: Task and measure of each panel of scores, as in the columns of `scores.csv`.

    Returns:
        The figure. Scores have 95% intervals.
    """
    scores = run.table("scores")
    scores = scores[scores["split"].fillna("") == ""]
    models = list(dict.fromkeys(model for layers in sources.values() for model in layers))
    colors = {look.label: str(look.line()["color"]) for look in styles(models)}
    figure = new_figure(len(sources) * _ROW + 0.9)
    widths = [1.5, *[1.0] * len(panels)]
    axes = figure.subplots(1, len(widths), width_ratios=widths, sharey=True, squeeze=False)[0]
    _draw_layers(axes[0], sources, colors)
    for panel, (task, measure) in zip(axes[1:], panels, strict=True):
        rows = scores[(scores["task"] == task) & (scores["measure"] == measure)]
        _draw_scores(panel, list(sources), rows)
        panel.set_title(f"{task}\n{_LABELS.get(measure, measure)}")
    handles = [
        Line2D([], [], marker="s", linestyle="", markersize=7, color=colors[model], label=model)
        for model in models
    ]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=len(models),
        title="model that supplies the layers",
    )
    return figure


def write_stacks(
    run: RunTables,
    sources: Mapping[str, Sequence[str]],
    panels: Sequence[tuple[str, str]],
    path: Path,
) -> None:
    """Write the figure of `stacks` as a PNG file. The same run gives the same bytes."""
    with style.context(["default", RC]):  # type: ignore[list-item]
        figure = literal(stacks(run, sources, panels))
        put(path, partial(figure.savefig, format="png", metadata={"Software": None}))


def _draw_layers(
    axes: Axes, sources: Mapping[str, Sequence[str]], colors: Mapping[str, str]
) -> None:
    """Draw one row of cells per variant, the first variant on top."""
    for row, layers in enumerate(reversed(list(sources.values()))):
        for layer, model in enumerate(layers):
            cell = Rectangle(
                (layer - 0.5, row - 0.4), 1.0, 0.8, linewidth=1.2, edgecolor="white",
                facecolor=colors.get(model, _PALE),
            )  # fmt: skip
            axes.add_patch(cell)
            # The letter keeps the figure readable without colors.
            axes.text(
                layer, row, model[:1].upper(), ha="center", va="center", color="white",
                fontsize=7, fontweight="bold",
            )  # fmt: skip
    depth = len(next(iter(sources.values())))
    axes.set_xlim(-0.6, depth - 0.4)
    axes.set_ylim(-0.6, len(sources) - 0.4)
    axes.set_yticks(range(len(sources)), list(sources)[::-1])
    axes.set_xticks(range(0, depth, max(1, depth // 8)))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("decoder layer")


def _draw_scores(axes: Axes, names: Sequence[str], rows: DataFrame) -> None:
    """Draw one metric of every variant with its interval."""
    scores = rows.set_index("variant").reindex(names)
    height = np.arange(len(names))[::-1]
    color = "0.2"
    axes.hlines(height, scores["low"], scores["high"], color=color, linewidth=1.4)
    axes.plot(scores["value"], height, "o", color=color, markersize=4, markeredgewidth=0)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.5, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="x", color="0.88", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"% of {int(rows['n'].max())} samples")
