"""One operation's output as a tensor in memory instead of a file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from surgery.execute.stream import Input, memory_of, stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from surgery.checkpoint.source import Checkpoint
    from surgery.plan.model import TensorOp


def compute(op: TensorOp, checkpoints: Mapping[str, Checkpoint]) -> Tensor:
    """Carry out one op, bit for bit as a merge would write it.

    Args:
        op: What to compute.
        checkpoints: The recipe's models, open.

    Returns:
        `Tensor` of the op's shape and element type, on the CPU.
    """
    flat = torch.empty(op.numel, dtype=getattr(torch, op.dtype.torch_name))
    if op.numel:
        memory = memory_of(flat)

        def write(start: int, data: memoryview) -> None:
            memory[start : start + len(data)] = data

        if op.is_copy:
            (ref,) = op.inputs
            checkpoints[ref.model].read_into(ref.tensor, 0, memory)
        else:
            stream(op, inputs_of(op, checkpoints), write, lambda _: None)
    return flat.view(op.shape)


def inputs_of(op: TensorOp, checkpoints: Mapping[str, Checkpoint]) -> tuple[Input, ...]:
    """Readers for an op's inputs.

    Args:
        op: Whose inputs.
        checkpoints: The recipe's models, open.
    """
    tensors = []
    for ref in op.inputs:
        checkpoint = checkpoints[ref.model]
        dtype = checkpoint.info.tensors[ref.tensor].dtype
        tensors.append(Input(dtype, partial(checkpoint.read_into, ref.tensor)))
    return tuple(tensors)
