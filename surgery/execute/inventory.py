"""The entries of a merged folder, compared with its ledger."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final

from surgery.checkpoint.companions import companion_names
from surgery.checkpoint.folder import INDEX, is_snapshot, resolve_inside
from surgery.checkpoint.ledger import LEDGER, read_ledger
from surgery.errors import CheckpointError, ExecutionError
from surgery.execute.files import CARD

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from surgery.checkpoint.ledger import Ledger

# What the Hub's client writes for itself into a folder that it downloads to or uploads from.
_CLIENT: Final = re.compile(
    r"\.gitattributes|\.cache/huggingface/(?:\.gitignore|\.gitignore\.lock|CACHEDIR\.TAG"
    r"|trees/[0-9a-f]{40}\.json|(?:download|upload)/.+\.(?:metadata|lock))"
)
_CLIENT_BYTES: Final = 1 << 20
"""The largest of these, a list of all files in a repository, is some hundred bytes a file."""


def merge_files(ledger: Ledger) -> frozenset[str]:
    """Return the names of the files that belong to a merge."""
    files = (entry.name for entry in ledger.files)
    return frozenset({LEDGER, INDEX, *files, *(entry.shard for entry in ledger.tensors)})


def check_replaceable(folder: Path) -> None:
    """Check that an earlier merge's folder holds nothing that would be lost with it.

    Raises:
        ExecutionError: If it holds anything else.
    """
    if not (folder / LEDGER).is_file():
        return  # the writer of the folder refuses it
    try:
        names = merge_files(read_ledger(folder))
    except CheckpointError:  # damaged: then what any merge may have belongs to this one
        weights = (path.name for path in folder.glob("*.safetensors"))
        names = frozenset({LEDGER, INDEX, CARD, *weights, *companion_names(folder)})
    for name, _ in unexpected_entries(folder, names):
        raise ExecutionError(
            f"{folder / name}: is not part of the merge in {folder} and would be removed with it. "
            "Move it elsewhere, or choose another folder."
        )


def unexpected_entries(folder: Path, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the name of everything in a folder that no merge put there, and what is wrong with it.

    A loader may use any file in the folder: an adapter, code, other weights, a link's target.

    Args:
        folder: What a merge wrote, or a snapshot of it in the Hub's cache.
        names: The names of the files that belong there.

    Raises:
        CheckpointError: If a folder below cannot be read.
    """
    look = _beyond_links if is_snapshot(folder) else os.lstat
    try:
        entries = [(path, look(path)) for path in sorted(_walk(folder))]
    except OSError as error:
        raise CheckpointError(f"{error.filename}: cannot be read: {error.strerror}.") from error
    parents = {path.parent for path, _ in entries}
    for path, status in entries:
        name = path.relative_to(folder).as_posix()
        if stat.S_ISDIR(status.st_mode):
            if path not in parents:
                yield name, "is an empty folder, which no merge makes"
        elif stat.S_ISLNK(status.st_mode):
            yield name, "is a link; a merge writes plain files and folders"
        elif name not in names and not _is_clients(name, status):
            yield name, "is not part of the merge"


def _beyond_links(path: Path) -> os.stat_result:
    """Look at a file of a snapshot, which the client keeps elsewhere; other links stay links."""
    try:
        return resolve_inside(path.parent, path.name).stat()
    except CheckpointError:
        return path.lstat()


def _walk(folder: Path) -> Iterator[Path]:
    """Yield every file, folder and link below a folder; links are not followed."""
    pending = [folder]
    while pending:
        for path in pending.pop().iterdir():
            yield path
            if path.is_dir() and not path.is_symlink():
                pending.append(path)


def _is_clients(name: str, status: os.stat_result) -> bool:
    plain = stat.S_ISREG(status.st_mode) and status.st_size <= _CLIENT_BYTES
    return plain and _CLIENT.fullmatch(name) is not None
