"""Stored tensors as arrays, a window at a time: mapped from the file, or formed into a buffer."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from surgery.checkpoint.dtype import DType
from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from numpy.typing import NDArray

    from surgery.checkpoint.source import Checkpoint, TensorHeader

WINDOW = 1 << 22
"""Elements that are looked at together: 8 MB of bf16."""

_PIECE = 1 << 20

_STORED: dict[DType, Any] = {
    DType.F64: np.float64,
    DType.F32: np.float32,
    DType.F16: np.float16,
    DType.BF16: np.uint16,
    DType.I64: np.int64,
    DType.I32: np.int32,
    DType.I16: np.int16,
    DType.I8: np.int8,
    DType.U8: np.uint8,
    DType.BOOL: np.bool_,
}
# Types whose numbers or differences float32 does not hold.
_WIDE = frozenset({DType.F64, DType.I64, DType.I32})


@dataclass(frozen=True)
class TensorView:
    """A tensor of an open checkpoint, or one slice of it along the first axis.

    Safe to use from several threads.

    Attributes:
        checkpoint: Where it stands; must stay open.
        name: Its name there.
        index: Which slice, as one expert of a stack; None for the whole tensor.

    Raises:
        CheckpointError: If the checkpoint has no such tensor.
        IndexError: If the tensor has no such slice.
    """

    checkpoint: Checkpoint
    name: str
    index: int | None = None

    def __post_init__(self) -> None:
        if self.name not in self.checkpoint.info.tensors:
            raise CheckpointError(f"{self.checkpoint.info.reference}: has no tensor {self.name!r}.")
        stored = self._header.shape
        if self.index is not None and not (stored and 0 <= self.index < stored[0]):
            raise IndexError(f"{self.name}: no slice {self.index} in shape {list(stored)}")

    @property
    def _header(self) -> TensorHeader:
        return self.checkpoint.info.tensors[self.name]

    @property
    def dtype(self) -> DType:
        """Element type as stored."""
        return self._header.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes; empty for a scalar."""
        return self._header.shape if self.index is None else self._header.shape[1:]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def part(self, index: int) -> Self:
        """Slice `index` along the first axis of the whole tensor."""
        return replace(self, index=index)

    def window(self, start: int, stop: int) -> NDArray[Any]:
        """Elements [start, stop) of the flattened tensor, read-only.

        Pages of the file are mapped, not copied, and unmapped with the last reference to the
        array: release one window before requesting the next to keep memory small.

        Args:
            start: First element.
            stop: Behind the last one.

        Returns:
            `Shaped[ndarray, "stop-start"]` of the stored element type; bf16 as uint16.

        Raises:
            CheckpointError: If the file is shorter than its header says.
            IndexError: If the tensor has no such elements.
        """
        if not 0 <= start <= stop <= self.numel:
            raise IndexError(f"{self.name}: no elements {start} to {stop} of {self.numel}")
        stored = np.dtype(_STORED[self.dtype])
        first = start + self.numel * (self.index or 0)
        begin, count = first * stored.itemsize, stop - start
        if not count:
            array = np.empty(0, stored)
        elif (place := self.checkpoint.file_range(self.name)) is None:
            array = np.empty(count, stored)
            self.checkpoint.read_into(self.name, begin, array.view(np.uint8).data)
        else:
            self.checkpoint.ensure_local(self.name)
            array = self._mapped(place[0], place[1] + begin, count, stored)
        array.flags.writeable = False
        return array

    def _mapped(self, file: int, begin: int, count: int, stored: np.dtype[Any]) -> NDArray[Any]:
        end = begin + count * stored.itemsize
        # A mapping may reach past the end of its file; touching those pages kills the process.
        if end > (size := os.fstat(file).st_size):
            raise CheckpointError(
                f"{self.checkpoint.info.reference}: found {size} bytes in the file of "
                f"{self.name!r}, expected at least {end}. The file was truncated after it was "
                f"opened; fetch it again."
            )
        page = begin - begin % mmap.ALLOCATIONGRANULARITY
        pages = mmap.mmap(file, end - page, access=mmap.ACCESS_READ, offset=page)
        array: NDArray[Any] = np.frombuffer(pages, stored, count, begin - page)
        return array if array.flags.aligned else array.copy()


def working_dtype(*dtypes: DType) -> np.dtype[Any]:
    """Return the computation type: float32, or float64 where float32 would lose digits."""
    return np.dtype(np.float64 if _WIDE.intersection(dtypes) else np.float32)


def widen(array: NDArray[Any], dtype: DType, out: NDArray[Any]) -> None:
    """Fill `out` with the numbers that `array` stores.

    Args:
        array: `Shaped[ndarray, "n"]` as `TensorView.window` gives it.
        dtype: Its element type.
        out: `Float[ndarray, "n"]`, float32 or float64, overwritten.
    """
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        if dtype is not DType.BF16:
            np.copyto(out, array)
        elif out.dtype == np.float32:
            # bf16 is the upper half of float32.
            np.left_shift(array, 16, out=out.view(np.uint32), dtype=np.uint32)
        else:
            np.copyto(out, np.left_shift(array, 16, dtype=np.uint32).view(np.float32))


def load(view: TensorView, dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
    """Return the whole tensor in its shape.

    Args:
        view: What to read.
        dtype: float32 or float64; what `working_dtype` says when None.

    Returns:
        `Float[ndarray, "..."]`.

    Raises:
        CheckpointError: If the file is shorter than its header says.
    """
    array = np.empty(view.shape, dtype or working_dtype(view.dtype))
    flat = array.reshape(-1)
    for start, stop in windows(0, view.numel):
        widen(view.window(start, stop), view.dtype, flat[start:stop])
    return array


def load_delta(before: TensorView, after: TensorView) -> NDArray[Any]:
    """Return all of after - before, with one further window in memory.

    Args:
        before: What to subtract.
        after: What to subtract from; of the same shape.

    Returns:
        `Float[ndarray, "..."]` in float32, or float64 where float32 would lose digits or overflow.

    Raises:
        CheckpointError: If a file is shorter than its header says.
    """
    if before.shape != after.shape:
        raise ValueError(f"{before.name}: shapes {before.shape} and {after.shape} differ")
    delta = _difference(before, after, working_dtype(before.dtype, after.dtype))
    if np.isfinite(delta).all():
        return delta
    # The difference of two numbers at opposite ends of float32 overflows it.
    return _difference(before, after, np.dtype(np.float64))


def _difference(before: TensorView, after: TensorView, dtype: np.dtype[Any]) -> NDArray[Any]:
    delta = load(after, dtype)
    flat = delta.reshape(-1)
    buffer = np.empty(min(_PIECE, before.numel), flat.dtype)
    for start, stop in windows(0, before.numel, _PIECE):
        subtrahend = buffer[: stop - start]
        widen(before.window(start, stop), before.dtype, subtrahend)
        with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, as it should be
            flat[start:stop] -= subtrahend
    return delta


def windows(start: int, stop: int, size: int = WINDOW) -> Iterator[tuple[int, int]]:
    """Cut [start, stop) into windows of at most `size` elements."""
    for begin in range(start, stop, size):
        yield begin, min(begin + size, stop)
