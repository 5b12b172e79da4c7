"""A recipe as the planner sees it: checked, complete, frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.arch.site import Component
    from surgery.checkpoint.dtype import DType
    from surgery.checkpoint.source import AdapterReference
    from surgery.errors import Place
    from surgery.recipe.select import Selector

Reference: TypeAlias = "str | AdapterReference"
Scalar: TypeAlias = float | int | bool


@dataclass(frozen=True)
class Transplant:
    """Selected tensors come from another model, unchanged.

    Attributes:
        selector: Which tensors.
        source: The model they come from.
        place: Where the step stands in its file.
    """

    kind: ClassVar[str] = "transplant"
    selector: Selector
    source: str
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Interpolate:
    """Selected tensors lie between the base's and another model's.

    Attributes:
        selector: Which tensors.
        source: The model at t = 1; the recipe's base is at t = 0.
        method: Along a line, or along a great circle.
        t: One number, or anchors spread evenly over the selected layers.
        place: Where the step stands in its file.
    """

    kind: ClassVar[str] = "interpolate"
    selector: Selector
    source: str
    method: Literal["linear", "slerp"]
    t: tuple[float, ...]
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Add:
    """Task arithmetic: base + weight * (plus - minus).

    Attributes:
        selector: Which tensors.
        plus: The model whose change is wanted.
        minus: The model that change starts from.
        weight: One number, or anchors spread evenly over the selected layers.
        place: Where the step stands in its file.
    """

    kind: ClassVar[str] = "add"
    selector: Selector
    plus: str
    minus: str
    weight: tuple[float, ...]
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Merge:
    """Selected tensors are made by one of the methods of `surgery.methods.table`.

    Attributes:
        selector: Which tensors.
        method: A key of `METHODS`.
        models: Per model, the parameters that have one value per model.
        base: The model that deltas are taken from; None where the method takes no base.
        parameters: The parameters that have one value for all.
        seed: Where random methods start.
        place: Where the step stands in its file.
    """

    kind: ClassVar[str] = "merge"
    selector: Selector
    method: str
    models: Mapping[str, Mapping[str, Scalar]]
    base: str | None = None
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    seed: int = 0
    place: Place | None = field(default=None, compare=False)


Step: TypeAlias = Transplant | Interpolate | Add | Merge


@dataclass(frozen=True)
class Output:
    """Format of the output.

    Attributes:
        dtype: Element type of floating-point tensors; None keeps the base's.
        max_shard_size: Most bytes of weights in one file; None keeps the base's files.
    """

    dtype: DType | None = None
    max_shard_size: int | None = None


@dataclass(frozen=True)
class Recipe:
    """Models, a base, and steps that say which tensors do not come from it.

    Attributes:
        name: What people call the result.
        description: One or two sentences.
        models: Names to checkpoints; None must be bound before the recipe can be planned.
        base: The model that every tensor comes from unless a step says otherwise.
        cuts: First layer of mid and first layer of late, per component; thirds where absent.
        steps: What to do, in the order of the file.
        output: How to write it.
        vocabulary: Whether models with other vocabularies are refused.
        path: The file it was read from.
    """

    name: str
    models: Mapping[str, Reference | None]
    base: str
    steps: tuple[Step, ...]
    description: str = ""
    cuts: Mapping[Component, tuple[int, int]] = field(default_factory=dict)
    output: Output = field(default_factory=Output)
    vocabulary: Literal["same", "ignore"] = "same"
    path: Path | None = field(default=None, compare=False)

    @property
    def unbound(self) -> tuple[str, ...]:
        """Names of models that still need a checkpoint."""
        return tuple(name for name, reference in self.models.items() if reference is None)
