"""Put a plan into a loaded torch model, in place, and take it out again."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import ExitStack, contextmanager
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import torch

from surgery.arch import resolve
from surgery.arch.fused import parameter_part as held_at
from surgery.errors import ExecutionError, PlanError
from surgery.execute.stream import memory_of
from surgery.execute.tensor import compute
from surgery.recipe import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor, nn

    from surgery.arch import Architecture, Site
    from surgery.checkpoint.source import Checkpoint
    from surgery.plan.model import Plan, TensorOp


class Resident:
    """Tensors of variants that stay on the model's devices from one swap to the next.

    A parameter is then pointed at such a tensor, not written over, so a switch to a variant whose
    tensors are all here takes no time that grows with their size. They are known by content:
    variants that share a tensor share its memory, and each was proven when it came.

    Args:
        limit: Bytes that may be kept; the least recently used go first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._tensors: OrderedDict[tuple[str, torch.dtype, torch.device], Tensor] = OrderedDict()

    def get(self, digest: str, target: Tensor) -> Tensor | None:
        """Return the tensor of a content, as `target` would hold it."""
        key = (digest, target.dtype, target.device)
        if key in self._tensors:
            self._tensors.move_to_end(key)
        return self._tensors.get(key)

    def keep(self, digest: str, tensor: Tensor) -> None:
        """Keep a tensor of a content that was proven."""
        self._tensors[digest, tensor.dtype, tensor.device] = tensor
        self._size += tensor.nbytes
        while self._size > self._limit:
            self._size -= self._tensors.popitem(last=False)[1].nbytes


@contextmanager
def transplanted(
    model: nn.Module,
    plan: Plan,
    checkpoints: Mapping[str, Checkpoint] | None = None,
    digests: Mapping[str, str] | None = None,
    resident: Resident | None = None,
) -> Iterator[nn.Module]:
    """Turn a loaded base model into a plan's variant for the length of a `with` block.

    Only tensors that differ from the base are read and written. Parameters keep their identity,
    element type and device, so optimizers, hooks and tied weights stay valid; the weights that
    were there before come back bit for bit, after an exception too.

    Tensors change one after the other: bytes are copied into a parameter, or its `data` is pointed
    at other memory. No other thread may run, train or save the model from the start of the block
    to its end; it would meet weights of both models.

    Args:
        model: A transformers model that holds the plan's base.
        plan: The variant.
        checkpoints: The recipe's models, open; opened and closed here when absent.
        digests: sha256 that each output tensor must have (`surgery.execute.fingerprint`); what is
            then in the model is hashed and held against them.
        resident: Tensors of earlier variants, to be used again; needs `digests`. Parameters keep
            their identity, but point to other memory inside the block.

    Yields:
        `model` itself.

    Raises:
        CheckpointError: If a checkpoint changed while it was read.
        PlanError: If the model is not of the base's architecture: a changed tensor has no
            parameter, or one of another shape.
        ExecutionError: If what is in the model has another hash.
    """
    changes = list(plan.changes())
    targets = _targets(model, plan, changes)
    with ExitStack() as stack:
        if checkpoints is None:
            checkpoints = stack.enter_context(opened(plan.recipe))
        back: list[Callable[[], object]] = []
        try:
            with torch.no_grad():
                for op in changes:
                    target = targets[op.name]
                    whole = isinstance(target, torch.nn.Parameter)  # or a part of a fused one
                    if resident is None or digests is None or not whole:
                        back.append(partial(target.copy_, target.detach().clone()))
                        target.copy_(compute(op, checkpoints))
                        if digests is not None:
                            _prove(op, target, digests[op.name])
                        continue
                    tensor = resident.get(digests[op.name], target)
                    if tensor is None:
                        tensor = torch.empty_like(target).copy_(compute(op, checkpoints))
                        _prove(op, tensor, digests[op.name])
                        resident.keep(digests[op.name], tensor)
                    back.append(partial(setattr, target, "data", target.data))
                    target.data = tensor
            for checkpoint in checkpoints.values():
                checkpoint.check_unchanged()
            yield model
        finally:
            with torch.no_grad():
                for restore in reversed(back):
                    restore()


def _prove(op: TensorOp, target: Tensor, digest: str) -> None:
    """Hash what the model now holds, in the element type it was stored in."""
    stored = getattr(torch, op.dtype.torch_name)
    if (
        not torch.can_cast(stored, target.dtype)
        or torch.promote_types(stored, target.dtype) != target.dtype
    ):
        return  # the model holds less than the file does: nothing to hold it against
    loaded = target.detach().to("cpu", stored).contiguous()
    if sha256(memory_of(loaded.flatten())).hexdigest() != digest:
        raise ExecutionError(
            f"{op.name} in memory is not what the plan makes: its sha256 is not {digest[:12]}.... "
            f"A checkpoint changed while it was read, or memory is faulty. Run it again."
        )


def _targets(model: nn.Module, plan: Plan, changes: list[TensorOp]) -> dict[str, Tensor]:
    """Return the model's tensor for each op, found by site so that spelling does not matter."""
    state = dict(model.state_dict(keep_vars=True))
    config = getattr(model, "config", None)
    if config is None:
        raise PlanError(
            f"{type(model).__name__} has no configuration. Pass the transformers model itself, not "
            f"a wrapper around it."
        )
    architecture = resolve(config.to_dict(), state)
    if architecture.layers != plan.architecture.layers:
        raise PlanError(
            f"the loaded {type(model).__name__} has {_stacks(architecture)}, the base "
            f"{plan.recipe.base!r} ({plan.base.reference}) {_stacks(plan.architecture)}. Load the "
            f"plan's base to put the variant in."
        )
    names = architecture.names()
    targets = {}
    for op in changes:
        target = _target(op, architecture, names, state)
        if target is None:
            raise PlanError(
                f"the loaded {type(model).__name__} has no parameter for {op.name} "
                f"({op.site.canonical}). It must be the model that the base "
                f"{plan.recipe.base!r} ({plan.base.reference}) loads as."
            )
        if tuple(target.shape) != op.shape:
            raise PlanError(
                f"{op.site.canonical} is {list(target.shape)} in the loaded "
                f"{type(model).__name__}, but the plan makes {op.name} with {list(op.shape)}. Load "
                f"the plan's base, {plan.base.reference}, to put the variant in."
            )
        if target.is_meta:
            raise PlanError(
                f"{op.name} has no memory in the loaded {type(model).__name__}: it is on the meta "
                f"device, or offloaded. Load the model whole, on one device or several."
            )
        targets[op.name] = target
    return targets


def _target(
    op: TensorOp,
    architecture: Architecture,
    names: Mapping[Site, str],
    state: Mapping[str, Tensor],
) -> Tensor | None:
    """Return the parameter an op's result goes to, or a view of the part of it."""
    place = held_at(architecture.family, op.site, op.shape)
    name = names.get(place.site)
    if name is None:
        return state[names[op.site]] if op.site in names else None
    if not place.index and not place.transposed:
        return state[name]
    tensor = state[name].detach()[place.index]
    turned = place.transposed and tuple(tensor.shape) != op.shape
    return tensor.transpose(-1, -2) if turned else tensor


def _stacks(architecture: Architecture) -> str:
    """Return the stacks of an architecture, for people."""
    return ", ".join(f"{count} {part} layers" for part, count in architecture.layers.items())
