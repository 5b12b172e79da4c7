"""Compute one output tensor block by block, hashing what is written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from threading import Lock, local
from typing import TYPE_CHECKING, Any, Protocol

import torch

from surgery.errors import ExecutionError
from surgery.methods.block import BLOCK
from surgery.methods.operations import Linear, MergekitMethod, Slerp, TaskArithmetic
from surgery.methods.stream import Angle, add_, combine_, linear_, working_dtype
from surgery.methods.whole import merge_tensors
from surgery.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from surgery.checkpoint.dtype import DType
    from surgery.checkpoint.progress import Progress
    from surgery.plan.model import TensorOp


@dataclass(frozen=True)
class Input:
    """One tensor to read.

    Attributes:
        dtype: Its element type.
        read: Fills a buffer from a byte position of the tensor on.
    """

    dtype: DType
    read: Callable[[int, memoryview], None]


class Sink(Protocol):
    """The destination of an output tensor's bytes."""

    def __call__(self, start: int, data: memoryview) -> None:
        """Write `data` from byte `start` of the tensor on."""


_whole_tensors = Lock()
_buffers = local()


def stream(op: TensorOp, inputs: Sequence[Input], write: Sink, progress: Progress) -> str:
    """Compute `op` from its inputs and hand the bytes to `write`, in order.

    Memory is bounded by a few blocks for every elementwise method. Methods of mergekit see whole
    tensors, one op at a time however many threads there are.

    Args:
        op: What to compute; anything but a copy that moves bytes.
        inputs: One for each of the op's inputs.
        write: Takes the output.
        progress: Called with the number of output bytes as they are written.

    Returns:
        sha256 of the output in hex.

    Raises:
        ExecutionError: If the result is not a number the output's element type can hold although
            the inputs were.
    """
    run = _Run(op, inputs, write, progress)
    with one_thread():
        _carry_out(op, run)
    return run.out_hash.hexdigest()


def _carry_out(op: TensorOp, run: _Run) -> None:
    if not op.numel:
        return
    match op.operation:
        case MergekitMethod() as merge:
            with _whole_tensors:
                run.whole(merge)
        case Slerp(t):
            weights = run.angle().weights(t)
            run.blocks(lambda x: combine_(x[0], x[1], weights))
        case Linear(t):
            run.blocks(lambda x: linear_(x[0], x[1], t))
        case TaskArithmetic(weight):
            run.blocks(lambda x: add_(x[0], x[1], x[2], weight))
        case _:
            run.blocks(lambda x: x[0])


class _Run:
    """The state of one op under way."""

    def __init__(
        self,
        op: TensorOp,
        inputs: Sequence[Input],
        write: Sink,
        progress: Progress,
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.write = write
        self.progress = progress
        self.dtypes = [getattr(torch, i.dtype.torch_name) for i in inputs]
        self.work = working_dtype(self.dtypes)
        self.out_dtype = getattr(torch, op.dtype.torch_name)
        self.out_hash = hashlib.sha256()

    def blocks(self, combine: Callable[[list[Tensor]], Tensor]) -> None:
        """Read, combine and write block after block."""
        out = _buffer("out", self.out_dtype, BLOCK)
        for start, raw, loaded in self.load():
            result = combine(loaded)
            count = result.numel()
            out[:count].copy_(result)
            if not self.fits(result):
                self.refuse_overflow(out[:count], raw)
            self.emit(start, out[:count])

    def angle(self) -> Angle:
        """First pass of slerp."""
        angle = Angle()
        for _, _, (x, y) in self.load():
            angle.see(x, y)
        return angle

    def whole(self, merge: MergekitMethod) -> None:
        """Read everything, let mergekit merge, write everything."""
        tensors = [torch.empty(self.op.numel, dtype=self.work) for _ in self.inputs]
        for start, _, loaded in self.load():
            for tensor, part in zip(tensors, loaded, strict=True):
                tensor[start : start + part.numel()].copy_(part)
        shaped = [tensor.view(self.op.shape) for tensor in tensors]
        merged = merge_tensors(self.op.name, shaped, merge).reshape(-1)
        if not self.fits(merged):
            self.refuse_overflow(merged.to(self.out_dtype), tensors)
        del tensors, shaped
        for start in range(0, merged.numel(), BLOCK):
            self.emit(start, merged[start : start + BLOCK].to(self.out_dtype))

    def load(self) -> Iterator[tuple[int, list[Tensor], list[Tensor]]]:
        """Blocks of every input, as stored and in the working type, in buffers that are reused."""
        raw = [_buffer(f"raw{i}", dtype, BLOCK) for i, dtype in enumerate(self.dtypes)]
        work = [_buffer(f"work{i}", self.work, BLOCK) for i in range(len(self.inputs))]
        for start in range(0, self.op.numel, BLOCK):
            count = min(BLOCK, self.op.numel - start)
            for i, source in enumerate(self.inputs):
                source.read(start * source.dtype.size, memory_of(raw[i][:count]))
                work[i][:count].copy_(raw[i][:count])
            yield start, [r[:count] for r in raw], [w[:count] for w in work]

    def fits(self, result: Tensor) -> bool:
        """Check in one pass that the output's element type can hold every number."""
        low, high = torch.aminmax(result)
        limit = torch.finfo(self.out_dtype).max
        return bool((low >= -limit) & (high <= limit))  # false for NaN, too

    def refuse_overflow(self, block: Tensor, inputs: Sequence[Tensor]) -> None:
        """Infinities and NaN may be copied, never made.

        Raises:
            ExecutionError: If finite inputs gave something else.
        """
        overflow = ~block.isfinite()
        for tensor in inputs:
            overflow &= tensor.isfinite()
        if bool(overflow.any()):
            raise ExecutionError(
                f"{self.op.name}: {self.op.method} gives numbers that {self.op.dtype.torch_name} "
                f"cannot hold. Set another 'output: {{dtype: ...}}', or check the step's weights."
            )

    def emit(self, start: int, block: Tensor) -> None:
        """Write one block."""
        view = memory_of(block)
        self.out_hash.update(view)
        self.write(start * self.op.dtype.size, view)
        self.progress(len(view))


def _buffer(role: str, dtype: torch.dtype, count: int) -> Tensor:
    """Return this thread's buffer for `role`, made once."""
    buffers: dict[tuple[str, torch.dtype], Tensor] | None = getattr(_buffers, "held", None)
    if buffers is None:
        buffers = _buffers.held = {}
    if (role, dtype) not in buffers:
        buffers[role, dtype] = torch.empty(count, dtype=dtype)
    return buffers[role, dtype]


def memory_of(tensor: Tensor) -> memoryview:
    """Return a tensor's bytes in the order of its axes: its own memory if it is contiguous."""
    flat = tensor.detach().contiguous().reshape(-1)
    if not flat.numel():
        return memoryview(b"")
    array: Any = flat.view(torch.uint8).numpy()
    return memoryview(array)
