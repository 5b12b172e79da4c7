"""The heat map of layers by modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm

from surgery.arch.site import Module
from surgery.report.layer_axis import fits, numbered
from surgery.report.literal import CHANGE
from surgery.report.stats.axes import NAMES, shared
from surgery.report.stats.tables import STACKS, cuts_of, pairs_of, where
from surgery.report.style import GREY, WIDTH, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray
    from pandas import DataFrame

    from surgery.arch.site import Component
    from surgery.runs import RunTables

# The order in which a block computes; names that are not here follow in their own order.
_FLOW = (
    "qkv", "qkv_proj", "q_proj", "q_norm", "k_proj", "k_norm", "v_proj", "proj", "o_proj",
    "out_proj", "gate", "gate_proj", "up_proj", "gate_up_proj", "fc1", "down_proj", "fc2",
    "norm1", "layer_norm1", "input_layernorm", "norm2", "layer_norm2", "post_attention_layernorm",
)  # fmt: skip
_ENDS = frozenset({"weight", "bias"})
_BLANK = "0.88"


class HeatMapRow(NamedTuple):
    """A row of the map: a weight with its bias; a layer's experts together."""

    module: str
    name: str


class HeatMap(NamedTuple):
    """One panel.

    Attributes:
        pair: Which pair.
        component: Which stack.
        layers: Its columns.
        parts: Its rows.
        relative: `Float[ndarray, "parts layers"]`, NaN where there is no such tensor.
    """

    pair: str
    component: Component
    layers: range
    parts: list[HeatMapRow]
    relative: NDArray[np.float64]


def modules(tables: RunTables) -> Figure | None:
    """Relative change of every part of every layer; each pair has a scale of colour of its own."""
    tensors = tables.tensors[tables.tensors["layer"].notna()]
    grids = [[g for p in pairs_of(tables) if (g := _grid(tensors, c, p))] for c in STACKS]
    columns = [column for column in grids if column]
    if not columns:
        return None
    count = len(columns[0])
    tallest = max(len(column[0].parts) for column in columns)
    figure = new_figure(count * (0.15 * tallest + 0.35) + 0.8)
    ratios = [max(len(column[0].layers), 6) for column in columns]
    panels = figure.subplots(count, len(columns), squeeze=False, width_ratios=ratios, sharex="col")
    norms = [
        _norm(np.concatenate([column[i].relative.ravel() for column in columns]))
        for i in range(count)
    ]
    images: dict[int, AxesImage] = {}
    inch = (WIDTH - 2.4) / sum(ratios)
    for j, column in enumerate(columns):
        for i, grid_values in enumerate(column):
            images[i] = _draw(panels[i][j], grid_values, norms[i])
            _regions(panels[i][j], grid_values, tables, inch if i == 0 else 0.0)
            if j == 0:
                panels[i][j].set_ylabel(grid_values.pair, fontsize=8, fontweight="bold")
            elif grid_values.parts == columns[0][i].parts:
                panels[i][j].set_yticklabels([])
        numbers = numbered(column[0].layers, inch)
        panels[-1][j].set_xticks(numbers)
        panels[-1][j].set_xlabel(f"{NAMES.get(column[0].component)} layer")
    for i, image in images.items():
        bar = figure.colorbar(image, ax=list(panels[i]), fraction=0.03, pad=0.01, aspect=15)
        low, high = image.get_clim()
        ticks = np.geomspace(low or 1, high or 1, 3)
        bar.set_ticks(ticks.tolist(), labels=[f"{tick:.1e}".replace("e-0", "e-") for tick in ticks])
        bar.minorticks_off()
        bar.set_label(CHANGE)
        bar.outline.set_linewidth(0.5)
    if any((g.relative == 0).any() for column in columns for g in column):
        figure.supxlabel("white: unchanged; grey: no such tensor, or not finite", fontsize=7)
    return figure


def pooled(tensors: DataFrame) -> DataFrame:
    """Tensors of one component and pair, pooled by layer and part.

    Norms are pooled by the root of the sum of squares. A tensor that is not finite makes its cell
    NaN.

    Returns:
        Columns `layer`, `module`, `part` and `relative`.
    """
    squares = tensors.assign(
        part=[_stem(leaf) for leaf in tensors["leaf"]],
        layer=tensors["layer"].astype(int),
        delta=tensors["delta_norm"].astype(float) ** 2,
        before=tensors["norm_before"].astype(float) ** 2,
    )
    # numpy's sum keeps NaN, where pandas' would skip it.
    keyed = squares.groupby(["layer", "module", "part"], sort=False)[["delta", "before"]]
    summed = keyed.agg(lambda column: float(np.sum(column.to_numpy()))).reset_index()
    zero = summed["before"] == 0
    ratio = np.sqrt(summed["delta"] / summed["before"].where(~zero, np.nan))
    return summed.assign(relative=ratio.where(~(zero & (summed["delta"] == 0)), 0.0))


def _stem(leaf: str) -> str:
    """`q_proj` of `q_proj.weight`; `experts.up` of `experts.5.up` and of `experts.up[5]`."""
    segments = [s for s in leaf.partition("[")[0].split(".") if not s.isdigit()]
    while len(segments) > 1 and segments[-1] in _ENDS:
        segments.pop()
    return ".".join(segments)


def _grid(tensors: DataFrame, component: Component, pair: str) -> HeatMap | None:
    selected = where(tensors, component=component, pair=pair)
    if selected.empty:
        return None
    cells = pooled(selected)
    keys = zip(cells["layer"], cells["module"], cells["part"], cells["relative"], strict=True)
    by_cell = {
        (int(layer), HeatMapRow(module, name)): float(value) for layer, module, name, value in keys
    }
    parts = sorted({part for _, part in by_cell}, key=_rank)
    layers = range(min(n for n, _ in by_cell), max(n for n, _ in by_cell) + 1)
    relative = [[by_cell.get((layer, part), np.nan) for layer in layers] for part in parts]
    return HeatMap(pair, component, layers, parts, np.array(relative, dtype=float))


def _rank(part: HeatMapRow) -> tuple[int, int, str]:
    module = list(Module).index(Module(part.module))
    return module, _FLOW.index(part.name) if part.name in _FLOW else len(_FLOW), part.name


def _norm(relative: NDArray[np.float64]) -> LogNorm:
    """Color scale from the smallest to the largest change; other values have other colors."""
    changed = relative[np.isfinite(relative) & (relative > 0)]
    low, high = (changed.min(), changed.max()) if changed.size else (1e-6, 1e-5)
    return LogNorm(low, high if high > low else low * 10)


def _draw(axes: Axes, grid: HeatMap, norm: LogNorm) -> AxesImage:
    first, last = grid.layers[0], grid.layers[-1]
    extent = (first - 0.5, last + 0.5, len(grid.parts) - 0.5, -0.5)
    look = colormaps["viridis"].with_extremes(bad=(0, 0, 0, 0), under=(0, 0, 0, 0))
    axes.set_facecolor(_BLANK)
    axes.spines[:].set(visible=True, color="0.6", linewidth=0.5)
    options = {"aspect": "auto", "interpolation": "nearest", "extent": extent}
    zero = np.where(grid.relative == 0, 0.0, np.nan)
    axes.imshow(zero, cmap="gray_r", vmin=0, vmax=1, **options)  # type: ignore[arg-type]
    changed = np.where(grid.relative > 0, grid.relative, np.nan)
    image = axes.imshow(changed, cmap=look, norm=norm, **options)  # type: ignore[arg-type]
    axes.set_yticks(range(len(grid.parts)), [part.name for part in grid.parts])
    axes.tick_params(length=0, axis="y", labelsize=6.5)
    for i in range(1, len(grid.parts)):
        if grid.parts[i].module != grid.parts[i - 1].module:
            axes.axhline(i - 0.5, color="white", linewidth=1.5)
    return image


def _regions(axes: Axes, grid: HeatMap, tables: RunTables, inch: float) -> None:
    """White lines where regions meet; their names above (`inch` is 0 for no names)."""
    for name, span in cuts_of(tables).get(grid.component, {}).items():
        layers = shared(grid.layers, span)
        if not layers:
            continue
        if layers.start > grid.layers.start:
            axes.axvline(layers.start - 0.5, color="white", linewidth=1.5)
        if fits(name, len(layers) * inch):
            top = axes.get_xaxis_transform()
            style = {"ha": "center", "va": "bottom", "color": GREY, "fontsize": 7}
            axes.text((layers[0] + layers[-1]) / 2, 1.01, name, transform=top, **style)  # type: ignore[arg-type]
