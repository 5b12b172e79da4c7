"""Draw a plan: the stack of layers with one cell per layer, coloured and lettered by source."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.color import Color
from rich.console import Group
from rich.style import Style
from rich.table import Table
from rich.text import Text

from surgery.methods.operations import (
    ByteCopy,
    Linear,
    MergekitMethod,
    Slerp,
    TaskArithmetic,
)
from surgery.report.stack import (
    ADDED,
    MERGED,
    SEVERAL,
    Fill,
    components,
    fill,
    letters,
    numbered,
    rows,
    symbol,
)
from surgery.text import quantity, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from surgery.plan.model import Plan
    from surgery.report.stack import LayerRow

# Okabe and Ito's palette: distinct for color-blind readers, and light enough for black
# letters. The base is the first.
_PALETTE = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66),
            (213, 94, 0))  # fmt: skip
_GREY = (170, 170, 170)
_INDENT = 2

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Key:
    """The letters and colors of a plan's models.

    Attributes:
        letters: One capital letter per model.
        colours: One colour per model.
    """

    letters: Mapping[str, str]
    colours: Mapping[str, RGB]

    @classmethod
    def of(cls, plan: Plan) -> Key:
        """Return the key of a plan: the base first, then the recipe's other models in its order."""
        order = [plan.recipe.base, *(n for n in plan.recipe.models if n != plan.recipe.base)]
        colours = {name: _PALETTE[i % len(_PALETTE)] for i, name in enumerate(order)}
        return cls(letters(order), colours)

    def colour(self, cell: Fill | None) -> RGB:
        """Return a cell's colour; what is made of two models lies between theirs."""
        if cell is None:
            return _GREY
        if cell.operation in (Linear, Slerp) and len(cell.models) == 2:
            low, high = (self.colours[name] for name in cell.models)
            return _blend(low, high, min(1.0, max(0.0, cell.amount or 0.0)))
        share = self.colours[cell.models[-1]] if cell.operation is MergekitMethod else None
        if cell.operation is TaskArithmetic and len(cell.models) > 1:
            share = self.colours[cell.models[1]]
        return (
            _blend(self.colours[cell.models[0]], share, 0.5)
            if share
            else (self.colours[cell.models[0]])
        )

    def style(self, cell: Fill | None) -> Style:
        """Black on the cell's colour."""
        return Style(color=Color.from_rgb(0, 0, 0), bgcolor=Color.from_rgb(*self.colour(cell)))


def _blend(low: RGB, high: RGB, share: float) -> RGB:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return red, green, blue


def picture(plan: Plan, *, legend: bool = True) -> RenderableType:
    """Return a plan's output for the terminal.

    Everything that colour says a letter says too, so that it reads the same in a pipe.

    Args:
        plan: What to draw.
        legend: Whether to tell below it what letters, digits and colours mean.

    Returns:
        A renderable that fits itself to the width it is given.
    """
    key = Key.of(plan)
    layer_rows = rows(plan)
    stack = _Stack(layer_rows, key)
    return Group(stack, Text(), legend_of(plan, key, layer_rows)) if legend else stack


class _Stack:
    """The rows; folded into several bands of layers where the terminal is too narrow."""

    def __init__(self, layer_rows: Sequence[LayerRow], key: Key) -> None:
        self.rows = layer_rows
        self.key = key
        self.margin = max((len(r.label) + 2 * r.depth for r in layer_rows), default=0) + _INDENT + 2

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        deepest = max((max(r.layers, default=0) for r in self.rows), default=0) + 1
        room = max(10, options.max_width - self.margin - 2)
        width = 2 if 2 * deepest <= room else 1
        for group in components(self.rows):
            layers = group[0].layers
            per_band = room // width
            bands = [layers[i : i + per_band] for i in range(0, len(layers), per_band)] or [()]
            for band in bands:
                yield from self._band(group, band, width)

    def _band(self, group: Sequence[LayerRow], band: Sequence[int], width: int) -> Iterator[Text]:
        """One component, over some of its layers."""
        if band:
            yield self._line(group[0], self._ruler(group, band, width))
        for row in group:
            if not row.cells:
                if row.depth or not band:  # the label of a ruler is on the ruler's line
                    yield self._line(row, Text())
                continue
            if not band:
                yield self._line(row, self._cells(row.cells, 2))
                continue
            by_layer = dict(zip(row.layers, row.cells, strict=True))
            line = Text()
            for layer in band:
                line += (
                    self._cells([by_layer[layer]], width)
                    if layer in by_layer
                    else Text(" " * width)
                )
            yield self._line(row if row.depth else None, line)

    def _line(self, row: LayerRow | None, body: Text) -> Text:
        label = "" if row is None else "  " * row.depth + row.label
        line = Text(" " * _INDENT + label.ljust(self.margin - _INDENT), no_wrap=True)
        line.stylize("bold" if row is not None and row.depth == 0 else "")
        return line + body

    def _cells(self, cells: Sequence[Fill | None], width: int) -> Text:
        text = Text()
        for cell in cells:
            text.append(symbol(cell, self.key.letters).ljust(width), self.key.style(cell))
        return text

    def _ruler(self, group: Sequence[LayerRow], band: Sequence[int], width: int) -> Text:
        """Return layer numbers; numbers that would touch are omitted."""
        columns = [" "] * (width * len(band) + len(str(band[-1])))
        for layer in numbered(group, band):
            start, text = width * band.index(layer), str(layer)
            if all(c == " " for c in columns[max(0, start - 1) : start + len(text) + 1]):
                columns[start : start + len(text)] = text
        return Text("".join(columns).rstrip(), "dim")


@dataclass(frozen=True)
class LegendEntry:
    """One line of the legend.

    Attributes:
        mark: What stands in the cells; for interpolations, the range of their digits.
        cell: A cell of that sort, for its colour.
        name: The model, with a word for the base; or the method.
        meaning: The model's reference, or the operation of the method.
        tensors: Number of output tensors with this entry; None if stated elsewhere.
        nbytes: Their size.
    """

    mark: str
    cell: Fill | None
    name: str
    meaning: str
    tensors: int | None
    nbytes: int


def entries(plan: Plan, key: Key, layer_rows: Sequence[LayerRow]) -> Iterator[LegendEntry]:
    """Yield what the letters and digits of drawn rows mean: models, then everything computed."""
    tensors, nbytes = _tally(plan)
    for name, letter in key.letters.items():
        source = Fill(ByteCopy, (name,), None, ByteCopy.kind)
        label = f"{name} (base)" if name == plan.recipe.base else name
        text = str(plan.models[name].reference)
        yield LegendEntry(letter, source, label, text, tensors[source], nbytes[source])
    for mark, (name, text), members in _mixtures(tensors):
        count, total = sum(tensors[m] for m in members), sum(nbytes[m] for m in members)
        yield LegendEntry(mark, members[len(members) // 2], name, text, count, total)
    if any(cell is None for row in layer_rows for cell in row.cells):
        several = "more than one source in one block; see the steps"
        yield LegendEntry(SEVERAL, None, "several", several, None, 0)


def legend_of(plan: Plan, key: Key, layer_rows: Sequence[LayerRow]) -> RenderableType:
    """Return what letters and digits mean, with tensors and bytes of each source."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for justify in ("left", "left", "left", "right", "right"):
        table.add_column(justify=justify, overflow="fold")
    for entry in entries(plan, key, layer_rows):
        counts = ("", "")
        if entry.tensors is not None:
            counts = quantity(entry.tensors, "tensor"), size_text(entry.nbytes)
        table.add_row(_swatch(key, entry.mark, entry.cell), entry.name, entry.meaning, *counts)
    return _Indented(table)


@dataclass(frozen=True)
class _Indented:
    body: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.padding import Padding

        yield Padding(self.body, (0, 0, 0, _INDENT), expand=False)


def _swatch(key: Key, mark: str, cell: Fill | None) -> Text:
    return Text(f"{mark:<2}" if len(mark) == 1 else mark, key.style(cell))


def _tally(plan: Plan) -> tuple[Counter[Fill], Counter[Fill]]:
    """Tensors and bytes of every fill, in the order of the steps."""
    tensors: Counter[Fill] = Counter()
    nbytes: Counter[Fill] = Counter()
    for op in sorted(plan.ops, key=lambda op: -1 if op.step is None else op.step):
        fill_key = fill(op)
        tensors[fill_key] += 1
        nbytes[fill_key] += op.nbytes
    return tensors, nbytes


def _mixtures(tensors: Mapping[Fill, int]) -> Iterator[tuple[str, tuple[str, str], list[Fill]]]:
    """Mark, name and explanation of everything computed, the same explanation once."""
    grouped: dict[tuple[str, str, str], list[Fill]] = {}
    for cell in tensors:
        if cell.operation is not ByteCopy:
            grouped.setdefault(_explain(cell), []).append(cell)
    for (mark, name, text), members in grouped.items():
        members.sort(key=lambda cell: cell.amount or 0.0)
        amounts = [cell.amount for cell in members if cell.amount is not None]
        yield _mark(mark, members), (name, text.format(_spread(amounts))), members


def _mark(mark: str, members: Sequence[Fill]) -> str:
    """Return the mark of cells: for interpolations, the range of their digits."""
    if mark != "t":
        return mark
    first, last = (symbol(cell, {}) for cell in (members[0], members[-1]))
    return first if first == last else f"{first}-{last}"


def _explain(cell: Fill) -> tuple[str, str, str]:
    """Return mark, name and a sentence, with space for the amounts."""
    if cell.operation in (Linear, Slerp):
        low, high = cell.models
        return "t", cell.method, f"from {low} (0) to {high} (1), t = {{}}; the digit is tenths"
    if cell.operation is TaskArithmetic:
        base, plus, minus = cell.models
        return ADDED, "add", f"{base} + {{}} x ({plus} - {minus})"
    return MERGED, cell.method, "of " + ", ".join(cell.models)


def _spread(amounts: Sequence[float]) -> str:
    if not amounts:
        return ""
    low, high = f"{min(amounts):.3g}", f"{max(amounts):.3g}"
    return low if low == high else f"{low} to {high}"
