"""Recipe x architecture x headers -> plan. Pure: no weight is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.arch.site import Architecture, Site
    from surgery.checkpoint.dtype import DType
    from surgery.checkpoint.source import CheckpointInfo


@dataclass(frozen=True)
class TensorRef:
    """One tensor of one of the recipe's models."""

    model: str
    tensor: str


@dataclass(frozen=True)
class TensorOp:
    """How one output tensor comes to be.

    Attributes:
        name: Its name in the output, which is the base's spelling.
        site: Its place in the model.
        shape: Its shape.
        dtype: Its element type in the output.
        shard: The output file it goes to.
        method: `copy`, `cast` (copy into another element type) or a key of `METHODS`.
        inputs: The tensors it is made from, in the order the method wants them.
        parameters: The method's parameters, worked out for this tensor.
        step: Index of the recipe step that decided it, or None when it comes from the base.
    """

    name: str
    site: Site
    shape: tuple[int, ...]
    dtype: DType
    shard: str
    method: str
    inputs: tuple[TensorRef, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None
