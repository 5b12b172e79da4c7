"""One open safetensors file: its header, and its bytes on demand."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from surgery.checkpoint.folder import resolve_inside
from surgery.checkpoint.header import read_header
from surgery.checkpoint.source import Closing
from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.checkpoint.source import TensorHeader


class WeightFile(Closing):
    """A safetensors file of a checkpoint's folder, open for reading from several threads.

    Args:
        folder: The folder.
        name: The file's name in it.

    Raises:
        CheckpointError: If it cannot be opened, leads out of the folder, or is malformed.
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

    def stamp(self) -> str:
        """Text that changes when the file does: device, inode, size and times."""
        stat = os.fstat(self._descriptor)
        told = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        return ":".join(map(str, told))

    def read_into(self, name: str, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of tensor `name` from byte `start` of the tensor on.

        Raises:
            CheckpointError: If the file became shorter, or cannot be read.
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
                    "The file became shorter while it was being read."
                )
            done += count

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
