"""The file layout of an output: the headers of its weight files, and the index."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from surgery.checkpoint.folder import INDEX, read_file
from surgery.checkpoint.shard import lay_out
from surgery.checkpoint.write import index_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from surgery.checkpoint.ledger import Ledger
    from surgery.checkpoint.local import LocalCheckpoint
    from surgery.checkpoint.shard import TensorSpec
    from surgery.plan.model import Plan, TensorOp


def shard_ops(plan: Plan) -> dict[str, list[TensorOp]]:
    """Return the operations of every output file, in the order of its tensors."""
    shards: dict[str, list[TensorOp]] = {name: [] for name in plan.shards}
    for op in plan.ops:
        shards[op.shard].append(op)
    return shards


def shard_metadata(plan: Plan, name: str) -> Mapping[str, str]:
    """Return the `__metadata__` of an output file: the base's, or what transformers asks for."""
    return plan.base.metadata.get(name) or {"format": "pt"}


def has_index(plan: Plan) -> bool:
    """Check that the output has an index: a single file has one where the base has one."""
    return len(plan.shards) > 1 or (plan.base.folder / INDEX).is_file()


def planned_layout(plan: Plan) -> dict[str, str]:
    """Return the sha256 of each header, and of the index, that a plan gives; by file name."""
    metadata = {name: shard_metadata(plan, name) for name in plan.shards}
    return _digests(shard_ops(plan), metadata, index=has_index(plan))


def listed_layout(ledger: Ledger, checkpoint: LocalCheckpoint) -> dict[str, str]:
    """Return the same for the tensors that a ledger lists.

    Ledgers of format 1 do not say what the headers were. The metadata is then taken from the
    files, and an index is expected where there is one.
    """
    if ledger.layout:
        return dict(ledger.layout)
    shards = dict.fromkeys(entry.shard for entry in ledger.tensors)
    tensors = {name: [t for t in ledger.tensors if t.shard == name] for name in shards}
    index = len(shards) > 1 or (checkpoint.info.folder / INDEX).exists()
    return _digests(tensors, checkpoint.info.metadata, index=index)


def layout_on_disk(checkpoint: LocalCheckpoint) -> dict[str, str]:
    """Return the same for a folder.

    Raises:
        CheckpointError: If the index cannot be read.
    """
    digests = {
        name: sha256(checkpoint.raw_header(name)).hexdigest() for name in checkpoint.info.shards
    }
    if (checkpoint.info.folder / INDEX).exists():
        digests[INDEX] = sha256(read_file(checkpoint.info.folder, INDEX)).hexdigest()
    return digests


def _digests(
    shards: Mapping[str, Sequence[TensorSpec]],
    metadata: Mapping[str, Mapping[str, str]],
    *,
    index: bool,
) -> dict[str, str]:
    layouts = {name: lay_out(ops, metadata.get(name, {})) for name, ops in shards.items()}
    digests = {name: sha256(layout.header).hexdigest() for name, layout in layouts.items()}
    if index:
        digests[INDEX] = sha256(index_json(layouts)).hexdigest()
    return digests
