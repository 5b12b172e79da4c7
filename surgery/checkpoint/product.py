"""The arithmetic of a LoRA product; the only part of this package that needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from surgery.checkpoint.dtype import DType
    from surgery.checkpoint.weights import WeightFile


def from_bytes(raw: bytearray, dtype: DType) -> Tensor:
    """Elements from their bytes, `Float[Tensor, "count"]`, in float32 (float64 stays)."""
    values = torch.frombuffer(raw, dtype=getattr(torch, dtype.torch_name))
    return values if values.dtype == torch.float64 else values.to(torch.float32)


def to_bytes(values: Tensor, dtype: DType) -> bytes:
    """Return the bytes of `values` after one cast to `dtype`."""
    cast = values.to(getattr(torch, dtype.torch_name)).contiguous()
    return cast.reshape(-1).view(torch.uint8).numpy().tobytes()


def load_rows(file: WeightFile, name: str, rows: slice | None = None) -> Tensor:
    """Rows of a stored matrix (or elements of a vector) in float32; all of them without `rows`."""
    header = file.tensors[name]
    height, width = header.shape[0], header.numel // max(header.shape[0], 1)
    begin, end, _ = (rows or slice(None)).indices(height)
    raw = bytearray((end - begin) * width * header.dtype.size)
    file.read_into(name, begin * width * header.dtype.size, memoryview(raw))
    return from_bytes(raw, header.dtype).reshape(end - begin, *header.shape[1:])


def load_columns(file: WeightFile, name: str, columns: slice) -> Tensor:
    """Columns of a stored matrix, `Float[Tensor, "height columns"]`, in float32."""
    header = file.tensors[name]
    height, width = header.shape
    begin, end, _ = columns.indices(width)
    run = (end - begin) * header.dtype.size
    raw = bytearray(height * run)
    view = memoryview(raw)
    for row in range(height):
        start = (row * width + begin) * header.dtype.size
        file.read_into(name, start, view[row * run : (row + 1) * run])
    return from_bytes(raw, header.dtype).reshape(height, end - begin)


def changed(weight: Tensor, left: Tensor, right: Tensor, scaling: float) -> Tensor:
    """Hu et al. 2021 (arXiv 2106.09685), equation 3: `W + s B A`.

    Args:
        weight: `Float[Tensor, "rows width"]`.
        left: `Float[Tensor, "rows rank"]`.
        right: `Float[Tensor, "rank width"]`.
        scaling: s.

    Returns:
        `Float[Tensor, "rows width"]`.
    """
    return weight + (left @ right).mul_(scaling)


def rescaled(weight: Tensor, magnitude: Tensor) -> Tensor:
    """Rescale the rows of `weight` to learned magnitudes (arXiv 2402.09353, equation 5).

    Args:
        weight: `Float[Tensor, "rows width"]`, V.
        magnitude: `Float[Tensor, "rows"]`, m.

    Returns:
        `m V / ||V||`, the norm taken along each row.
    """
    norm: Tensor = torch.linalg.vector_norm(weight, dim=1)
    return (magnitude / norm).unsqueeze(1) * weight
