"""The ways in which an output tensor is made from its inputs, with the parameters of each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Named:
    """The spelling of an operation in plans, ledgers and pictures."""

    kind: ClassVar[str]

    @property
    def name(self) -> str:
        """Return the name that people know it by."""
        return self.kind

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters as a ledger holds them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class ByteCopy(_Named):
    """The bytes of one input, unchanged."""

    kind: ClassVar[str] = "copy"


@dataclass(frozen=True)
class Cast(_Named):
    """One input, rounded to another element type."""

    kind: ClassVar[str] = "cast"


@dataclass(frozen=True)
class Linear(_Named):
    """A point on the line between two inputs: (1 - t) x + t y."""

    kind: ClassVar[str] = "linear"
    t: float


@dataclass(frozen=True)
class Slerp(_Named):
    """A point on the great circle between two inputs, `t` of the way from the first."""

    kind: ClassVar[str] = "slerp"
    t: float


@dataclass(frozen=True)
class TaskArithmetic(_Named):
    """The first input plus a weighted task vector: x + weight (plus - minus)."""

    kind: ClassVar[str] = "add"
    weight: float


@dataclass(frozen=True)
class MergekitMethod(_Named):
    """One of mergekit's methods on whole tensors.

    Attributes:
        method: A key of `METHODS`.
        base: Index of the base among the inputs, or None.
        shared: The parameters that have one value for all inputs.
        per_input: The parameters of each input.
        seed: Where a random method starts for this tensor.
    """

    kind: ClassVar[str] = "merge"
    method: str
    base: int | None
    shared: Mapping[str, Any]
    per_input: tuple[Mapping[str, Any], ...]
    seed: int

    @property
    def name(self) -> str:
        """Return mergekit's name of the method."""
        return self.method


Operation: TypeAlias = ByteCopy | Cast | Linear | Slerp | TaskArithmetic | MergekitMethod
