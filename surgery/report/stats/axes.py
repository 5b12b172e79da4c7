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
"""What figures call a component where that is not its own name."""

# Inches: what labels and margins leave of the width, and a label of 7 points on its side.
_ROOM, _LABEL = WIDTH - 0.9, 0.17


@dataclass(frozen=True)
class Block:
    """Neighbours on the axis: a stack's layers, or one part without layers.

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
        """Where the last stands."""
        return self.start + max(0, len(self.layers) - 1)

    @property
    def label(self) -> str:
        """Its name; what a component holds outside its layers is its rest."""
        name = NAMES.get(self.component, str(self.component))
        if self.layers:
            return name
        rest = self.component in (Component.VISION, Component.LANGUAGE)
        return f"{name} (rest)" if rest else name


@dataclass(frozen=True)
class Depth:
    """Where each place stands, from the image on the left to the next token on the right.

    Attributes:
        blocks: In order.
        cuts: Component to region to its half-open range of layers.
    """

    blocks: tuple[Block, ...]
    cuts: Cuts

    @classmethod
    def of(cls, found: Iterable[LayerSite], cuts: Cuts) -> Depth:
        """Lay out the places that a table has."""
        found = set(found)
        count = sum(place.layer is not None for place in found)
        # Single parts carry their names on their sides, so they need room for a line of text.
        gap = max(1.5, 1.3 * _LABEL * (count + 10) / _ROOM)
        at, blocks = 0.0, []
        for component in ORDER:
            layers = [p.layer for p in found if p.component is component and p.layer is not None]
            if LayerSite(component, None) in found:
                blocks.append(Block(component, range(0), at))
                at += gap
            if layers:
                blocks.append(Block(component, range(min(layers), max(layers) + 1), at))
                at = blocks[-1].end + gap
        return cls(tuple(blocks), cuts)

    def curve(
        self, frame: DataFrame, column: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A column of a table along depth.

        Args:
            frame: Rows of one pair and one group.
            column: Which.

        Returns:
            Places and values: `Float[ndarray, "n"]` each. Between blocks, and where a layer has no
            row, the value is NaN and the line breaks.
        """
        found = values(frame, column)
        x, y = [], []
        for block in self.blocks:
            for offset, place in enumerate(block.places):
                x.append(block.start + offset)
                y.append(found.get(place, np.nan))
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
        """Shade every other region; name them where there is room (`inch` is 0 for no names)."""
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
                told = {"ha": "center", "va": "bottom", "color": GREY, "fontsize": 7}
                axes.text(middle, 1.01, name, transform=top, **told)  # type: ignore[arg-type]


def _ticks(block: Block, inch: float) -> list[tuple[float, str, bool]]:
    """Position, text, and whether the text lies on its side."""
    if not block.layers:
        return [(block.start, block.label, True)]
    if len(block.layers) == 1:
        return [(block.start, f"{block.label} {block.layers[0]}", True)]
    shown = numbered(block.layers, inch)
    return [(block.start + n - block.layers.start, str(n), False) for n in shown]


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
    """Those of neighbouring layers that are inside a region."""
    return range(max(layers.start, span[0]), min(layers.stop, span[1]))
