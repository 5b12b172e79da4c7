"""The output file of each tensor."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surgery.checkpoint.source import CheckpointInfo
    from surgery.plan.model import TensorOp


def lay_out(
    ops: Sequence[TensorOp], base: CheckpointInfo, max_shard_size: int | None
) -> tuple[tuple[str, ...], tuple[TensorOp, ...]]:
    """Keep the base's files if they fit; otherwise pack tensors in order into new files.

    Args:
        ops: In the base's order, each on its base shard.
        base: The model whose files are followed.
        max_shard_size: Largest weight file in bytes, or None for the base's sizes.

    Returns:
        File names in order, and the ops with their file set. A single tensor larger than the
        limit gets a file of its own.
    """
    sizes: dict[str, int] = dict.fromkeys(base.shards, 0)
    for op in ops:
        sizes[op.shard] += op.nbytes
    if max_shard_size is None or max(sizes.values(), default=0) <= max_shard_size:
        return base.shards, tuple(ops)
    bins: list[list[TensorOp]] = [[]]
    filled = 0
    for op in ops:
        if bins[-1] and filled + op.nbytes > max_shard_size:
            bins.append([])
            filled = 0
        bins[-1].append(op)
        filled += op.nbytes
    names: tuple[str, ...] = ("model.safetensors",)
    if len(bins) > 1:
        names = tuple(f"model-{i + 1:05d}-of-{len(bins):05d}.safetensors" for i in range(len(bins)))
    packed = tuple(
        replace(op, shard=name) for name, ops_of in zip(names, bins, strict=True) for op in ops_of
    )
    return names, packed
