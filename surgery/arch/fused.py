"""Tensors that a loaded model fuses or splits differently from its checkpoint.

transformers 5 fuses the experts of a layer when it loads them: `experts.gate_up_proj` of shape
[experts, 2 * inner, hidden] and `experts.down_proj` of shape [experts, hidden, inner]
(`transformers.conversion_mapping`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surgery.arch.site import Site

# What a file calls one expert's matrix: the fused parameter, and which half of its rows.
_PARTS = {
    "gate_proj": ("experts.gate_up_proj", 0),
    "up_proj": ("experts.gate_up_proj", 1),
    "down_proj": ("experts.down_proj", None),
    "w1": ("experts.gate_up_proj", 0),
    "w3": ("experts.gate_up_proj", 1),
    "w2": ("experts.down_proj", None),
}
# Published files of these families hold fused experts with the last two axes exchanged; those
# that transformers 5 saved do not. transformers distinguishes them by shape, and so do we.
_TRANSPOSED = frozenset({"qwen3_vl_moe"})


@dataclass(frozen=True)
class ParameterPart:
    """The part of a loaded model's parameter that is a stored tensor.

    Attributes:
        site: The parameter's site.
        index: What to index the parameter with.
        transposed: Whether its last two axes are exchanged in the file if the shapes say so.
    """

    site: Site
    index: tuple[int | slice, ...] = ()
    transposed: bool = False


def parameter_part(family: str, site: Site, shape: tuple[int, ...]) -> ParameterPart:
    """Return the parameter of a loaded model that has a stored tensor, and its part.

    Args:
        family: The model's row in the family table.
        site: The stored tensor's site.
        shape: Its shape in the file.

    Returns:
        The fused parameter and the part of it, or the site itself.
    """
    words = site.leaf.split(".")
    if site.leaf.startswith("experts.") and len(words) == 2 and family in _TRANSPOSED:
        return ParameterPart(site, transposed=True)
    if len(words) != 4 or words[0] != "experts" or words[2] not in _PARTS or words[3] != "weight":
        return ParameterPart(site)
    leaf, half = _PARTS[words[2]]
    index: tuple[int | slice, ...] = (int(words[1]),)
    if half is not None:
        index += (slice(half * shape[0], (half + 1) * shape[0]),)
    return ParameterPart(replace(site, leaf=leaf), index)
