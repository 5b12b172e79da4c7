"""A plan as rows of cells: one row per part of the model, one cell per layer."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, TypeAlias

from surgery.arch.site import Component, Module
from surgery.methods.operations import ByteCopy, Cast, Linear, Slerp, TaskArithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from surgery.arch.site import Site
    from surgery.methods.operations import Operation
    from surgery.plan.model import Plan, TensorOp

# A block that falls into more parts than this (the experts of a layer) is shown as one.
_MOST_PARTS = 12
_LEAF_ENDS = frozenset({"weight", "bias", "scale"})

_MODULES = {module: index for index, module in enumerate(Module)}

ADDED, MERGED, SEVERAL = "+", "#", "~"


@dataclass(frozen=True)
class Fill:
    """The origin of a tensor, or of a block of tensors that share it.

    Attributes:
        operation: Its class; a copy stands for a cast too, whose source is the same.
        models: From which models, in the order of the op's inputs.
        amount: `t` of an interpolation, weight of an addition, otherwise None.
        method: The method of a merge, otherwise the operation's name.
    """

    operation: type[Operation]
    models: tuple[str, ...]
    amount: float | None
    method: str


_Tensor: TypeAlias = "tuple[Site, Fill]"


@dataclass(frozen=True)
class LayerRow:
    """One line of the picture.

    Attributes:
        label: What stands before it.
        depth: 0 for a component, 1 for a module of it, 2 for a part of a module.
        cells: The fill of each layer, or of the whole where there are no layers; None where
            tensors of several fills meet in one block. No cells for a heading.
        layers: The cells' layer numbers; empty outside the layers.
    """

    label: str
    depth: int
    cells: tuple[Fill | None, ...]
    layers: tuple[int, ...]


def fill(op: TensorOp) -> Fill:
    """Return what an op's output is made of."""
    models = tuple(ref.model for ref in op.inputs)
    match op.operation:
        case ByteCopy() | Cast():
            return Fill(ByteCopy, models, None, ByteCopy.kind)
        case Linear(amount) | Slerp(amount) | TaskArithmetic(amount):
            return Fill(type(op.operation), models, amount, op.method)
        case _:
            return Fill(type(op.operation), models, None, op.method)


def letters(models: Iterable[str]) -> dict[str, str]:
    """One capital letter per model: the first of its name that is still free."""
    taken: dict[str, str] = {}
    for name in models:
        candidates = [c for c in name.upper() if c in ascii_uppercase] + list(ascii_uppercase)
        taken[name] = next((c for c in candidates if c not in taken.values()), "?")
    return taken


def symbol(cell: Fill | None, named: Mapping[str, str]) -> str:
    """Return the character of a cell; interpolations show t in tenths, 1 to 9."""
    if cell is None:
        return SEVERAL
    if cell.operation is ByteCopy:
        return named[cell.models[0]]
    if cell.operation in (Linear, Slerp):
        return str(min(9, max(1, round(10 * (cell.amount or 0.0)))))
    return ADDED if cell.operation is TaskArithmetic else MERGED


def rows(plan: Plan) -> tuple[LayerRow, ...]:
    """Return the rows of a plan's picture, in the order in which data flows through the model.

    A component whose layers each come from one place is one row. Where attention, mlp and norm of
    a layer differ there is a row for each, and where the tensors inside one of these differ, a row
    for each of them.
    """
    layer_rows: list[LayerRow] = []
    tensors: dict[Component, list[_Tensor]] = {component: [] for component in Component}
    for op in plan.ops:
        tensors[op.site.component].append((op.site, fill(op)))
    for component, members in tensors.items():
        inside = [(site, cell) for site, cell in members if site.layer is not None]
        outside = [(site, cell) for site, cell in members if site.layer is None]
        if inside:
            layer_rows += _split(component.value, inside, _by_module, 0)
        if outside:
            label = f"{component} (rest)" if inside else component.value
            layer_rows += _split(label, outside, _by_module, 0)
        if component is Component.HEAD and not members and plan.architecture.tied_head:
            layer_rows += _tied_head(tensors[Component.EMBEDDING])
    return tuple(layer_rows)


def components(layer_rows: Iterable[LayerRow]) -> Iterator[list[LayerRow]]:
    """Rows that stand under one component."""
    group: list[LayerRow] = []
    for row in layer_rows:
        if group and row.depth == 0:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def numbered(group: Sequence[LayerRow], band: Sequence[int]) -> list[int]:
    """Layers of a component that are worth a number, the most wanted first.

    The last goes first: how many layers there are is what readers look for. Then come those where
    a source begins.

    Args:
        group: The component's rows.
        band: The layers that are drawn next to each other.
    """
    return [band[-1], band[0], *sorted(_changes(group) & set(band[1:]))]


def _changes(group: Sequence[LayerRow]) -> set[int]:
    """Layers that are made otherwise than the layer before."""
    changes = set()
    for row in group:
        for i in range(1, len(row.cells)):
            if row.layers and row.cells[i] != row.cells[i - 1]:
                changes.add(row.layers[i])
    return changes


def _tied_head(embedding: Sequence[_Tensor]) -> list[LayerRow]:
    """Return the row of an output head that is tied to the embedding."""
    return [_row("head (tied)", embedding, 0)] if embedding else []


def _split(
    label: str, tensors: Sequence[_Tensor], by: Callable[[Site], str] | None, depth: int
) -> list[LayerRow]:
    """Return one row where every cell has one fill, otherwise a heading and rows of parts."""
    whole = _row(label, tensors, depth)
    if by is None or None not in whole.cells:
        return [whole]
    parts: dict[str, list[_Tensor]] = {}
    for tensor in sorted(tensors, key=_module_order) if by is _by_module else tensors:
        parts.setdefault(by(tensor[0]), []).append(tensor)
    finer = _by_leaf if by is _by_module else None
    if len(parts) == 1:
        return _split(label, tensors, finer, depth)
    if len(parts) > _MOST_PARTS:
        return [whole]
    below = [_split(name, part, finer, depth + 1) for name, part in parts.items()]
    return [LayerRow(label, depth, (), whole.layers), *(row for part in below for row in part)]


def _row(label: str, tensors: Iterable[_Tensor], depth: int) -> LayerRow:
    """Return the fill of each layer, where a layer has only one."""
    fills: dict[int | None, set[Fill]] = {}
    for site, cell in tensors:
        fills.setdefault(site.layer, set()).add(cell)
    order = sorted(fills, key=lambda layer: -1 if layer is None else layer)
    cells = tuple(next(iter(fills[place])) if len(fills[place]) == 1 else None for place in order)
    return LayerRow(label, depth, cells, tuple(layer for layer in order if layer is not None))


def _module_order(tensor: _Tensor) -> int:
    return _MODULES[tensor[0].module]


def _by_module(site: Site) -> str:
    return site.module.value


def _by_leaf(site: Site) -> str:
    """Return the leaf without its last part, so that weight and bias stand together."""
    name, _, end = site.leaf.rpartition(".")
    return name if name and end in _LEAF_ENDS else site.leaf
