"""One number for all layers, or anchors spread over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from surgery.arch import Component, Site


def value_at(
    anchors: Sequence[float], site: Site, layers: Mapping[Component, Sequence[int]]
) -> float:
    """Return the value of a site.

    The selected layers of each component stand at equal distances between the first and the last
    anchor; between anchors values change linearly. A single layer gets the first anchor.

    Args:
        anchors: At least one number.
        site: One of the selected sites.
        layers: The selected layers of each component, ascending.

    Raises:
        RecipeError: If several anchors meet a site outside the layers.
    """
    if len(anchors) == 1:
        return float(anchors[0])
    if site.layer is None:
        raise RecipeError(
            f"{len(anchors)} values are spread over layers, but {site.canonical} belongs to no "
            f"layer. Select layers only, for example '{site.component}[:]', or give one number."
        )
    stack = layers[site.component]
    if len(stack) == 1:
        return float(anchors[0])
    position = stack.index(site.layer) * (len(anchors) - 1) / (len(stack) - 1)
    low = min(int(position), len(anchors) - 2)
    share = position - low
    return float(anchors[low] * (1 - share) + anchors[low + 1] * share)
