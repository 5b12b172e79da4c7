"""One open safetensors file: its header, and its bytes on demand."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from surgery.checkpoint.folder import changed_error, resolve_inside
from surgery.checkpoint.header import read_header
from surgery.checkpoint.source import Closing
from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.checkpoint.source import TensorHeader


_TICK_NS = 10**7
"""The longest tick of the clocks from which local file systems take their times."""
_COARSE_NS = 2 * 10**9
"""The same for file systems that keep no fractions of a second."""


class WeightFile(Closing):
    """A safetensors file of a checkpoint's folder, open for reading from several threads.

    Args:
        folder: The folder.
        name: The file's name in it.

    Raises:
        CheckpointError: If it cannot be opened, points outside the folder, or is malformed.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / name
        try:
            self._descriptor = os.open(resolve_inside(folder, name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            many = error.errno == errno.EMFILE
            more = " Raise the limit with `ulimit -n 4096`." if many else ""
            raise CheckpointError(
                f"{self._path}: cannot be opened: {error.strerror}.{more}"
            ) from error
        try:
            self._opened = self.stamp()
            _outlast_tick(os.fstat(self._descriptor))
            header = read_header(self._descriptor, self._path, name)
        except BaseException:
            self.close()
            raise
        self._metadata = header.metadata
        self._size = header.size
        self._tensors = {tensor.name: tensor for tensor in header.tensors}

    @property
    def tensors(self) -> Mapping[str, TensorHeader]:
        """Headers by name, in the order of the file."""
        return self._tensors

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's `__metadata__`."""
        return self._metadata

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self._size

    @property
    def descriptor(self) -> int:
        """The open file; it stays this object's own."""
        return self._descriptor

    def raw_header(self) -> bytes:
        """Return the bytes before the first tensor: length, JSON and padding.

        Raises:
            CheckpointError: If they cannot be read.
        """
        begin = min((t.offset for t in self._tensors.values()), default=self._size)
        try:
            return os.pread(self._descriptor, begin, 0)
        except OSError as error:
            raise CheckpointError(f"{self._path}: cannot be read: {error.strerror}.") from error

    def stamp(self) -> str:
        """Text that changes when the file does: device, inode, size and times."""
        stat = os.fstat(self._descriptor)
        identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        return ":".join(map(str, identity))

    def settle(self) -> None:
        """Make every later change of the file visible in its times.

        A program that writes through a memory map changes the times only with its first write to a
        page that is clean on disk; `fdatasync` makes all pages clean.
        """
        with suppress(OSError):  # a read-only file system has nothing to sync
            os.fdatasync(self._descriptor)

    def check_unchanged(self) -> None:
        """Check that the file is what it was when it was opened, and still has its name.

        Raises:
            CheckpointError: If it was written to, replaced, moved or removed.
        """
        with suppress(OSError):
            is_same_file = os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
            if is_same_file and self.stamp() == self._opened:
                return
        raise changed_error(self._path)

    def read_into(self, name: str, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of tensor `name` from byte `start` of the tensor on.

        Raises:
            CheckpointError: If the file was truncated, or cannot be read.
            ValueError: If the tensor has fewer bytes than are asked for.
        """
        header = self._tensors[name]
        view = buffer.cast("B")
        if start < 0 or start + len(view) > header.nbytes:
            raise ValueError(f"bytes {start}..{start + len(view)} of {name}: has {header.nbytes}")
        done = 0
        while done < len(view):
            try:
                count = os.preadv(self._descriptor, [view[done:]], header.offset + start + done)
            except OSError as error:
                raise CheckpointError(
                    f"{self._path}: cannot read {name!r}: {error.strerror}."
                ) from error
            if count == 0:
                raise CheckpointError(
                    f"{self._path}: ended inside {name!r}. "
                    "The file was truncated while it was being read."
                )
            done += count

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _outlast_tick(stat: os.stat_result) -> None:
    """Wait until a further change of a file would change its times; only new files need it."""
    times = (stat.st_mtime_ns, stat.st_ctime_ns)
    tick = _TICK_NS if any(item % 10**9 for item in times) else _COARSE_NS
    wait = max(times) + tick - time.time_ns()
    if 0 < wait <= tick:  # a clock that runs ahead of ours cannot be waited for
        time.sleep(wait / 10**9)
