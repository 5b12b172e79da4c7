"""The layout of image tokens on the plane, from a family's processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surgery.arch.check import lookup

if TYPE_CHECKING:
    from collections.abc import Mapping


def image_grids(
    config: Mapping[str, Any], inputs: Mapping[str, Any]
) -> list[tuple[int, int]] | None:
    """Height and width, in tokens, of every image of a batch.

    Args:
        config: The parsed `config.json`.
        inputs: What the processor made of text and images.

    Returns:
        One pair per image, in order; None for a family whose images have the same tokens at every
        their size, or are cut into tiles.
    """
    if (grid := inputs.get("image_grid_thw")) is not None:  # Qwen-VL and GLM-V, in patches
        merge = lookup(config, "vision_config.spatial_merge_size") or 1
        return [(int(h) // merge, int(w) // merge) for _, h, w in grid.tolist()]
    if lookup(config, "vision_config.model_type") != "pixtral" or "image_sizes" not in inputs:
        return None
    side = lookup(config, "vision_config.patch_size") * (lookup(config, "spatial_merge_size") or 1)
    return [(int(h) // side, int(w) // side) for h, w in inputs["image_sizes"].tolist()]
