"""The change of every layer in the terminal: a bar per layer, then a table of regions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from surgery.report.stats.tables import ORDER, STACKS, LayerSite, cuts_of, pairs_of, values, where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pandas import DataFrame
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from surgery.report.stats.tables import Cuts
    from surgery.runs import RunTables

_GROUPS = ("attention", "mlp", "norm")
_COLOURS = ("blue", "yellow", "green", "magenta", "cyan", "red")
_NOTES = (
    "changed: elements not as before; > 1e-3: by more than 1e-3 of the weight;",
    "x rounding: the change over the error that storing the second model in bf16 adds",
)
# Characters: a number, what stands between columns, the least and the most of a bar.
_NUMBER, _GAP, _SHORTEST, _LONGEST = 7, 2, 4, 40


def bars(tables: RunTables) -> RenderableType:
    """Return a comparison for the terminal.

    Color only repeats what the text states, so a pipe loses nothing.

    Args:
        tables: What to show.

    Returns:
        A renderable that fits itself to the width it is given, 80 or more.
    """
    head = Text("relative change of every layer", "bold")
    head.append("  bars from 0, each pair on its own scale", "not bold dim")
    parts: list[RenderableType] = [head, _Bars(tables)]
    for pair in pairs_of(tables):
        table = Padding(_regions(tables, pair), (0, 0, 0, 2), expand=False)
        parts += [Text(), Text(f"regions, {pair}", "bold"), table]
    return Group(*parts, *(Text(f"  {line}", "dim") for line in _NOTES))


@dataclass(frozen=True)
class _Column:
    """One pair's bars.

    Attributes:
        pair: Its name.
        all: Relative change of every place.
        groups: The same of attention, mlp and norm.
    """

    pair: str
    all: Mapping[LayerSite, float]
    groups: Sequence[Mapping[LayerSite, float]]

    @classmethod
    def of(cls, layers: DataFrame, pair: str) -> _Column:
        rows = where(layers, pair=pair)
        read = [values(where(rows, group=g), "relative_delta") for g in ("all", *_GROUPS)]
        return cls(pair, read[0], read[1:])

    @property
    def longest(self) -> float:
        """Return the value of a full bar: the largest finite change."""
        return max((v for v in self.all.values() if math.isfinite(v)), default=0.0)


class _Bars:
    """One line per layer, and per part without layers; a column per pair."""

    def __init__(self, tables: RunTables) -> None:
        self.columns = [_Column.of(tables.layers, pair) for pair in pairs_of(tables)]
        places = {place for column in self.columns for place in column.all}
        self.places = sorted(places, key=_order)
        self.labels = _labels(self.places, cuts_of(tables))
        self.margin = max((len(label) for label in self.labels.values()), default=0) + 2 + _GAP

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = (options.max_width - self.margin) // max(1, len(self.columns)) - _GAP
        split = width >= 2 * _SHORTEST + (_NUMBER + 1) * (1 + len(_GROUPS))
        beside = (_NUMBER + 1) * (1 + (len(_GROUPS) if split else 0))
        length = max(_SHORTEST, min(_LONGEST, width - beside))
        full = "#" if options.ascii_only else "\N{FULL BLOCK}"
        yield from self._heads(length, length + beside, split=split)
        for place in self.places:
            line = Text("  " + self.labels[place].ljust(self.margin - 2), no_wrap=True)
            for index, column in enumerate(self.columns):
                value = column.all.get(place)
                filled = _filled(value, column.longest, length)
                line.append(full * filled, _COLOURS[index % len(_COLOURS)])
                line.append(" " * (length - filled + 1) + _number_text(value).rjust(_NUMBER))
                for group in column.groups if split else ():
                    line.append(" " + _number_text(group.get(place)).rjust(_NUMBER), "dim")
                line.append(" " * _GAP)
            line.rstrip()
            yield line

    def _heads(self, length: int, width: int, *, split: bool) -> Iterator[Text]:
        """Header lines: names of the pairs, scale of the bars, names of the columns."""
        names = Text(" " * self.margin, "bold", no_wrap=True)
        scale = Text("  whole bar".ljust(self.margin), "dim", no_wrap=True)
        numbers = Text(" " * self.margin, "dim", no_wrap=True)
        groups = ("all", *(("attn", "mlp", "norm") if split else ()))
        for column in self.columns:
            names.append(column.pair[:width].ljust(width + _GAP))
            scale.append(_number_text(column.longest).ljust(width + _GAP))
            text = "".join(" " + name.rjust(_NUMBER) for name in groups)
            numbers.append(" " * length + text + " " * _GAP)
        for line in (names, scale, numbers) if split else (names, scale):
            line.rstrip()
            yield line


def _labels(places: Sequence[LayerSite], cuts: Cuts) -> dict[LayerSite, str]:
    """Component, region where it begins, layer. A component's name stands at its first line."""
    names: dict[LayerSite, tuple[str, str, str]] = {}
    for component, members in groupby(places, lambda place: place.component):
        before = None
        for place in members:
            if place.layer is None:
                rest = " (rest)" if component in STACKS else ""
                names[place] = (f"{component}{rest}", "", "")
                continue
            region = _region(cuts.get(component, {}), place.layer)
            name = str(component) if before is None else ""
            names[place] = (name, region if region != before else "", str(place.layer))
            before = region
    first = max((len(n) for n, _, layer in names.values() if layer), default=0)
    second = max((len(r) for _, r, _ in names.values()), default=0)
    return {
        place: f"{name:<{first}}  {region:<{second}}  {layer:>2}" if layer else name
        for place, (name, region, layer) in names.items()
    }


def _order(place: LayerSite) -> tuple[int, int]:
    """Yield rows with the parts of a stack outside its layers before the layers."""
    return ORDER.index(place.component), -1 if place.layer is None else place.layer


def _region(cuts: Mapping[str, tuple[int, int]], layer: int) -> str:
    return next((name for name, (first, stop) in cuts.items() if first <= layer < stop), "")


def _regions(tables: RunTables, pair: str) -> Table:
    """Pooled numbers of a pair, for the whole model, its components and their regions."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("layers", no_wrap=True)
    for name in ("rel. change", "angle", "changed", "> 1e-3", "x rounding"):
        table.add_column(name, justify="right", no_wrap=True)
    whole = "whole model" if tables.summary.get("selector", "*") == "*" else "all selected"
    for row in where(tables.regions, pair=pair, group="all").to_dict("records"):
        name = whole if row["component"] == "all" else str(row["component"])
        if row["region"] != "all":
            name += f" {row['region']}"
        table.add_row(
            name,
            _once(row["layers"]) if isinstance(row["layers"], str) else "",
            _number_text(row["relative_delta"]),
            _plain(row["angle"], "\N{DEGREE SIGN}"),
            _percent(row["changed"]),
            _percent(row["changed_bf16"]),
            _plain(row["rounding_ratio"]),
        )
    return table


def _filled(value: float | None, longest: float, length: int) -> int:
    """Characters of a bar; every nonzero change has at least one."""
    if value is None or not math.isfinite(value) or not longest > 0:
        return 0
    return max(1 if value > 0 else 0, round(length * value / longest))


def _once(layers: str) -> str:
    """`3` for `3-3`."""
    first, _, last = layers.partition("-")
    return first if first == last else layers


def _number_text(value: float | None) -> str:
    """Format a number: `1.23e-3`; `0` only for zero, `-` for missing."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "nan"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return mantissa if not int(exponent) else f"{mantissa}e{int(exponent)}"


def _percent(share: float) -> str:
    if not math.isfinite(share):
        return "nan"
    # Only all and none round to 100.0 and 0.0.
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def _plain(value: float, unit: str = "") -> str:
    """Without an exponent where that is short."""
    if not math.isfinite(value):
        return "nan"
    return (f"{value:.3g}" if value == 0 or value >= 1e-3 else _number_text(value)) + unit
