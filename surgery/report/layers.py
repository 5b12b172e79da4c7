"""A plan's stack of layers as a figure for a model card."""

from __future__ import annotations

from bisect import bisect
from io import BytesIO
from typing import TYPE_CHECKING, Any

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from surgery.report.literal import literal
from surgery.report.picture import Key, entries
from surgery.report.stack import components, numbered, rows, symbol
from surgery.report.style import GREY, RC, WIDTH
from surgery.text import quantity, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from surgery.plan.model import Plan
    from surgery.report.picture import RGB, LegendEntry
    from surgery.report.stack import LayerRow

# Inches, but for the sizes of type, which are points.
_EDGE = 0.12
_CELL = 0.28
_NARROWEST = 0.084
_ROW = 0.19
_BETWEEN_ROWS = 0.02
_AROUND_LAYERS = 0.04
_UNDER_TITLE = 0.06
_RULER = 0.135
_INDENT = 0.12
_LABELS = 2.0
_SWATCH = 0.36
_NAMES = 1.7
_GAP = 0.12
_LINE = 0.145
_TITLE, _TEXT, _SMALL = 10.0, 7.5, 6.5
_POINTS = 72


def layers_png(plan: Plan) -> bytes:
    """Return the figure as a PNG 1400 pixels wide; the same plan gives the same bytes."""
    with style.context(["default", RC]):  # type: ignore[list-item]
        buffer = BytesIO()
        literal(layers_figure(plan)).savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def layers_figure(plan: Plan) -> Figure:
    """Draw what `surgery plan` shows: one row per part of the model, one cell per layer.

    Cells have the colours and letters of the terminal's picture, and its legend stands below.

    Args:
        plan: What to draw.

    Returns:
        A figure as wide as a page and as high as the plan needs.
    """
    with style.context(["default", RC]):  # type: ignore[list-item]
        key = Key.of(plan)
        page = _Page()
        for line in page.wrapped(plan.recipe.name, WIDTH - 2 * _EDGE, _TITLE, bold=True):
            page.text(_EDGE, page.y + 0.1, line, _TITLE, weight="bold")
            page.y += 0.2
        page.y += _UNDER_TITLE
        layer_rows = rows(plan)
        _Stack(page, layer_rows, key).draw()
        page.y += 0.1
        _legend(page, list(entries(plan, key, layer_rows)), key)
        return page.done()


class _Page:
    """A sheet measured in inches from its upper left corner, filled from above.

    Attributes:
        y: How far it is filled.
    """

    def __init__(self) -> None:
        # As it will be saved: hinting makes widths depend on the resolution.
        self.figure = Figure(figsize=(WIDTH, 1.0), dpi=float(str(RC["savefig.dpi"])))
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()  # type: ignore[no-untyped-call]
        self._axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self._axes.set_axis_off()
        self.y = _EDGE

    def text(self, x: float, y: float, text: str, points: float, **look: Any) -> None:
        """Write a line; `y` is its middle, `x` its left unless `ha` says otherwise."""
        self._axes.text(x, y, text, fontsize=points, va="center_baseline", parse_math=False, **look)

    def cell(self, x: float, width: float, colour: RGB, mark: str) -> None:
        """Draw a coloured box with a mark in it, in the row that is being filled."""
        share = [part / 255 for part in colour]
        look = {"facecolor": share, "edgecolor": "white", "linewidth": 0.4}
        self._axes.add_patch(Rectangle((x, self.y), width, _ROW, **look))  # type: ignore[arg-type]
        points = min(_TEXT, 0.85 * width * _POINTS)
        self.text(x + width / 2, self.y + _ROW / 2, mark, points, ha="center", color="black")

    def width(self, text: str, points: float, bold: bool = False) -> float:
        """Return the width of a line."""
        font = FontProperties(size=points, weight="bold" if bold else "normal")
        width, _, _ = self._renderer.get_text_width_height_descent(text, font, ismath=False)
        return float(width) / self.figure.dpi

    def shortened(self, word: str, room: float, points: float, bold: bool = False) -> str:
        """Return a word without its beginning if it is too long; references differ in their end."""
        if self.width(word, points, bold) <= room:
            return word
        starts = range(1, len(word))
        fits = bisect(starts, False, key=lambda i: self.width(f"…{word[i:]}", points, bold) <= room)
        return f"…{word[fits + 1 :]}"

    def wrapped(self, text: str, room: float, points: float, bold: bool = False) -> list[str]:
        """Return a text in lines that fit."""
        lines = [""]
        for word in text.split():
            fitting = self.shortened(word, room, points, bold)
            longer = f"{lines[-1]} {fitting}".strip()
            if self.width(longer, points, bold) <= room:
                lines[-1] = longer
            else:
                lines.append(fitting)
        return lines

    def done(self) -> Figure:
        """Return the figure, cut to what was filled."""
        height = self.y + _EDGE
        self.figure.set_size_inches(WIDTH, height)
        self._axes.set_xlim(0, WIDTH)
        self._axes.set_ylim(height, 0)
        return self.figure


class _Stack:
    """The rows; a component with very many layers is folded into bands of them."""

    def __init__(self, page: _Page, layer_rows: Sequence[LayerRow], key: Key) -> None:
        self.page = page
        self.groups = list(components(layer_rows))
        self.key = key
        self.left = _EDGE + _GAP + min(_LABELS, max(map(self._extent, layer_rows), default=0.0))
        room = WIDTH - _EDGE - self.left
        longest = max((len(group[0].layers) for group in self.groups), default=1)
        self.bands = max(1, -(-longest // int(room / _NARROWEST)))
        self.per_band = -(-longest // self.bands)
        self.cell = min(_CELL, room / max(1, self.per_band))

    def draw(self) -> None:
        """Every component, one below the other."""
        for group in self.groups:
            for band in self._folded(group[0].layers):
                around = _AROUND_LAYERS if band else 0.0
                self.page.y += around
                if band:
                    self._ruler(group, band)
                for row in group:
                    self._row(row, band)
                self.page.y += around

    def _folded(self, layers: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if not layers:
            yield ()
        for start in range(0, len(layers), self.per_band):
            yield layers[start : start + self.per_band]

    def _row(self, row: LayerRow, band: Sequence[int]) -> None:
        """Draw a row over some layers; a heading without cells is next to the layer numbers."""
        page = self.page
        x, look = _EDGE + row.depth * _INDENT, _weight(row)
        beside_ruler = bool(band) and not row.cells and row.depth == 0
        y = page.y - _RULER / 2 if beside_ruler else page.y + _ROW / 2
        room = self.left - _GAP - x
        page.text(x, y, page.shortened(row.label, room, _TEXT, row.depth == 0), _TEXT, weight=look)
        if beside_ruler:
            return
        columns = {layer: i for i, layer in enumerate(band)}
        for i, cell in enumerate(row.cells):
            column = columns.get(row.layers[i]) if row.layers else 0
            if column is not None:
                x, width = self.left + column * self.cell, self.cell
                if not row.layers:
                    width = max(width, _CELL / 2)
                page.cell(x, width, self.key.colour(cell), symbol(cell, self.key.letters))
        page.y += _ROW + _BETWEEN_ROWS

    def _ruler(self, group: Sequence[LayerRow], band: Sequence[int]) -> None:
        """Draw layer numbers above their cells; numbers that would touch are omitted."""
        taken: list[tuple[float, float]] = []
        for layer in numbered(group, band):
            middle = self.left + (band.index(layer) + 0.5) * self.cell
            half = self.page.width(str(layer), _SMALL) / 2 + 0.02
            if all(middle + half <= low or high <= middle - half for low, high in taken):
                taken.append((middle - half, middle + half))
                y = self.page.y + _RULER / 2
                self.page.text(middle, y, str(layer), _SMALL, ha="center", color=GREY)
        self.page.y += _RULER

    def _extent(self, row: LayerRow) -> float:
        slack = 0.01  # sums of fractions are not exact
        return row.depth * _INDENT + self.page.width(row.label, _TEXT, row.depth == 0) + slack


def _weight(row: LayerRow) -> str:
    return "bold" if row.depth == 0 else "normal"


def _legend(page: _Page, legend_entries: Sequence[LegendEntry], key: Key) -> None:
    """Draw the meaning of letters, digits and colours, with tensors and bytes."""
    counts = [_counts(entry) for entry in legend_entries]
    right = [max(page.width(amount[i], _TEXT) for amount in counts) for i in (0, 1)]
    ends = WIDTH - _EDGE - right[1] - _GAP, WIDTH - _EDGE
    names = min(_NAMES, max(page.width(entry.name, _TEXT) for entry in legend_entries))
    left_edges = _EDGE + _SWATCH + _GAP, _EDGE + _SWATCH + names + 2 * _GAP
    room = ends[0] - right[0] - _GAP - left_edges[1]
    for entry, amount in zip(legend_entries, counts, strict=True):
        page.cell(_EDGE, _SWATCH, key.colour(entry.cell), entry.mark)
        columns = (
            page.wrapped(entry.name, names, _TEXT),
            page.wrapped(entry.meaning, room, _TEXT),
        )
        for x, lines in zip(left_edges, columns, strict=True):
            for i, line in enumerate(lines):
                page.text(x, page.y + _ROW / 2 + i * _LINE, line, _TEXT)
        for x, text in zip(ends, amount, strict=True):
            page.text(x, page.y + _ROW / 2, text, _TEXT, ha="right")
        page.y += _ROW + (max(map(len, columns)) - 1) * _LINE + 2 * _BETWEEN_ROWS


def _counts(entry: LegendEntry) -> tuple[str, str]:
    if entry.tensors is None:
        return "", ""
    return quantity(entry.tensors, "tensor"), size_text(entry.nbytes)
