"""Prove a merged folder: every tensor against its ledger, its inputs and its method."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from surgery.checkpoint.digest import digest_tensor
from surgery.checkpoint.folder import read_file
from surgery.checkpoint.ledger import LEDGER, read_ledger
from surgery.checkpoint.local import LocalCheckpoint
from surgery.checkpoint.open import open_checkpoint, open_recorded
from surgery.checkpoint.progress import no_progress
from surgery.errors import CheckpointError, PlanError, SurgeryError
from surgery.execute.fetch import prefetch
from surgery.execute.files import CARD, RESULTS, WRITTEN, companions
from surgery.execute.inventory import merge_files, unexpected_entries
from surgery.execute.layout import layout_on_disk, listed_layout, planned_layout
from surgery.execute.work import copy_place
from surgery.plan import make_plan
from surgery.recipe.load import PUBLISHED, parse_recipe
from surgery.version import __version__

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from surgery.checkpoint.ledger import Ledger, TensorEntry
    from surgery.checkpoint.progress import Progress
    from surgery.checkpoint.source import Checkpoint, Remote
    from surgery.plan import Plan, TensorOp
    from surgery.recipe.recipe import Recipe, Reference


# Messages by (in the folder, expected).
_LAYOUT = {
    (True, True): "has another header or index than the merge wrote: names, order, metadata or "
    "padding changed",
    (True, False): "is not part of the merge: neither the ledger nor the recipe has this file",
    (False, True): "is missing",
}


@dataclass(frozen=True)
class Fault:
    """A failed check.

    Attributes:
        where: A tensor, a file or a model.
        what: What was found and what the ledger says.
    """

    where: str
    what: str


@dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    Attributes:
        tensors: How many output tensors were hashed.
        copies: How many are the bytes of a named input tensor, hashed there too.
        recomputed: How many were computed again from their inputs, with the same result.
        files: How many other files were hashed.
        inputs: Whether the inputs were looked at.
        faults: What does not hold; empty for a sound folder.
    """

    tensors: int = 0
    copies: int = 0
    recomputed: int = 0
    files: int = 0
    inputs: bool = True
    faults: tuple[Fault, ...] = ()

    @property
    def ok(self) -> bool:
        """True if every check passed."""
        return not self.faults


def verify(
    out: Path,
    models: Mapping[str, str] | None = None,
    *,
    inputs: bool = True,
    remote: Remote | None = None,
    progress: Progress = no_progress,
) -> Verification:
    """Hash everything in a merged folder, and recompute its computed tensors.

    Nothing remembered from earlier runs is trusted.

    Args:
        out: What a merge wrote.
        models: Where the recipe's models are now, for those that moved.
        inputs: Whether to read the inputs too; without them only the folder itself is proven.
        remote: How inputs on the Hub come here; as for `open_checkpoint`.
        progress: Called with the number of output bytes as they are checked.

    Returns:
        Counts and faults.

    Raises:
        SurgeryError: If the folder has no ledger or is not readable, an input is not there, or
            one of them changes meanwhile.
    """
    ledger = read_ledger(out)
    with LocalCheckpoint(out) as local_checkpoint:
        faults = [
            *_headers(local_checkpoint, ledger),
            *_contents(local_checkpoint, ledger, progress),
        ]
        layout = layout_on_disk(local_checkpoint)
        faults += [*_layout(layout, listed_layout(ledger, local_checkpoint)), *_files(out, ledger)]
        local_checkpoint.check_unchanged()
    result = Verification(
        tensors=len(ledger.tensors),
        files=len(ledger.files),
        inputs=inputs,
        faults=tuple(faults),
    )
    if not inputs:
        return result
    recipe = parse_recipe(ledger.recipe, str(out / LEDGER), models)
    moved = frozenset(models or ())
    faults += _provenance(recipe, ledger, moved)
    if faults:
        return replace(result, faults=tuple(faults))
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(
                _open(name, reference, ledger.models[name].revision, moved, remote)
            )
            for name, reference in recipe.models.items()
        }
        faults += _models(opened, ledger, moved)
        plan = make_plan(recipe, opened)
        _check_engine(plan, ledger)
        faults += _layout(layout, planned_layout(plan))
        faults += _companions(_as_written(plan, ledger, moved), ledger)
        prefetch(plan, opened)
        result = _proof(replace(result, faults=tuple(faults)), plan, opened, ledger, progress)
        for checkpoint in opened.values():
            checkpoint.check_unchanged()
        return result


def _provenance(recipe: Recipe, ledger: Ledger, moved: Collection[str]) -> list[Fault]:
    """Check that the recipe and the ledger name the same models."""
    faults = []
    for name in dict.fromkeys([*recipe.models, *ledger.models]):
        entry, reference = ledger.models.get(name), recipe.models.get(name)
        if entry is None or reference is None:
            faults.append(Fault(name, "is a model of the recipe or of the ledger, but not of both"))
        elif name not in moved and str(reference) != entry.reference:
            difference = f"is {reference} in the recipe and {entry.reference} in the ledger"
            faults.append(Fault(name, difference))
    return faults


def _open(
    name: str,
    reference: Reference | None,
    revision: str | None,
    moved: Collection[str],
    remote: Remote | None,
) -> Checkpoint:
    """Open an input, at the commit it was read at or where the user says it is now."""
    assert reference is not None  # _provenance has looked
    try:
        if name in moved:
            return open_checkpoint(reference, remote)
        return open_recorded(reference, revision, remote)
    except SurgeryError as error:
        raise PlanError(
            f"input {name!r} is needed for the proof: {error} Bind it with '--model {name}=REF', "
            f"or check the folder alone with '--no-inputs'."
        ) from error


def _check_engine(plan: Plan, ledger: Ledger) -> None:
    """Refuse to repeat what mergekit's own engine, once an option, computed.

    Raises:
        PlanError: If the ledger names that engine and some tensor was computed.
    """
    if ledger.engine == "mergekit" and not all(op.is_copy for op in plan.ops):
        raise PlanError(
            "this merge was computed with '--engine mergekit', an option of an earlier version, so "
            "its tensors cannot be computed again for the proof. Make the merge again with "
            "'surgery merge', or check the folder alone with '--no-inputs'."
        )


def _headers(checkpoint: LocalCheckpoint, ledger: Ledger) -> list[Fault]:
    """Check that the folder has the ledger's tensors: names, shapes, types and files."""
    faults = []
    headers = checkpoint.info.tensors
    entries = {entry.name: entry for entry in ledger.tensors}
    faults += [
        Fault(name, "is in the folder but not in the ledger")
        for name in headers.keys() - entries.keys()
    ]
    for name, entry in entries.items():
        header = headers.get(name)
        if header is None:
            faults.append(Fault(name, "is in the ledger but not in the folder"))
        elif (header.dtype, header.shape, header.shard) != (entry.dtype, entry.shape, entry.shard):
            faults.append(
                Fault(
                    name,
                    f"is {header.dtype} {list(header.shape)} in {header.shard}; the ledger says "
                    f"{entry.dtype} {list(entry.shape)} in {entry.shard}",
                )
            )
    return sorted(faults, key=lambda fault: fault.where)


def _layout(actual: Mapping[str, str], expected: Mapping[str, str]) -> list[Fault]:
    """Compare headers, with the metadata in them, and the index."""
    return [
        Fault(name, _LAYOUT[name in actual, name in expected])
        for name in sorted(actual.keys() | expected.keys())
        if actual.get(name) != expected.get(name)
    ]


def _models(
    checkpoints: Mapping[str, Checkpoint], ledger: Ledger, moved: Collection[str]
) -> list[Fault]:
    """Check that the inputs are those that the ledger names."""
    faults = []
    for name, checkpoint in checkpoints.items():
        entry, info = ledger.models[name], checkpoint.info
        if info.fingerprint != entry.fingerprint:
            fault = "has other tensors, or another configuration, than when it was merged"
            faults.append(Fault(name, fault))
        if name not in moved and info.revision != entry.revision:
            fault = f"is at {info.revision or 'no commit'}; the ledger says {entry.revision}"
            faults.append(Fault(name, fault))
    return faults


def _contents(checkpoint: LocalCheckpoint, ledger: Ledger, progress: Progress) -> list[Fault]:
    """Check that every tensor's bytes have the ledger's hash."""
    faults = []
    for entry in ledger.tensors:
        if entry.name not in checkpoint.info.tensors:
            continue
        digest = digest_tensor(checkpoint, entry.name, progress)
        if digest != entry.sha256:
            faults.append(
                Fault(
                    entry.name,
                    f"has sha256 {digest[:16]}..., the ledger says {entry.sha256[:16]}...",
                )
            )
    return faults


def _files(out: Path, ledger: Ledger) -> list[Fault]:
    """Check that the files next to the weights are as written, and that no others exist."""
    faults = []
    for entry in ledger.files:
        try:
            data = read_file(out, entry.name)
        except CheckpointError as error:
            faults.append(Fault(entry.name, f"cannot be read: {error}"))
            continue
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            faults.append(Fault(entry.name, "was changed after the merge"))
        if entry.source is None and entry.name not in WRITTEN and not _is_result(entry.name):
            faults.append(Fault(entry.name, "follows no model, and is nothing a merge has"))
    unexpected = unexpected_entries(out, merge_files(ledger))
    return faults + [Fault(name, problem) for name, problem in unexpected]


def _is_result(name: str) -> bool:
    """Check that a file holds scores for the Hub."""
    return name.startswith(RESULTS) and name.endswith(".yaml")


def _as_written(plan: Plan, ledger: Ledger, moved: Collection[str]) -> Plan:
    """Return the plan with the models where they were at the merge: the card names them."""
    references = parse_recipe(ledger.recipe, LEDGER).models
    models = {n: references[n] if n in moved else model for n, model in plan.recipe.models.items()}
    infos = {
        n: replace(info, revision=ledger.models[n].revision) for n, info in plan.models.items()
    }
    return replace(plan, recipe=replace(plan.recipe, models=models), models=infos)


def _companions(plan: Plan, ledger: Ledger) -> list[Fault]:
    """Check that the ledger lists the files that the base and the recipe give, and no others."""
    entries = {entry.name: (entry.sha256, entry.source) for entry in ledger.files}
    expected = {
        name: (hashlib.sha256(data).hexdigest(), source)
        for name, (data, source) in companions(plan).items()
    }
    if PUBLISHED in entries or ledger.versions.get("vlm-surgery") != __version__:
        # Publishing writes another card, and so may another version.
        expected[CARD] = entries.get(CARD, expected[CARD])
    return [
        Fault(name, f"is not what the base {plan.recipe.base!r} and the recipe give")
        for name in sorted(entries.keys() | expected.keys())
        if entries.get(name) != expected.get(name) and not _is_published(name)
    ]


def _is_published(name: str) -> bool:
    """Check that a file is one that publishing adds for people."""
    return (name in WRITTEN and name != CARD) or _is_result(name)


def _proof(
    result: Verification,
    plan: Plan,
    checkpoints: Mapping[str, Checkpoint],
    ledger: Ledger,
    progress: Progress,
) -> Verification:
    """Plan the merge again and compare plan and results with the ledger."""
    entries = {entry.name: entry for entry in ledger.tensors}
    faults = list(result.faults)
    faults += [
        Fault(name, "is in the ledger, but the recipe does not make it")
        for name in sorted(entries.keys() - {op.name for op in plan.ops})
    ]
    copies = recomputed = 0
    for op in plan.ops:
        entry = entries.get(op.name)
        if entry is None or not _same_op(op, entry):
            faults.append(
                Fault(op.name, "is made in another way by the recipe than the ledger says")
            )
            continue
        moved = copy_place(op, checkpoints) is not None
        if _digest(op, checkpoints, moved=moved) != entry.sha256:
            faults.append(Fault(op.name, _differs(moved, ledger.versions)))
        copies, recomputed = copies + moved, recomputed + (not moved)
        progress(op.nbytes)
    return replace(result, copies=copies, recomputed=recomputed, faults=tuple(faults))


def _differs(moved: bool, versions: Mapping[str, str]) -> str:
    """Return the reason why a tensor may differ from the written one."""
    if moved:
        return "is not what the input holds now"
    version_text = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"comes out differently: an input changed, or other versions made it ({version_text})"


def _same_op(op: TensorOp, entry: TensorEntry) -> bool:
    inputs = [(ref.model, ref.tensor) for ref in op.inputs]
    parameters = json.loads(json.dumps(op.operation.parameters, default=dict))
    return (op.method, parameters, inputs, op.dtype, op.shape, op.shard) == (
        entry.method,
        entry.parameters,
        [(i.model, i.tensor) for i in entry.inputs],
        entry.dtype,
        entry.shape,
        entry.shard,
    )


def _digest(op: TensorOp, checkpoints: Mapping[str, Checkpoint], *, moved: bool) -> str:
    """Hash the result of an operation: a moved tensor at its source, others from their inputs."""
    if moved:
        (ref,) = op.inputs
        return digest_tensor(checkpoints[ref.model], ref.tensor)
    from surgery.execute.stream import stream
    from surgery.execute.tensor import inputs_of

    return stream(op, inputs_of(op, checkpoints), lambda _start, _data: None, lambda _: None)
