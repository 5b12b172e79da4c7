"""From a reference, as a recipe writes it, to an open checkpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from surgery import specimen
from surgery.checkpoint.local import LocalCheckpoint
from surgery.checkpoint.source import AdapterReference
from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from surgery.checkpoint.source import Checkpoint, Remote

_HUB = re.compile(r"(?P<scheme>hf://)?(?P<repo>[^/@\s]+/[^/@\s]+?)/?(@(?P<revision>[^@\s]+))?")


def open_checkpoint(reference: str | AdapterReference, remote: Remote | None = None) -> Checkpoint:
    """Open a checkpoint: read its headers and make its bytes available.

    Args:
        reference: A folder, a Hub id `org/name@revision` (also `hf://org/name`), or a base with an
            adapter. A folder that exists wins over a Hub id; `./x`, `../x`, `/x` and `~/x` are
            always folders. `specimen:base`, `specimen:in`, `specimen:rl` and the like are the
            models that ship with this package. `BASE + ADAPTER`, with spaces, is a base with an
            adapter.
        remote: How a model on the Hub comes here, if it is not in the Hub's cache: only its headers
            now, and what `Checkpoint.prefetch` or reading asks for then, by range or whole. When
            absent, whole and now.

    Returns:
        The checkpoint; a context manager that closes it.

    Raises:
        CheckpointError: If it cannot be found, fetched or read safely.
    """
    reference = parse_reference(reference)
    if isinstance(reference, str) and "+" in reference:
        try:
            return _open_plain(reference, remote)
        except CheckpointError as error:
            raise CheckpointError(f"{error}{_adapter_hint(reference)}") from error
    if isinstance(reference, AdapterReference):
        from surgery.checkpoint.adapter import AdapterCheckpoint

        folder, revision = find_adapter(reference.adapter)
        base = open_checkpoint(reference.base, remote)
        try:
            return AdapterCheckpoint(base, folder, reference, revision)
        except BaseException:
            base.close()
            raise
    return _open_plain(reference, remote)


def _adapter_hint(reference: str) -> str:
    """Return the right spelling of mergekit's `base+adapter`, for what is no folder."""
    base, _, adapter = reference.partition("+")
    if not base or not adapter or _local_exists(reference):
        return ""
    return (
        f" If {adapter!r} is an adapter of {base!r}, write {{base: {base}, adapter: {adapter}}} in "
        f"a recipe, and '{base} + {adapter}', with spaces, on the command line."
    )


def _local_exists(reference: str) -> bool:
    local = _local_folder(reference)
    return local is not None and local.exists()


def _open_plain(reference: str, remote: Remote | None) -> Checkpoint:
    """Open a folder or a repository."""
    local = _local_folder(reference)
    if local is not None:
        return LocalCheckpoint(local, reference)
    from surgery.checkpoint.hub import fetch_small, fetch_weights

    snapshot = fetch_small(*split_hub_id(reference))
    if remote is not None and not snapshot.is_whole:
        from surgery.checkpoint.remote import RemoteCheckpoint

        return RemoteCheckpoint(snapshot, reference, remote)
    fetch_weights(snapshot)
    return LocalCheckpoint(snapshot.folder, reference, snapshot.commit)


def open_recorded(
    reference: str | AdapterReference, revision: str | None, remote: Remote | None = None
) -> Checkpoint:
    """Open a checkpoint again, at the very commit that a ledger recorded.

    Args:
        reference: As the recipe writes it.
        revision: The value of `CheckpointInfo.revision`.
        remote: As for `open_checkpoint`.

    Returns:
        The checkpoint; a context manager that closes it.

    Raises:
        CheckpointError: If it cannot be found, fetched or read safely.
    """
    return open_checkpoint(pinned_reference(reference, revision), remote)


def parse_reference(reference: str | AdapterReference) -> str | AdapterReference:
    """Split `BASE + ADAPTER`, the text form of an `AdapterReference`."""
    if isinstance(reference, AdapterReference):
        return reference
    base, plus, adapter = (part.strip() for part in reference.partition(" + "))
    if not (base and plus and adapter) or Path(reference).exists():
        return reference
    return AdapterReference(base, adapter)


def pinned_reference(
    reference: str | AdapterReference, commit: str | None
) -> str | AdapterReference:
    """Return a reference pinned to the opened commit; a local reference is unchanged.

    Args:
        reference: Any.
        commit: The value of `CheckpointInfo.revision`; two joined by ` + ` for an adapter.
    """
    reference = parse_reference(reference)
    if isinstance(reference, AdapterReference):
        base, _, adapter = (commit or "").partition(" + ")
        return AdapterReference(_pinned(reference.base, base), _pinned(reference.adapter, adapter))
    return _pinned(reference, commit)


def _pinned(reference: str, commit: str | None) -> str:
    if not commit or commit == "local":
        return reference
    return f"hf://{split_hub_id(reference)[0]}@{commit}"


def find_adapter(reference: str) -> tuple[Path, str | None]:
    """Find, and fetch where needed, the folder of a PEFT adapter.

    Args:
        reference: A folder or a Hub id, by the rules of `open_checkpoint`.

    Returns:
        The folder, and the commit it is a snapshot of.

    Raises:
        CheckpointError: If it cannot be found or fetched.
    """
    local = _local_folder(reference)
    if local is not None:
        return local, None
    from surgery.checkpoint.hub import fetch_adapter

    repo, revision = split_hub_id(reference)
    return fetch_adapter(repo, revision)


def split_hub_id(reference: str) -> tuple[str, str | None]:
    """Split `org/name@revision`.

    Args:
        reference: The id, with or without `hf://` and `@revision`.

    Returns:
        `org/name`, and the revision or None.

    Raises:
        CheckpointError: If it is no Hub id.
    """
    match = _HUB.fullmatch(reference)
    if match is None:
        raise CheckpointError(
            f"{reference[:200]!r} is neither a folder that exists nor a Hub id. Expected a folder "
            "such as ./models/in, or org/name@revision such as Qwen/Qwen2.5-VL-7B-Instruct@main."
        )
    return match["repo"], match["revision"]


def resolve_reference(reference: str) -> str:
    """Return a reference that any program understands: `specimen:rl` becomes a folder.

    Raises:
        SurgeryError: If the specimen has no such stage.
    """
    scheme, colon, stage = reference.partition(":")
    return str(specimen.path(stage)) if colon and scheme == "specimen" else reference


def _local_folder(reference: str) -> Path | None:
    reference = resolve_reference(reference)
    if reference.startswith("hf://"):
        return None
    try:
        usable = bool(reference.encode()) and "\0" not in reference
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise CheckpointError(
            f"{reference[:200]!r} is no model reference; expected a folder or org/name@revision."
        )
    if reference.startswith(("./", "../", "/", "~")) or reference in (".", ".."):
        return _expanded(reference)
    path = Path(reference)
    try:
        return path if path.is_dir() or path.is_file() else None
    except OSError as error:
        raise CheckpointError(f"{reference[:80]!r}...: {error.strerror}.") from error


def _expanded(reference: str) -> Path:
    """Return a path with the home folder expanded, if the system can resolve it."""
    try:
        path = Path(reference).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{reference[:80]!r}: no such folder ({reason}).") from error
    return path
