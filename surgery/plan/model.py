"""The parts of a plan: one op per output tensor, and an account of every input tensor."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from surgery.methods.operations import ByteCopy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from surgery.arch.site import Architecture, Site
    from surgery.checkpoint.dtype import DType
    from surgery.checkpoint.source import CheckpointInfo
    from surgery.methods.operations import Operation
    from surgery.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True)
class TensorRef:
    """One tensor of one of the recipe's models."""

    model: str
    tensor: str


@dataclass(frozen=True, slots=True)
class TensorOp:
    """The origin of one output tensor.

    Attributes:
        name: Its name in the output, which is the base's spelling.
        site: Its place in the model.
        shape: Its shape.
        dtype: Its element type in the output.
        shard: The output file it goes to.
        operation: What is done with the inputs.
        inputs: The tensors it is made from, in the order the operation wants them.
        step: Index of the recipe step that decided it, or None when it comes from the base.
    """

    name: str
    site: Site
    shape: tuple[int, ...]
    dtype: DType
    shard: str
    operation: Operation
    inputs: tuple[TensorRef, ...]
    step: int | None = None

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the output."""
        return self.numel * self.dtype.size

    @property
    def is_copy(self) -> bool:
        """True if it only moves bytes."""
        return isinstance(self.operation, ByteCopy)

    @property
    def method(self) -> str:
        """The name people know its operation by."""
        return self.operation.name

    @property
    def source(self) -> str:
        """The models whose weights it carries, for example `rl` or `in+rl`."""
        return "+".join(dict.fromkeys(ref.model for ref in self.inputs))


@dataclass(frozen=True)
class Conservation:
    """An account of one model's tensors: none is dropped without a name.

    Attributes:
        used: Read by some op.
        replaced: At a site of the output that a step fills from elsewhere.
        unused: At a site of the output, and not asked for.
        absent: Without a site in the output at all.
    """

    used: tuple[str, ...]
    replaced: tuple[str, ...]
    unused: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A recipe resolved against real headers.

    Attributes:
        recipe: The recipe.
        ops: One op per output tensor, in the order of the output files.
        models: Headers of every model by its name in the recipe.
        architectures: Their sites.
        shards: Output file names, in order.
        conservation: The account of each model's tensors.
        notes: Sentences a person should see.
    """

    recipe: Recipe
    ops: tuple[TensorOp, ...]
    models: Mapping[str, CheckpointInfo]
    architectures: Mapping[str, Architecture]
    shards: tuple[str, ...]
    conservation: Mapping[str, Conservation]
    notes: tuple[str, ...] = ()

    @property
    def base(self) -> CheckpointInfo:
        """The model that every unnamed tensor comes from."""
        return self.models[self.recipe.base]

    @property
    def architecture(self) -> Architecture:
        """The sites of the base, and so of the output."""
        return self.architectures[self.recipe.base]

    @property
    def nbytes(self) -> int:
        """Bytes of weights in the output."""
        return sum(op.nbytes for op in self.ops)

    def ops_of(self, step: int) -> list[TensorOp]:
        """Return the ops that a step of the recipe decided, by its index."""
        return [op for op in self.ops if op.step == step]

    def changes(self) -> Iterator[TensorOp]:
        """Yield the ops whose result is not simply the base's own tensor."""
        for op in self.ops:
            if op.step is not None or not op.is_copy:
                yield op
