"""Image tokens: encoded once for all blocks, located in a batch, moved between grids."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Self

import torch

from surgery.arch.vision import image_grids
from surgery.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor


@contextmanager
def seen_once(model: Any, copies: int) -> Iterator[None]:
    """Run the vision tower once if a batch has the same images several times.

    Not thread-safe: the model's own method is hidden inside the block, for every thread.

    Args:
        model: A transformers vision-language model.
        copies: How often the images of a batch repeat, as whole blocks.
    """
    holder = model.base_model
    if copies == 1 or getattr(holder, "get_image_features", None) is None:
        yield
        return
    look = holder.get_image_features

    @wraps(look)  # generate reads the signature to know what to hand over
    def once(*args: Any, **kwargs: Any) -> Any:
        few = [_first(value, copies) for value in args]
        output = look(*few, **{name: _first(value, copies) for name, value in kwargs.items()})
        return _repeated(output, copies)

    holder.get_image_features = once  # hides the method until it is deleted
    try:
        yield
    finally:
        del holder.get_image_features


def _first(value: Any, copies: int) -> Any:
    """Return the first of `copies` equal parts of a tensor; a packed one (MiniCPM-V) has none."""
    if isinstance(value, torch.Tensor) and value.dim() and len(value) % copies == 0:
        return value[: len(value) // copies]
    return value


def _repeated(output: Any, copies: int) -> Any:
    """Return the vision tower's output for the first part, repeated for all parts."""
    output.pooler_output = _times(output.pooler_output, copies)
    deep = getattr(output, "deepstack_features", None)
    if deep is not None:  # one entry for each layer that they enter
        output.deepstack_features = [_times(layer, copies) for layer in deep]
    return output


def _times(features: Any, copies: int) -> Any:
    """Features of all images: one tensor, or one per image."""
    if isinstance(features, torch.Tensor):
        return features.repeat(copies, *[1] * (features.dim() - 1))
    return type(features)(list(features) * copies)


@dataclass(frozen=True)
class ImageTokens:
    """The positions of the image tokens of a batch, row by row.

    Attributes:
        rows: `Int[Tensor, "tokens"]`.
        columns: The same shape.
        counts: How many each row has.
        grids: Height and width of each row's tokens; None where the family has no such grid.
    """

    rows: Tensor
    columns: Tensor
    counts: tuple[int, ...]
    grids: tuple[tuple[int, int] | None, ...]

    @classmethod
    def of(cls, model: Any, inputs: Mapping[str, Any]) -> Self:
        """Find the image tokens in a batch with one image per row.

        Args:
            model: A transformers vision-language model.
            inputs: What its processor made.
        """
        ids = inputs["input_ids"]
        rows, columns = (ids == model.config.image_token_id).nonzero(as_tuple=True)
        counts = torch.bincount(rows, minlength=len(ids)).tolist()
        grids = image_grids(model.config.to_dict(), inputs)
        return cls(rows, columns, tuple(counts), tuple(grids or [None] * len(ids)))

    def to(self, device: torch.device) -> Self:
        """Return the same tokens with positions on a device."""
        return replace(self, rows=self.rows.to(device), columns=self.columns.to(device))


def fitted(values: Sequence[Tensor], source: ImageTokens, target: ImageTokens) -> list[Tensor]:
    """Move values of one batch's image tokens to another batch's, row by row.

    Where the grids differ, values are interpolated bilinearly on the plane.

    Args:
        values: `Float[Tensor, "tokens width"]` each, of all rows of the source.
        source: Where they come from.
        target: Where they go to.

    Returns:
        For each of `values` the target's, `Float[Tensor, "tokens width"]`.

    Raises:
        ExecutionError: If the numbers of tokens differ and there is no grid to interpolate on.
    """
    for row, (have, want) in enumerate(zip(source.counts, target.counts, strict=True)):
        if have != want and (source.grids[row] is None or target.grids[row] is None):
            raise ExecutionError(
                f"one image has {have} tokens and the other {want}, and this family's do not lie "
                f"on one plane. Make the two images equal in size (--resize-source)."
            )
    moved = []
    for value in values:
        parts = torch.split(value, list(source.counts))
        grids = zip(parts, source.grids, target.grids, strict=True)
        moved.append(
            torch.cat(
                [
                    _resampled(part, target_tokens, source_tokens)
                    for part, target_tokens, source_tokens in grids
                ]
            )
        )
    return moved


def _resampled(
    value: Tensor, source: tuple[int, int] | None, target: tuple[int, int] | None
) -> Tensor:
    if source == target or source is None or target is None:
        return value
    plane = value.T.reshape(1, -1, *source).float()
    resized = torch.nn.functional.interpolate(plane, size=target, mode="bilinear")
    return resized.reshape(value.shape[1], -1).T.to(value.dtype)
