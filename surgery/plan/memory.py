"""The memory that a plan will need: integer arithmetic on shapes, nothing measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.methods.block import BLOCK
from surgery.methods.operations import MergekitMethod

if TYPE_CHECKING:
    from surgery.plan.model import Plan, TensorOp

INTERPRETER = 130 << 20
"""Python with this package and the command line's libraries, upper bound."""

TORCH = 440 << 20
"""The imports of torch and, for `merge`, of mergekit, upper bound."""

COPY = 1 << 20
"""The buffers of one thread that moves bytes."""


_RAM = frozenset({"ram", "ramplus_tl"})


def projected_memory(plan: Plan, workers: int) -> int:
    """Return an upper bound of the resident memory of carrying `plan` out, in bytes.

    Args:
        plan: The plan.
        workers: The number of threads.
    """
    computed = [op for op in plan.ops if not op.is_copy]
    formed = any(
        ref.tensor in plan.models[ref.model].formed for op in plan.ops for ref in op.inputs
    )
    need = INTERPRETER + workers * COPY
    if computed or formed:
        need += TORCH
    blocks = max((block_memory(plan, op) for op in computed), default=0)
    worst = worst_op(plan)
    return need + workers * blocks + (0 if worst is None else whole_memory(worst))


def block_memory(plan: Plan, op: TensorOp) -> int:
    """Return the bytes of the reused buffers of one thread that streams `op`."""
    stored = [plan.models[ref.model].tensors[ref.tensor].dtype.size for ref in op.inputs]
    work = 8 if 8 in stored else 4
    return BLOCK * (sum(stored) + work * (len(stored) + 2) + op.dtype.size)


def whole_memory(op: TensorOp) -> int:
    """Return the bytes that one of mergekit's methods needs for `op`.

    Every input and its delta in float32, plus a sort by magnitude: 8-byte indices, twice,
    masks and products. RAM instead holds five products and a mask for each delta, plus
    two 8-byte counts of them.
    """
    if not isinstance(op.operation, MergekitMethod):
        return 0
    count = len(op.inputs)
    sorting, products = 4 * (2 * count + 8), 4 * count + 21 * (count - 1) + 18
    return op.numel * (max(sorting, products) if op.operation.method in _RAM else sorting)


def worst_op(plan: Plan) -> TensorOp | None:
    """Return the op that needs the most memory, or None where nothing needs a whole tensor."""
    whole = [op for op in plan.ops if isinstance(op.operation, MergekitMethod)]
    return max(whole, key=whole_memory, default=None)
