"""The size to which a model's processor resizes an image, and the images that it shrinks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from eval.prompts import size_within
from eval.records import Condition, Picture
from surgery.errors import SurgeryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from eval.questions import Question
    from eval.records import Suite

    Size = tuple[int, int]

_SMALLER: Final = 0.9
"""Images count as shrunk below this share of their pixels; above it is rounding to patches."""


@dataclass(frozen=True)
class Shrinkage:
    """The images of a run that a processor shrinks.

    Attributes:
        processor: The class of the image processor.
        limit: The most pixels that it leaves, where that is a setting of it.
        count: How many images are made smaller.
        total: Of how many.
        largest: Width and height of the largest, in pixels.
        output: Width and height of that image after the processor.
    """

    processor: str
    limit: int | None
    count: int
    total: int
    largest: tuple[int, int]
    output: tuple[int, int]

    @property
    def note(self) -> str:
        """Return one sentence about the resizing, for the run's report."""
        (width, height), (wide, high) = self.largest, self.output
        limit = f" (at most {self.limit:,} pixels)" if self.limit else ""
        return (
            f"The model's own {self.processor}{limit} shrinks {self.count} of {self.total} images, "
            f"the largest from {width}x{height} to {wide}x{high} pixels."
        )


def output_size(processor: Any, size: Size) -> Size | None:
    """Return the width and height to which a processor resizes an image of this size.

    Args:
        processor: As `surgery.processor.load_processor` returns it.
        size: Width and height in pixels.

    Returns:
        None where the processor cuts images into tiles, or refuses this size.
    """
    from PIL import Image

    from surgery.processor import PROCESSING_ERRORS

    images = processor.image_processor
    try:
        features = images(images=[Image.new("RGB", size)], return_tensors="pt")
    except PROCESSING_ERRORS:
        return None
    if (grid := features.get("image_grid_thw")) is not None and grid.shape[-1] == 3:
        _, high, wide = (int(side) for side in grid.reshape(-1, 3)[0])
        return wide * int(images.patch_size), high * int(images.patch_size)
    pixels = features.get("pixel_values")
    if pixels is None or getattr(pixels, "ndim", 0) != 4 or len(pixels) != 1:
        return None
    return int(pixels.shape[-1]), int(pixels.shape[-2])


def find_shrinkage(folder: Path, questions: Iterable[Question]) -> Shrinkage | None:
    """Return the images that a checkpoint's processor shrinks, or None if it shrinks none.

    Args:
        folder: The checkpoint.
        questions: Each of their images counts once; blank images do not count.
    """
    from surgery.processor import load_processor

    pictures = {
        part.digest: part
        for question in questions
        if question.condition is Condition.IMAGE
        for turn in question.messages
        for part in turn.parts
        if isinstance(part, Picture)
    }
    sizes = [picture.size for picture in pictures.values()]
    if not sizes:
        return None
    try:
        processor = load_processor(folder)
    except SurgeryError:
        return None  # loading the model reports the fault
    pixels = _counter(processor)
    small = [size for size in sizes if (pixels(size) or _area(size)) < _SMALLER * _area(size)]
    if not small:
        return None
    largest = max(small, key=_area)
    exact = output_size(processor, largest)
    if exact is None:
        return None
    images = processor.image_processor
    limit = images.size.get("longest_edge") if hasattr(images, "merge_size") else None
    kind = type(images).__name__.removesuffix("Pil")
    return Shrinkage(kind, limit, len(small), len(sizes), largest, exact)


def limit_note(suites: Iterable[Suite], max_pixels: int | None) -> str | None:
    """Return one sentence about images that are shrunk before any model's processor sees them.

    Args:
        suites: Every image of their samples counts once.
        max_pixels: The limit of the run's generation settings.
    """
    pictures = {
        picture.digest: picture
        for suite in suites
        for task in suite.tasks
        for sample in task.samples
        for picture in sample.images
    }
    sizes = [(picture.size, size_within(picture, max_pixels)) for picture in pictures.values()]
    small = [(size, fit) for size, fit in sizes if _area(fit) < _SMALLER * _area(size)]
    if not small or max_pixels is None:
        return None
    (width, height), (wide, high) = max(small, key=lambda pair: _area(pair[0]))
    return (
        f"max_pixels ({max_pixels:,}) shrinks {len(small)} of {len(sizes)} images before the "
        f"model's processor, the largest from {width}x{height} to {wide}x{high} pixels."
    )


def _counter(processor: Any) -> Callable[[Size], int | None]:
    """Return a function from image size to pixels after resizing; it makes few trial images."""
    from surgery.processor import PROCESSING_ERRORS

    images = processor.image_processor

    def by_patches(size: Size) -> int | None:
        try:
            patches = images.get_number_of_image_patches(size[1], size[0], {})
        except PROCESSING_ERRORS:
            return None
        return int(patches) * int(images.patch_size) ** 2

    @lru_cache(None)
    def by_trial(size: Size) -> int | None:
        output = output_size(processor, size)
        return _area(output) if output else None

    if hasattr(images, "merge_size"):
        return by_patches
    wide, high = (output_size(processor, size) for size in ((512, 256), (128, 192)))
    if wide == high:  # one size for all images, or all in tiles
        return lambda _: _area(wide) if wide else None
    return by_trial


def _area(size: Size) -> int:
    return size[0] * size[1]
