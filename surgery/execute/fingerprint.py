"""The fingerprint of a model: one hash over all its weights and the files that matter.

A variant swapped into memory and the same variant merged to disk have the same fingerprint; one
bit of one weight makes another.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from surgery.arch.site import Component
from surgery.checkpoint.digest import DigestCache
from surgery.execute.fetch import prefetch
from surgery.execute.files import CARD, companions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.checkpoint.source import Checkpoint
    from surgery.plan.model import Plan, TensorOp

# No response depends on these.
_BESIDE: Final = frozenset({CARD, "LICENSE", "LICENCE", "NOTICE", "COPYING"})
_SEEING: Final = frozenset({Component.VISION, Component.PROJECTOR})


@dataclass(frozen=True)
class Fingerprint:
    """A plan's result, identified by its content.

    Attributes:
        digests: sha256 of every output tensor's bytes, by its name in the output.
        whole: sha256 over all tensors by canonical name, configuration, tokenizer and processor.
        seeing: sha256 over the tensors of vision tower and projector: equal hashes mean the
            same features of the same image.
        state: `state_of` the inputs that were hashed.
    """

    digests: Mapping[str, str]
    whole: str
    seeing: str
    state: str


def fingerprint(
    plan: Plan, checkpoints: Mapping[str, Checkpoint], cache: DigestCache | None = None
) -> Fingerprint:
    """Hash a plan's result without writing it.

    Copied tensors are hashed where they come from, and their hashes remembered for as long as the
    files do not change; computed tensors are computed.

    Args:
        plan: What is made.
        checkpoints: The recipe's models, open.
        cache: Remembered hashes; the user's own when absent.

    Raises:
        CheckpointError: If an input cannot be read, or changed meanwhile.
        ExecutionError: If a tensor cannot be computed.
    """
    cache = cache or DigestCache()
    prefetch(plan, checkpoints)
    digests = {op.name: _digest(op, checkpoints, cache) for op in plan.ops}
    files = _files(plan)
    state = _state(checkpoints, files)
    for checkpoint in checkpoints.values():
        checkpoint.check_unchanged()
    cache.save()
    tensors = sorted(
        (op.site.canonical, op.dtype.value, op.shape, digests[op.name]) for op in plan.ops
    )
    vision_tensors = sorted(
        (op.site.canonical, op.dtype.value, op.shape, digests[op.name])
        for op in plan.ops
        if op.site.component in _SEEING
    )
    return Fingerprint(digests, _hash([tensors, files]), _hash([vision_tensors, files]), state)


def state_of(plan: Plan, checkpoints: Mapping[str, Checkpoint]) -> str:
    """Return text that changes with anything in a fingerprint; reads no weights.

    Args:
        plan: What is made.
        checkpoints: The recipe's models, open.

    Raises:
        CheckpointError: If a file of the base cannot be read.
    """
    return _state(checkpoints, _files(plan))


def _state(checkpoints: Mapping[str, Checkpoint], files: list[tuple[str, str]]) -> str:
    return _hash([[checkpoint.stamp() for checkpoint in checkpoints.values()], files])


def _files(plan: Plan) -> list[tuple[str, str]]:
    """Return the files next to the weights that responses may depend on, with their sha256."""
    return [
        (name, sha256(data).hexdigest())
        for name, (data, _) in companions(plan).items()
        if name.partition(".")[0] not in _BESIDE and name not in _BESIDE
    ]


def _hash(value: object) -> str:
    return sha256(json.dumps(value).encode()).hexdigest()


def _digest(op: TensorOp, checkpoints: Mapping[str, Checkpoint], cache: DigestCache) -> str:
    if op.is_copy:
        (ref,) = op.inputs
        return cache.digest(checkpoints[ref.model], ref.tensor)
    from surgery.execute.stream import memory_of
    from surgery.execute.tensor import compute

    return sha256(memory_of(compute(op, checkpoints).flatten())).hexdigest()
