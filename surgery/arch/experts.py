"""The three layouts in which files store the experts of a layer.

Published files of most families hold one matrix per expert; transformers 5 fuses them in memory
and, on request, in files. Files of Qwen3-VL-MoE and Llama 4 hold them fused with the last two axes
exchanged. The two fused matrices of a layer have shapes [experts, 2 inner, hidden] and [experts,
hidden, inner], or [experts, hidden, 2 inner] and [experts, inner, hidden]; no pair of shapes fits
both, so that headers tell the layout even where one of the matrices is square. The order of gate
and up inside the fused matrix is not in the headers, and is taken to be the family's.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from surgery.arch.site import Component, Module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.arch.site import Site

Layer: TypeAlias = "tuple[Component, int | None]"
Shape: TypeAlias = "tuple[int, ...]"

_EXPERT = re.compile(r"experts\.(\d+\.|gate_up_proj|down_proj)")
_FUSED = re.compile(r"experts\.(gate_up_proj|down_proj)(\.weight)?")


class ExpertLayout(StrEnum):
    """The layout in which the experts of one layer are stored."""

    SEPARATE = "one tensor per matrix and expert"
    FUSED = "all experts in one tensor, [experts, out, in]"
    TRANSPOSED = "all experts in one tensor, [experts, in, out]"


def is_expert(site: Site) -> bool:
    """Check whether a site has one or all experts of a layer."""
    return site.module is Module.MLP and _EXPERT.match(site.leaf) is not None


def expert_layouts(shapes: Mapping[Site, Shape]) -> dict[Layer, ExpertLayout]:
    """Return the layout of every layer whose experts are stored in a known one.

    Args:
        shapes: The shape of each of a checkpoint's tensors.
    """
    layouts: dict[Layer, ExpertLayout] = {}
    matrices: dict[Layer, dict[str, Shape]] = {}
    for site, shape in shapes.items():
        if not is_expert(site):
            continue
        match = _FUSED.fullmatch(site.leaf)
        if match is None:
            layouts[site.component, site.layer] = ExpertLayout.SEPARATE
        else:
            matrices.setdefault((site.component, site.layer), {})[match[1]] = shape
    for layer, pair in matrices.items():
        layout = _fused_layout(pair.get("gate_up_proj", ()), pair.get("down_proj", ()))
        if layout is not None:
            layouts[layer] = layout
    return layouts


def _fused_layout(gate_up: Shape, down: Shape) -> ExpertLayout | None:
    """Return the layout of two fused matrices, or None for shapes that fit neither."""
    if len(gate_up) != 3 or len(down) != 3:
        return None
    if gate_up[1:] == (2 * down[2], down[1]):
        return ExpertLayout.FUSED
    if gate_up[1:] == (down[2], 2 * down[1]):
        return ExpertLayout.TRANSPOSED
    return None
