"""The only writer: a model folder appears whole or not at all.

All files go to a temporary folder next to the target. Only when all are complete and synced are
the index and, last of all, `config.json` added, without which nothing loads a folder; then the
folder takes its name in one rename.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from surgery.checkpoint import sibling
from surgery.checkpoint.draft import Draft, clear_drafts
from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.folder import INDEX
from surgery.checkpoint.ledger import LEDGER
from surgery.checkpoint.shard import ShardWriter, lay_out
from surgery.errors import ExecutionError
from surgery.reading import resolve
from surgery.text import first_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import FrameType, TracebackType
    from typing import Self

    from surgery.checkpoint.shard import Layout, TensorSpec

CONFIG = "config.json"

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_OPEN: list[FolderWriter] = []
"""The folders that this process is writing."""


class FolderWriter:
    """Makes one model folder; use it as a context manager.

    Leaving the block without an exception publishes the folder; leaving it with one, Ctrl-C and
    SIGTERM included, removes every trace. Threads that write must have ended before.

    Args:
        target: The folder to make. It must not exist, or be empty.
        overwrite: Whether a folder that this toolkit wrote (it holds `surgery.json`) may be
            replaced. The old one is only removed when the new one stands; both change places in
            one step where the file system can do that (see `surgery.checkpoint.sibling.exchange`).

    Raises:
        ExecutionError: If the target may not be written, or the disk fails.

    Warns:
        UserWarning: If an old folder was replaced in two steps.
    """

    def __init__(self, target: Path, *, overwrite: bool = False) -> None:
        self._target = target
        self._real = resolve(target)
        self._overwrite = overwrite
        self._shards: dict[str, ShardWriter] = {}
        self._late: dict[str, bytes] = {}
        self._names: set[str] = set()
        self._created: list[Path] = []
        self._handlers: dict[int, Any] = {}
        self._draft: Draft | None = None

    @property
    def folder(self) -> Path:
        """The temporary folder, inside the block."""
        if self._draft is None:
            raise ValueError("the folder exists only inside the with block")
        return self._draft.folder

    def __enter__(self) -> Self:
        target = self._real
        self._created = [p for p in (target.parent, *target.parent.parents) if not p.exists()]
        self._catch_signals()
        try:
            with filesystem_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                clear_drafts(target)
                self._check_target(target)
                self._draft = Draft(target)
                self._draft.make()
        except BaseException:
            self._remove()
            raise
        return self

    def _check_target(self, target: Path) -> None:
        for model in target.parents:
            if (model / LEDGER).is_file():
                raise ExecutionError(
                    f"{self._target}: is inside the merged model {model}, whose proof fails with "
                    f"other files in it. Name a folder outside, for example {model}-{target.name}."
                )
        if not target.is_dir():
            if target.exists():
                raise ExecutionError(f"{self._target}: exists and is not a folder. Choose another.")
            return
        if os.path.ismount(target):
            raise ExecutionError(
                f"{self._target}: is a mount point, which a rename cannot replace. "
                f"Name a folder inside it, for example {self._target / 'merged'}."
            )
        entries = sorted(path.name for path in target.iterdir())
        if not entries or (self._overwrite and LEDGER in entries):
            return
        hint = (
            f"It has no {LEDGER}, so it was not written by this toolkit and is not overwritten"
            if self._overwrite
            else "Choose another name, remove it, or say --overwrite if an earlier merge made it"
        )
        listing = first_names(entries)
        raise ExecutionError(f"{self._target}: exists and is not empty ({listing}). {hint}.")

    def shard(
        self, name: str, tensors: Sequence[TensorSpec], metadata: Mapping[str, str] | None = None
    ) -> ShardWriter:
        """Create a weight file of known content, with all its disk space reserved.

        Args:
            name: Its file name.
            tensors: Its tensors, in order.
            metadata: Its `__metadata__`; what transformers asks for when absent.

        Returns:
            The file, to be filled. It is finished and closed with the folder.

        Raises:
            ExecutionError: If there is no room, or the name is taken or no plain name.
        """
        self._claim(name)
        layout = lay_out(tensors, {"format": "pt"} if metadata is None else metadata)
        shard = ShardWriter(self.folder / name, layout, self._target / name)
        self._shards[name] = shard
        return shard

    def file(self, name: str, data: bytes) -> None:
        """Write one other file.

        Args:
            name: Its file name, or a path of plain names below the folder with `/` between them.
                `config.json` is kept back until everything else is there.
            data: Its content.

        Raises:
            ExecutionError: If the name is taken or no plain name, or the disk fails.
        """
        self._claim(name)
        if name in (CONFIG, INDEX):
            self._late[name] = data
        else:
            path = self.folder / name
            with filesystem_errors(self._target / name):
                path.parent.mkdir(parents=True, exist_ok=True)
            _write_synced(path, data, self._target / name)

    def index(self, metadata: Mapping[str, Any] | None = None) -> None:
        """Write the map of tensors to files, as transformers does, over all shards made so far.

        Args:
            metadata: More entries for the index's `metadata`.

        Raises:
            ExecutionError: If the index was written before.
        """
        layouts = {name: shard.layout for name, shard in self._shards.items()}
        self.file(INDEX, index_json(layouts, metadata))

    def _claim(self, name: str) -> None:
        parts = name.split("/")
        if not all(_is_plain(part) for part in parts):
            raise ExecutionError(
                f"{name[:100]!r} is not a path inside the output; expected plain names."
            )
        if name in self._names:
            raise ExecutionError(f"{self._target}: {name!r} would be written twice.")
        self._names.add(name)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._publish()
        finally:
            self._remove()

    def _publish(self) -> None:
        for shard in self._shards.values():
            shard.finish()
        # The configuration comes last: without it no loader takes the folder for a model.
        for name in sorted(self._late, key=lambda name: name == CONFIG):
            _sync_folders(self.folder)
            _write_synced(self.folder / name, self._late[name], self._target / name)
        _sync_folders(self.folder)
        target = self._real
        with filesystem_errors(self._target):
            if self._overwrite and target.is_dir() and any(target.iterdir()):
                self._replace(target)
            else:
                self._rename(target)
        _sync_folder(target.parent)
        self._created = []

    def _rename(self, target: Path) -> None:
        try:
            self.folder.rename(target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise ExecutionError(
                    f"{self._target}: another process created it during the merge. It was not "
                    f"changed; choose another name."
                ) from error
            raise

    def _replace(self, target: Path) -> None:
        """Put the new folder where an old one is, so that one of the two is there at any time."""
        self._check_target(target)  # another process may have written there meanwhile
        if sibling.exchange(self.folder, target):
            return  # the old folder has the temporary name now; cleaning up removes it
        warnings.warn(
            f"{self._target}: this file system cannot exchange two names in one step, so for a "
            "moment there was no model. If a merge is killed in that moment, the next merge there "
            "repairs it.",
            stacklevel=2,
        )
        assert self._draft is not None
        target.rename(self._draft.aside)
        self._rename(target)

    def _remove(self) -> None:
        for shard in self._shards.values():
            shard.abandon()
        self._discard()
        self._draft = None
        self._restore_signals()

    def _discard(self) -> None:
        """Remove the folder that is being made; what it was to replace stands again."""
        if self._draft is not None:
            self._draft.end()
        for parent in self._created:
            # Somebody else may have put something there since.
            with suppress(OSError):
                parent.rmdir()

    def _catch_signals(self) -> None:
        """Clean up after a polite kill, unless the program has its own way with it."""
        if threading.current_thread() is not threading.main_thread():
            return
        _OPEN.append(self)
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                self._handlers[number] = signal.signal(number, _leave)

    def _restore_signals(self) -> None:
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)
        if self in _OPEN:
            _OPEN.remove(self)


def index_json(layouts: Mapping[str, Layout], metadata: Mapping[str, Any] | None = None) -> bytes:
    """Return the map of tensors to files, as transformers writes it.

    Args:
        layouts: What each file holds, by its name.
        metadata: More entries for the index's `metadata`.
    """
    total = sum(layout.tensor_bytes for layout in layouts.values())
    weights = {tensor: name for name, layout in layouts.items() for tensor in layout.spans}
    content = {"metadata": {**(metadata or {}), "total_size": total}, "weight_map": weights}
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _is_plain(part: str) -> bool:
    return part.isprintable() and part not in ("", ".", "..") and "\\" not in part


def _leave(number: int, frame: FrameType | None) -> None:
    """Remove incomplete output, then die of the signal as without a handler.

    Nothing is raised: the main thread may be anywhere, and an exception in the middle of an import
    or of a lock's own code leaves them held, with other threads waiting for ever.
    """
    for writer in reversed(_OPEN):
        with suppress(OSError):
            writer._discard()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _write_synced(path: Path, data: bytes, shown_path: Path) -> None:
    with filesystem_errors(shown_path, len(data)), path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folders(folder: Path) -> None:
    for inner in sorted(path for path in folder.rglob("*") if path.is_dir()):
        _sync_folder(inner)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    with filesystem_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some network file systems cannot sync a folder; the rename is all they offer.
            if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)
