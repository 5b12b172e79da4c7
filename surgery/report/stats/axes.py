"""The axis of depth: every layer and every single part of the model at its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surgery.arch.site import Component
from surgery.report.layer_axis import fits, numbered
from surgery.report.stats.tables import ORDER, LayerSite, values
from surgery.report.style import GREY, WIDTH, shade

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from pandas import DataFrame

    from surgery.report.stats.tables import Cuts

NAMES = {
    Component.VISION: "vision",
    Component.LANGUAGE: "decoder",
    Component.NORM: "final norm",
}
"""Names of components in figures, where they differ from the component's name."""

# Inches: what labels and margins leave of the width, and a label of 7 points on its side.
_ROOM, _LABEL = WIDTH - 0.9, 0.17


@dataclass(frozen=True)
class Block:
    """Neighbors on the axis: a stack's layers, or one part without layers.

    Attributes:
        component: What they belong to.
        layers: The layers from the first to the last that is shown; empty for a single part.
        start: Where the first stands.
    """

    component: Component
    layers: range
    start: float

    @property
    def places(self) -> list[LayerSite]:
        """Its places, in order."""
        return [LayerSite(self.component, n) for n in self.layers] or [
            LayerSite(self.component, None)
        ]

    @property
    def end(self) -> float:
        """Position of the last place."""
        return self.start + max(0, len(self.layers) - 1)

    @property
    def label(self) -> str:
        """Name of the block; tensors of a component outside its layers are its rest."""
        name = NAMES.get(self.component, str(self.component))
        if self.layers:
            return name
        rest = self.component in (Component.VISION, Component.LANGUAGE)
        return f"{name} (rest)" if rest else name


@dataclass(frozen=True)
class Depth:
    """The position of each place, from the image on the left to the next token.

    Attributes:
        blocks: In order.
        cuts: Component to region to its half-open range of layers.
    """

    blocks: tuple[Block, ...]
    cuts: Cuts

    @classmethod
    def of(cls, places: Iterable[LayerSite], cuts: Cuts) -> Depth:
        """Lay out the places that a table has."""
        places = set(places)
        count = sum(place.layer is not None for place in places)
        # Names of single parts are drawn vertically, so they need space for a line of text.
        gap = max(1.5, 1.3 * _LABEL * (count + 10) / _ROOM)
        position, blocks = 0.0, []
        for component in ORDER:
            layers = [p.layer for p in places if p.component is component and p.layer is not None]
            if LayerSite(component, None) in places:
                blocks.append(Block(component, range(0), position))
                position += gap
            if layers:
                blocks.append(Block(component, range(min(layers), max(layers) + 1), position))
                position = blocks[-1].end + gap
        return cls(tuple(blocks), cuts)

    def curve(
        self, frame: DataFrame, column: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a column of a table along depth.

        Args:
            frame: Rows of one pair and one group.
            column: Which.

        Returns:
            Places and values: `Float[ndarray, "n"]` each. Between blocks, and where a layer has no
            row, the value is NaN and the line breaks.
        """
        column_values = values(frame, column)
        x, y = [], []
        for block in self.blocks:
            for offset, place in enumerate(block.places):
                x.append(block.start + offset)
                y.append(column_values.get(place, np.nan))
            x.append(block.end + 0.5)
            y.append(np.nan)
        return np.array(x[:-1], dtype=float), np.array(y[:-1], dtype=float)

    def dress(self, panels: Sequence[Axes]) -> None:
        """Ticks, names, regions and limits of the x axis of panels that share it."""
        if not self.blocks:
            return
        low, high = self.blocks[0].start - 1.0, self.blocks[-1].end + 1.0
        inch = _ROOM / (high - low)
        for axes in panels:
            axes.set_xlim(low, high)
            for block in self.blocks:
                self._regions(axes, block, inch if axes is panels[0] else 0.0)
        ticks = [tick for block in self.blocks for tick in _ticks(block, inch)]
        bottom = panels[-1]
        bottom.set_xticks([x for x, _, _ in ticks], [text for _, text, _ in ticks])
        for (_, _, side), label in zip(ticks, bottom.get_xticklabels(), strict=True):
            label.set_rotation(90 if side else 0)
        for block in self.blocks:
            if len(block.layers) > 1:
                _name(bottom, block)

    def _regions(self, axes: Axes, block: Block, inch: float) -> None:
        """Shade every other region; name them if they fit (`inch` is 0 for no names)."""
        for index, (name, span) in enumerate(self.cuts.get(block.component, {}).items()):
            layers = shared(block.layers, span)
            if not layers:
                continue
            left = block.start + layers.start - block.layers.start - 0.5
            right = left + len(layers)
            if index != 1:
                shade(axes, left, right)
            if fits(name, (right - left) * inch):
                middle, top = (left + right) / 2, axes.get_xaxis_transform()
                style = {"ha": "center", "va": "bottom", "color": GREY, "fontsize": 7}
                axes.text(middle, 1.01, name, transform=top, **style)  # type: ignore[arg-type]


def _ticks(block: Block, inch: float) -> list[tuple[float, str, bool]]:
    """Position, text, and whether the text lies on its side."""
    if not block.layers:
        return [(block.start, block.label, True)]
    if len(block.layers) == 1:
        return [(block.start, f"{block.label} {block.layers[0]}", True)]
    numbers = numbered(block.layers, inch)
    return [(block.start + n - block.layers.start, str(n), False) for n in numbers]


def _name(axes: Axes, block: Block) -> None:
    middle = ((block.start + block.end) / 2, 0.0)
    axes.annotate(
        f"{block.label} layer" if len(block.layers) > 3 else block.label,
        middle,
        xytext=(0, -18),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="center",
        va="top",
        annotation_clip=False,
    )


def shared(layers: range, span: tuple[int, int]) -> range:
    """Those of neighboring layers that are inside a region."""
    return range(max(layers.start, span[0]), min(layers.stop, span[1]))
