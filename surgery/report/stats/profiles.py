"""Figures along depth: size, sparsity and direction of updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import NullLocator, PercentFormatter

from surgery.report.literal import CHANGE, SHIFT
from surgery.report.stats.axes import Depth
from surgery.report.stats.tables import cuts_of, pairs_of, places, present, where
from surgery.report.style import (
    GREY,
    SeriesStyle,
    curve,
    grid,
    legend,
    log_limits,
    null,
    panels,
    styles,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray
    from pandas import DataFrame

    from surgery.runs import RunTables

_SHARES = {
    "changed": "any change",
    "changed_1e5": "by more than 1e-5",
    "changed_bf16": "by more than 1e-3 of the weight",
}
_GROUPS = {"all": "whole layer", "attention": "attention", "mlp": "mlp"}
_OVERLAPS = {
    "mean_subspace_overlap_left": "left subspaces",
    "mean_subspace_overlap_right": "right subspaces",
}


def profile(tables: RunTables) -> Figure | None:
    """Draw the change of weights, relative to their norm and as an angle, along depth."""
    layers = where(tables.layers, group="all")
    if not present(layers, "relative_delta"):
        return None
    depth = Depth.of(places(layers), cuts_of(tables))
    figure, (far, turned) = panels(1.75, 2)
    series = styles(pairs_of(tables))
    for axes, column in ((far, "relative_delta"), (turned, "angle")):
        axes.set_yscale("log")
        _curves(axes, depth, layers, column, series)
    null(far, *_rounding(tables, layers, depth), None)
    _finish(figure, depth, log=True)
    far.set_ylabel(f"relative change\n{CHANGE}")
    turned.set_ylabel("angle between before\nand after (degrees)")
    cosine = turned.secondary_yaxis("right", functions=(_one_minus_cosine, _degrees))
    cosine.yaxis.set_minor_locator(NullLocator())
    cosine.set_ylabel("1 \N{MINUS SIGN} cosine")
    legend(figure, series, "rounding to bf16 alone")
    return figure


def _curves(
    axes: Axes, depth: Depth, layers: DataFrame, column: str, series: Sequence[SeriesStyle]
) -> None:
    """Draw a column along depth, one line per pair."""
    for style in series:
        curve(axes, *depth.curve(where(layers, pair=style.label), column), style)


def sparsity(tables: RunTables) -> Figure | None:
    """Share of the elements that changed, by three measures, along depth."""
    layers = where(tables.layers, group="all")
    if not present(layers, *_SHARES):
        return None
    depth = Depth.of(places(layers), cuts_of(tables))
    figure, axes_list = panels(1.2, len(_SHARES))
    series = styles(pairs_of(tables))
    for axes, (column, name) in zip(axes_list, _SHARES.items(), strict=True):
        _curves(axes, depth, layers, column, series)
        axes.set_ylabel(name.replace(" than ", " than\n"))
        ceiling = _ceiling(layers[column])
        axes.set_ylim(-0.04 * ceiling, ceiling)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    _finish(figure, depth)
    figure.supylabel("elements changed", fontsize=8)
    legend(figure, series)
    return figure


def drift(tables: RunTables) -> Figure | None:
    """Draw the shift of the weights' spectra and the rotation of their leading subspaces."""
    layers = where(tables.layers, group="all")
    sides = ["mean_rotation_left", "mean_rotation_right"]
    if not present(layers, "mean_spectral_shift", *sides):
        return None
    rotation = layers[sides].mean(axis=1, skipna=False)
    # Of equal weights, what is left of an angle is the rounding of arithmetic.
    still = rotation.notna() & (layers["delta_norm"] == 0)
    layers = layers.assign(rotation=rotation.mask(still, 0.0))
    layers = layers[layers["mean_spectral_shift"].notna() | layers["rotation"].notna()]
    depth = Depth.of(places(layers), cuts_of(tables))
    figure, (shift, turned) = panels(1.75, 2)
    series = styles(pairs_of(tables))
    for axes, column in ((shift, "mean_spectral_shift"), (turned, "rotation")):
        axes.set_yscale("log")
        _curves(axes, depth, layers, column, series)
    _finish(figure, depth, log=True)
    shift.set_ylabel(f"spectral shift\n{SHIFT}")
    turned.set_ylabel("rotation of leading\nsubspaces (degrees)")
    legend(figure, series)
    return figure


def subspaces(tables: RunTables) -> Figure | None:
    """Draw the similarity of two updates: cosine, signs, leading subspaces, with chance."""
    frame = tables.update_layers
    if frame.empty or not present(frame, "cosine"):
        return None
    depth = Depth.of(places(frame), cuts_of(tables))
    overlaps = [column for column in _OVERLAPS if present(frame, column)]
    figure, axes_list = panels(1.3, 2 + len(overlaps))
    series = list(_series(frame))
    for style, rows in series:
        curve(axes_list[0], *depth.curve(rows, "cosine"), style)
        curve(axes_list[1], *depth.curve(rows, "sign_agreement"), style)
        for axes, column in zip(axes_list[2:], overlaps, strict=True):
            curve(axes, *depth.curve(rows, column), style)
            null(axes, *depth.curve(rows, column.replace("overlap", "chance")), style)
    for axes, column in zip(axes_list[2:], overlaps, strict=True):
        axes.set_ylabel(f"overlap of\n{_OVERLAPS[column]}")
        axes.set_ylim(bottom=0)
    _chance_of_cosine(axes_list[0], [rows for _, rows in series], depth)
    axes_list[0].set_ylabel("cosine of\nthe updates")
    axes_list[1].axhline(0.5, color=GREY, linestyle=":", linewidth=1.0, label="_null")
    axes_list[1].set_ylabel("same sign (where\nboth change)")
    axes_list[1].yaxis.set_major_formatter(PercentFormatter(1))
    _finish(figure, depth)
    compared = sorted(
        {f"{a} and {b}" for a, b in zip(frame["first"], frame["second"], strict=True)}
    )
    title = compared[0] if len(compared) == 1 else ""
    chance = "chance (band: two standard deviations)"
    legend(figure, [style for style, _ in series], chance, title)
    return figure


def _series(frame: DataFrame) -> Iterator[tuple[SeriesStyle, DataFrame]]:
    """Of one comparison: whole layers, attention and mlp; of several: whole layers of each."""
    compared = list(dict.fromkeys(zip(frame["first"], frame["second"], strict=True)))
    if len(compared) == 1:
        for index, (group, name) in enumerate(_GROUPS.items()):
            yield SeriesStyle(index, name), where(frame, group=group)
        return
    for index, (first, second) in enumerate(compared):
        rows = where(frame, first=first, second=second, group="all")
        yield SeriesStyle(index, f"{first} and {second}"), rows


def _chance_of_cosine(axes: Axes, series: list[DataFrame], depth: Depth) -> None:
    """Two standard deviations of the cosine of random directions, 1/sqrt(n), about zero."""
    axes.axhline(0, color=GREY, linestyle=":", linewidth=1.0, label="_null")
    spreads = []
    for rows in series:
        spread = rows.assign(spread=2 / np.sqrt(rows["numel"].astype(float)))
        x, y = depth.curve(spread, "spread")
        spreads.append(y)
    # The widest of the series: theirs differ by the root of their numbers of elements.
    widest = np.fmax.reduce(spreads)
    finite = np.isfinite(widest)
    x, widest = x[finite], widest[finite]
    limits = axes.get_ylim()
    axes.bar(x, 2 * widest, bottom=-widest, width=1.0, color="0.8", zorder=1)
    # The band of a single norm would leave no space for the rest.
    axes.set_ylim(limits)


def _rounding(
    tables: RunTables, layers: DataFrame, depth: Depth
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw rounding's share of the norm; the pairs' differ by less than a line's width."""
    alone = layers.assign(alone=layers["rounding_norm"] / layers["norm_before"])
    curves = [depth.curve(where(alone, pair=pair), "alone") for pair in pairs_of(tables)]
    x, y = curves[0]
    for _, other in curves[1:]:
        y = np.where(np.isfinite(y), y, other)
    return x, y


def _finish(figure: Figure, depth: Depth, *, log: bool = False) -> None:
    panels = list(figure.axes)
    for axes in panels:
        grid(axes)
        if log:
            log_limits(axes)
    depth.dress(panels)
    figure.align_ylabels(panels)


def _ceiling(shares: DataFrame) -> float:
    """All of it, unless the shares are so small that nothing would be seen."""
    most = float(shares.max())
    return 1.05 if not most < 0.4 else max(1.1 * most, 1e-6)


def _one_minus_cosine(degrees: ArrayLike) -> ArrayLike:
    """1 - cos, without the cancellation."""
    return np.asarray(2 * np.sin(np.deg2rad(np.asarray(degrees)) / 2) ** 2)


def _degrees(one_minus_cosine: ArrayLike) -> ArrayLike:
    half = np.sqrt(np.clip(np.asarray(one_minus_cosine), 0, 2) / 2)
    return np.asarray(np.rad2deg(2 * np.arcsin(half)))
