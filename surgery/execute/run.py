"""Execution of a plan: the one place where a plan meets bytes."""

from __future__ import annotations

import hashlib
import platform
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from surgery.checkpoint.companions import companion_folders
from surgery.checkpoint.digest import DigestCache
from surgery.checkpoint.folder import INDEX, changed_error
from surgery.checkpoint.ledger import FileEntry, InputEntry, Ledger, ModelEntry, TensorEntry
from surgery.checkpoint.progress import no_progress
from surgery.checkpoint.write import FolderWriter
from surgery.execute.fetch import prefetch
from surgery.execute.files import companions
from surgery.execute.inventory import check_replaceable
from surgery.execute.layout import planned_layout, shard_metadata, shard_ops
from surgery.execute.work import CopyRun, JobStopped, copy_place, default_workers, do_all, runs
from surgery.methods.operations import MergekitMethod
from surgery.plan.validate import validate
from surgery.recipe.dump import to_yaml
from surgery.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from threading import Event

    from surgery.checkpoint.progress import Progress
    from surgery.checkpoint.shard import ShardWriter
    from surgery.checkpoint.source import Checkpoint
    from surgery.plan.model import Plan, TensorOp

# Tensors of this size go to the disk while others are computed, not all at the end.
_FLUSH = 32 << 20


def execute(
    plan: Plan,
    checkpoints: Mapping[str, Checkpoint],
    out: Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Ledger:
    """Write the model that a plan describes.

    The folder appears whole at the end, or not at all. The same plan over the same weights gives
    the same bytes for any number of threads.

    Args:
        plan: The plan.
        checkpoints: The recipe's models, open.
        out: The folder to make.
        workers: Number of threads; one per processor when absent.
        overwrite: Whether a folder that an earlier merge wrote may be replaced.
        progress: Called with the number of output bytes written; from several threads.

    Returns:
        The ledger, as it stands in the folder's `surgery.json`.

    Raises:
        PlanError: If the plan would fail or mislead; nothing was touched then.
        CheckpointError: If an input breaks off or changes.
        ExecutionError: If the disk fails, or `out` holds more than an earlier merge.
    """
    workers = workers or default_workers()
    validate(plan, out, workers=workers)
    if overwrite:
        check_replaceable(out)
    files, layout = companions(plan), planned_layout(plan)
    _import_early(plan, checkpoints)
    with FolderWriter(out, overwrite=overwrite) as folder:
        shards = _shards(plan, folder)
        prefetch(plan, checkpoints)
        work = _Work(plan, checkpoints, shards, progress)
        work.run(workers)
        if INDEX in layout:
            folder.index()
        for name, (data, _) in files.items():
            folder.file(name, data)
        work.remember_copies()
        _check_unchanged(plan, checkpoints, files)
        ledger = _ledger(plan, work, files, layout)
        folder.file("surgery.json", ledger.to_json())
    work.cache.save()
    return ledger


def _check_unchanged(
    plan: Plan, checkpoints: Mapping[str, Checkpoint], files: Mapping[str, object]
) -> None:
    """Check, after the last byte was read, that every input was one and the same model throughout.

    Raises:
        CheckpointError: If a file of an input changed since it was opened.
    """
    for checkpoint in checkpoints.values():
        checkpoint.check_unchanged()
    now = companions(plan)
    for name in sorted(files.keys() | now.keys()):
        if files.get(name) != now.get(name):
            raise changed_error(companion_folders(plan.base).get(name, plan.base.folder) / name)


def _import_early(plan: Plan, checkpoints: Mapping[str, Checkpoint]) -> None:
    """Load what will compute before there is anything to clean up.

    A signal that is turned into an exception in the middle of an import can leave Python's import
    lock held, and the threads that import next would wait for it for ever.
    """
    modules = []
    if any(copy_place(op, checkpoints) is None for op in plan.ops):
        modules.append("surgery.execute.tensor")
    if _uses_mergekit(plan):
        modules.append("mergekit.merge_methods")
    for module in modules:
        import_module(module)


def _uses_mergekit(plan: Plan) -> bool:
    """Check whether one of mergekit's own methods computes a tensor."""
    return any(isinstance(op.operation, MergekitMethod) for op in plan.ops)


def _shards(plan: Plan, folder: FolderWriter) -> dict[str, ShardWriter]:
    """Create every output file, with space for all of its tensors."""
    return {
        name: folder.shard(name, ops, shard_metadata(plan, name))
        for name, ops in shard_ops(plan).items()
    }


class _Work:
    """One execution's state: where tensors go, and the hashes found on the way."""

    def __init__(
        self,
        plan: Plan,
        checkpoints: Mapping[str, Checkpoint],
        shards: Mapping[str, ShardWriter],
        progress: Progress,
    ) -> None:
        self.plan = plan
        self.checkpoints = checkpoints
        self.shards = shards
        self.progress = progress
        self.cache = DigestCache()
        self.outputs: dict[str, str] = {}

    def run(self, workers: int) -> None:
        """Copy, hash and compute on `workers` threads."""
        jobs: list[tuple[int, Callable[[Event], None]]] = []
        for run in runs(self.plan.ops, self.checkpoints):
            jobs.append((run.nbytes, partial(self._copy, run)))
        computed = [op for op in self.plan.ops if copy_place(op, self.checkpoints) is None]
        jobs += [(4 * op.nbytes, partial(self._stream, op)) for op in computed]
        do_all(jobs, workers, self.checkpoints.values())

    def _advance(self, stop: Event) -> Progress:
        """Return a progress function that ends its thread when another one failed."""
        check = self._stop_check(stop)

        def advance(count: int) -> None:
            check(count)
            self.progress(count)

        return advance

    @staticmethod
    def _stop_check(stop: Event) -> Progress:
        """Return a progress function that only ends its thread when another one failed."""

        def check(_: int) -> None:
            if stop.is_set():
                raise JobStopped

        return check

    def _copy(self, run: CopyRun, stop: Event) -> None:
        names = [op.name for op in run.ops]
        shard = self.shards[run.ops[0].shard]
        for op in run.ops:
            (ref,) = op.inputs
            self.checkpoints[ref.model].ensure_local(ref.tensor)
        shard.copy_run(names, run.descriptor, run.offset, self._advance(stop))
        for name in names:
            # Hash the written bytes, not the source and not a remembered value: the source may
            # change between copying and hashing without a change of its times.
            self.outputs[name] = shard.digest(name, self._stop_check(stop))
        shard.flush()

    def remember_copies(self) -> None:
        """Note the hashes of what was copied as their sources'; saved once those are checked."""
        for op in self.plan.ops:
            if copy_place(op, self.checkpoints) is not None:
                (ref,) = op.inputs
                self.cache.remember(self.checkpoints[ref.model], ref.tensor, self.outputs[op.name])

    def _stream(self, op: TensorOp, stop: Event) -> None:
        from surgery.execute.stream import stream
        from surgery.execute.tensor import inputs_of

        shard = self.shards[op.shard]
        digest = stream(
            op, inputs_of(op, self.checkpoints), partial(shard.write, op.name), self._advance(stop)
        )
        if op.nbytes >= _FLUSH:
            shard.flush()
        self.outputs[op.name] = digest


def _ledger(
    plan: Plan,
    work: _Work,
    files: Mapping[str, tuple[bytes, str | None]],
    layout: Mapping[str, str],
) -> Ledger:
    """Return the ledger of a merge, tensor by tensor."""
    versions = {"vlm-surgery": __version__, "python": platform.python_version()}
    if not all(op.is_copy for op in plan.ops):
        versions["torch"] = version("torch")
    if _uses_mergekit(plan):
        versions["mergekit"] = version("mergekit")
    models = {
        name: ModelEntry(info.reference, info.revision, info.fingerprint)
        for name, info in plan.models.items()
    }
    tensors = tuple(
        TensorEntry(
            name=op.name,
            method=op.method,
            parameters=op.operation.parameters,
            inputs=tuple(InputEntry(ref.model, ref.tensor) for ref in op.inputs),
            dtype=op.dtype,
            shape=op.shape,
            shard=op.shard,
            sha256=work.outputs[op.name],
        )
        for op in plan.ops
    )
    return Ledger(
        recipe=to_yaml(plan.recipe),
        models=models,
        versions=versions,
        engine="surgery",
        tensors=tensors,
        files=tuple(
            FileEntry(name, hashlib.sha256(data).hexdigest(), source)
            for name, (data, source) in files.items()
        ),
        layout=layout,
    )
