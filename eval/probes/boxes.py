"""Bounding boxes in responses, and their conversion to pixels of the image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Box: TypeAlias = "tuple[float, float, float, float]"
Size: TypeAlias = "tuple[int, int]"

_NUMBERS: Final = re.compile(r"(?<![\w.])-?(?:\d+(?:\.\d+)?|\.\d+)")


class Scale(StrEnum):
    """Coordinate format of a bounding box."""

    PIXELS = "pixels"  # of the image that is handed to the model
    RESIZED = "resized"  # pixels of the image after the model's processor
    GRID = "grid-1000"  # normalized to 0-1000
    GRID_YX = "grid-1000-yx"  # the same, y before x
    UNIT = "unit"  # normalized to 0-1


SCALES: Final[Mapping[str, Scale]] = MappingProxyType(
    {
        # QwenLM/Qwen3-VL, issue 866: normalised in Qwen2-VL, absolute in Qwen2.5-VL, of the image
        # after the processor (issue 676); relative to 1000 again since Qwen3-VL (its cookbooks).
        "qwen2_vl": Scale.GRID,
        "qwen2_5_vl": Scale.RESIZED,
        "qwen2_5_omni": Scale.RESIZED,
        "qwen2_5_omni_thinker": Scale.RESIZED,
        **dict.fromkeys(
            ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "qwen3_omni_moe",
             "qwen3_omni_moe_thinker"),
            Scale.GRID,
        ),
        # zai-org/GLM-V: x = round(x_pixel / width * 1000).
        **dict.fromkeys(("glm4v", "glm4v_moe", "glm46v"), Scale.GRID),
        # InternVL's documentation of grounding: normalised to 0 to 1000.
        **dict.fromkeys(("internvl", "internvl_chat"), Scale.GRID),
    }
)  # fmt: skip
"""By `model_type`; others are not documented, and pixels are a guess."""


@dataclass(frozen=True)
class Frame:
    """The coordinate frame of a response's box on an image.

    Attributes:
        width: The image's width in the units of the response.
        height: The image's height in the same units.
        y_first: Whether y comes before x.
    """

    width: float
    height: float
    y_first: bool = False

    def on(self, box: Box, size: Size) -> Box:
        """Convert a response's box to pixels of an image of this size."""
        x1, y1, x2, y2 = (box[1], box[0], box[3], box[2]) if self.y_first else box
        across, down = size[0] / self.width, size[1] / self.height
        return x1 * across, y1 * down, x2 * across, y2 * down


def frame_of(scale: Scale, size: Size, output: Size | None) -> Frame:
    """Return the coordinate frame of responses about an image.

    Args:
        scale: The unit of the response's numbers.
        size: Width and height of the image in pixels.
        output: The same after the model's processor; needed for `RESIZED` alone.
    """
    if scale is Scale.RESIZED and output is not None:
        return Frame(*output)
    if scale in (Scale.GRID, Scale.GRID_YX):
        return Frame(1000, 1000, y_first=scale is Scale.GRID_YX)
    return Frame(1, 1) if scale is Scale.UNIT else Frame(*size)


def box_in(text: str) -> Box | None:
    """Return the last four numbers of a response as a box; None where there are fewer."""
    numbers = [float(number) for number in _NUMBERS.findall(text)]
    return (numbers[-4], numbers[-3], numbers[-2], numbers[-1]) if len(numbers) >= 4 else None


def iou(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes; 0 where one has no area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    areas = [max(0.0, x2 - x1) * max(0.0, y2 - y1) for x1, y1, x2, y2 in (a, b)]
    return both / (sum(areas) - both) if min(areas) > 0 else 0.0
