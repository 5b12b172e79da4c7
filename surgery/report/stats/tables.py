"""Tables behind the figures of update statistics, read by place in the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from surgery.arch.site import Component

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandas import DataFrame

    from surgery.runs import RunTables

ORDER = tuple(Component)
"""Components from the image to the next token."""

Cuts = dict[Component, dict[str, tuple[int, int]]]
"""Component to region to its half-open range of layers."""

STACKS = (Component.VISION, Component.LANGUAGE)
"""Components that may have layers."""


class LayerSite(NamedTuple):
    """A layer, or the part of a component outside its layers."""

    component: Component
    layer: int | None


def pairs_of(tables: RunTables) -> list[str]:
    """Names of the pairs."""
    return [str(pair) for pair in tables.summary["pairs"]]


def cuts_of(tables: RunTables) -> Cuts:
    """Return the bounds of the regions of each stack."""
    regions = tables.summary["regions"]
    return {
        Component(component): {name: (int(a), int(b)) for name, (a, b) in spans.items()}
        for component, spans in regions.items()
    }


def where(frame: DataFrame, **equal: str) -> DataFrame:
    """Return the rows with these values in these columns."""
    for column, value in equal.items():
        frame = frame[frame[column] == value]
    return frame


def places(frame: DataFrame) -> list[LayerSite]:
    """Return the place of each row."""
    layers = [None if none else int(n) for n, none in _with_missing(frame, "layer")]
    return [LayerSite(Component(c), n) for c, n in zip(frame["component"], layers, strict=True)]


def values(frame: DataFrame, column: str) -> dict[LayerSite, float]:
    """Return a column by place. The rows must be of one pair (or two) and one group."""
    return dict(zip(places(frame), frame[column].astype(float), strict=True))


def present(frame: DataFrame, *columns: str) -> bool:
    """Check whether any of the columns exists and has a number."""
    return any(column in frame and frame[column].notna().any() for column in columns)


def _with_missing(frame: DataFrame, column: str) -> Iterable[tuple[float, bool]]:
    return zip(frame[column], frame[column].isna(), strict=True)
