"""What pictures of update statistics are drawn from: tables, read by place in the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from surgery.arch.site import Component

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray
    from pandas import DataFrame

ORDER = tuple(Component)
"""Components from the image to the next token."""

Cuts = dict[Component, dict[str, tuple[int, int]]]
"""Component to region to its half-open range of layers."""

STACKS = (Component.VISION, Component.LANGUAGE)
"""Components that may have layers."""


class Place(NamedTuple):
    """A layer, or what a component holds outside its layers."""

    component: Component
    layer: int | None


class Tables(Protocol):
    """The tables of a study; columns as in its CSV files. `surgery.stats.result.Stats` is one.

    Attributes:
        tensors: One row per tensor and pair.
        layers: One row per component, layer, group of modules and pair.
        regions: The same per region.
        update_layers: One row per component, layer, group and two pairs; empty for one pair.
        spectra: `<tensor>/<pair>/delta` to singular values, descending; empty if none were taken.
        summary: `pairs`, names in the order in which they are shown, and `regions`, component to
            region to its half-open layers.
    """

    @property
    def tensors(self) -> DataFrame: ...  # noqa: D102 - told above
    @property
    def layers(self) -> DataFrame: ...  # noqa: D102
    @property
    def regions(self) -> DataFrame: ...  # noqa: D102
    @property
    def update_layers(self) -> DataFrame: ...  # noqa: D102
    @property
    def spectra(self) -> Mapping[str, NDArray[Any]]: ...  # noqa: D102
    @property
    def summary(self) -> Mapping[str, Any]: ...  # noqa: D102


def pairs_of(tables: Tables) -> list[str]:
    """Names of the pairs."""
    return [str(pair) for pair in tables.summary["pairs"]]


def cuts_of(tables: Tables) -> Cuts:
    """Where the regions of each stack begin and end."""
    regions = tables.summary["regions"]
    return {
        Component(component): {name: (int(a), int(b)) for name, (a, b) in spans.items()}
        for component, spans in regions.items()
    }


def where(frame: DataFrame, **equal: str) -> DataFrame:
    """The rows that have these values in these columns."""
    for column, value in equal.items():
        frame = frame[frame[column] == value]
    return frame


def places(frame: DataFrame) -> list[Place]:
    """The place of each row."""
    layers = [None if none else int(n) for n, none in _with_missing(frame, "layer")]
    return [Place(Component(c), n) for c, n in zip(frame["component"], layers, strict=True)]


def values(frame: DataFrame, column: str) -> dict[Place, float]:
    """A column by place. The rows must be of one pair (or two) and one group."""
    return dict(zip(places(frame), frame[column].astype(float), strict=True))


def present(frame: DataFrame, *columns: str) -> bool:
    """Whether any of the columns is there and holds a number."""
    return any(column in frame and frame[column].notna().any() for column in columns)


def _with_missing(frame: DataFrame, column: str) -> Iterable[tuple[float, bool]]:
    return zip(frame[column], frame[column].isna(), strict=True)
