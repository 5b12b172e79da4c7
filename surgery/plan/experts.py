"""Refuse experts that two checkpoints store in different layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.arch.experts import is_expert
from surgery.errors import PlanError
from surgery.text import layer_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from surgery.arch.experts import Layer
    from surgery.arch.site import Site
    from surgery.checkpoint.sites import SiteIndex


def check_expert_layouts(
    sites: Iterable[Site], first: SiteIndex, site_indexes: Sequence[SiteIndex]
) -> None:
    """Check that experts at some sites have one layout, before names and shapes are compared.

    A shape alone does not tell: a square matrix has the same one when it is transposed.

    Raises:
        PlanError: If two models store the experts of a layer in different layouts.
    """
    layers = {(site.component, site.layer) for site in sites if is_expert(site)}
    for other in site_indexes if layers else ():
        differing = [
            layer
            for layer in layers
            if layer in first.experts
            and first.experts[layer] is not other.experts.get(layer, first.experts[layer])
        ]
        if differing:
            raise PlanError(_message(differing, first, other))


def _message(layers: Sequence[Layer], first: SiteIndex, other: SiteIndex) -> str:
    """Say which layout each side has, and how to convert."""
    component = layers[0][0]
    numbers = [number for item, number in layers if item is component and number is not None]
    location = f"{component} {layer_numbers(numbers)}" if numbers else str(component)
    sides = [
        f"{model.name!r} ({model.info.reference}) stores {model.experts[layers[0]]}"
        for model in (first, other)
    ]
    return (
        f"the experts of {location} may be the same weights in two layouts, which do not line up: "
        f"{sides[0]}; {sides[1]}. Load both with one version of transformers, 5 or later, save "
        f"them with `save_pretrained(folder, save_original_format=False)` and name these folders; "
        f"or leave the experts out with '!{component}{'[:]' if numbers else ''}.mlp.experts'."
    )
