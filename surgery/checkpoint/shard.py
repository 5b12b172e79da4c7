"""Write one safetensors file, tensor by tensor, at known positions."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from surgery.checkpoint.digest import digest_range
from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.progress import no_progress
from surgery.errors import CheckpointError, ExecutionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from surgery.checkpoint.dtype import DType
    from surgery.checkpoint.progress import Progress

# Small enough for a progress bar to move and for Ctrl-C to be heard, large enough not to matter.
_PIECE = 64 * 2**20
_BUFFER = 4 * 2**20
_NO_KERNEL_COPY = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY}
)


class TensorSpec(Protocol):
    """The properties of a tensor that a header needs; `TensorHeader` and `TensorOp` have them."""

    @property
    def name(self) -> str:
        """The tensor's name."""

    @property
    def dtype(self) -> DType:
        """Element type."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""


@dataclass(frozen=True)
class Layout:
    """The byte positions of the parts of a safetensors file.

    Attributes:
        header: Length prefix and JSON, padded to a multiple of eight bytes.
        spans: Tensor name to absolute offset and number of bytes, in the order of the file.
        size: Length of the whole file.
    """

    header: bytes
    spans: Mapping[str, tuple[int, int]]
    size: int

    @property
    def tensor_bytes(self) -> int:
        """Bytes of tensors alone."""
        return self.size - len(self.header)


def lay_out(tensors: Sequence[TensorSpec], metadata: Mapping[str, str]) -> Layout:
    """Work out a file's bytes up to its first tensor, and every tensor's place.

    The result depends on nothing but the arguments, to the byte.

    Args:
        tensors: In the order they are to stand in the file.
        metadata: The file's `__metadata__`; written in the order of its keys.

    Returns:
        The layout.

    Raises:
        ExecutionError: If a name stands twice.
    """
    entries: dict[str, object] = {}
    if metadata:
        entries["__metadata__"] = dict(sorted(metadata.items()))
    begins: dict[str, tuple[int, int]] = {}
    end = 0
    for tensor in tensors:
        if tensor.name in entries:
            raise ExecutionError(f"tensor {tensor.name!r} would be written twice to one file.")
        count = tensor.dtype.size
        for length in tensor.shape:
            count *= length
        entries[tensor.name] = {
            "dtype": str(tensor.dtype),
            "shape": list(tensor.shape),
            "data_offsets": [end, end + count],
        }
        begins[tensor.name] = (end, count)
        end += count
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    spans = {name: (len(header) + begin, count) for name, (begin, count) in begins.items()}
    return Layout(header, spans, len(header) + end)


class ShardWriter:
    """A safetensors file of a fixed layout, open for writing.

    Distinct tensors, and distinct parts of one, may be written from several threads. `finish` and
    `abandon` may only be called when all of them are done.

    Args:
        path: Where the file is made; nothing may stand there.
        layout: What it will hold.
        shown_path: Its path as messages name it; `path` when absent.

    Raises:
        ExecutionError: If the disk has no room for all of it, or the file cannot be made.
    """

    def __init__(self, path: Path, layout: Layout, shown_path: Path | None = None) -> None:
        self._path = path
        self._shown_path = shown_path or path
        self._layout = layout
        self._written = dict.fromkeys(layout.spans, 0)
        self._lock = Lock()
        with filesystem_errors(self._shown_path, layout.size):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o666)
        try:
            with filesystem_errors(self._shown_path, layout.size):
                # Reserve all space first: a full disk is reported before hours of work.
                _reserve(self._descriptor, layout.size)
                _write_all(self._descriptor, memoryview(layout.header), 0)
        except BaseException:
            self.abandon()
            raise

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self._path

    @property
    def layout(self) -> Layout:
        """Contents of the file and their positions."""
        return self._layout

    @property
    def descriptor(self) -> int:
        """The open file, for reading back what was written; valid until `finish`."""
        return self._descriptor

    def write(self, name: str, start: int, data: memoryview | bytes | bytearray) -> None:
        """Write bytes of one tensor.

        Args:
            name: The tensor.
            start: Where in the tensor the first byte goes.
            data: Contiguous bytes.

        Raises:
            ExecutionError: If the disk fails.
            ValueError: If they do not fit into the tensor.
        """
        view = memoryview(data).cast("B")
        offset, size = self._layout.spans[name]
        if start < 0 or start + len(view) > size:
            raise ValueError(f"bytes {start}..{start + len(view)} do not fit {name} of {size}")
        with filesystem_errors(self._shown_path, self._layout.size):
            _write_all(self._descriptor, view, offset + start)
        self._count(name, len(view))

    def copy_run(
        self,
        names: Sequence[str],
        descriptor: int,
        offset: int,
        progress: Progress = no_progress,
    ) -> None:
        """Copy several tensors that are neighbours, in this order, both here and in the source.

        Args:
            names: The tensors, in the order of this file.
            descriptor: The open source file.
            offset: First byte of the first tensor in it.
            progress: Called with the number of bytes after every piece.

        Raises:
            CheckpointError: If the source ends too early.
            ExecutionError: If the disk fails.
            ValueError: If they are no neighbours here.
        """
        begin = end = self._layout.spans[names[0]][0]
        for name in names:
            if self._layout.spans[name][0] != end:
                raise ValueError(f"{name} does not follow its neighbour in {self._path.name}")
            end += self._layout.spans[name][1]
        self._copy(descriptor, offset, begin, end - begin, progress)
        for name in names:
            self._count(name, self._layout.spans[name][1])

    def _copy(
        self,
        descriptor: int,
        source: int,
        target: int,
        count: int,
        progress: Progress,
    ) -> None:
        kernel = hasattr(os, "copy_file_range")
        done = 0
        while done < count:
            piece = min(count - done, _PIECE)
            copied = 0
            if kernel:
                copied = self._kernel_copy(descriptor, source + done, target + done, piece)
                # Some file systems say 0 where they mean no; a plain read tells the end from that.
                kernel = copied > 0
            if not copied:
                copied = self._plain_copy(descriptor, source + done, target + done, piece)
            done += copied
            progress(copied)

    def _kernel_copy(self, descriptor: int, source: int, target: int, count: int) -> int:
        with filesystem_errors(self._shown_path, self._layout.size):
            try:
                return os.copy_file_range(descriptor, self._descriptor, count, source, target)
            except OSError as error:
                if error.errno in _NO_KERNEL_COPY:
                    return 0
                raise

    def _plain_copy(self, descriptor: int, source: int, target: int, count: int) -> int:
        buffer = memoryview(bytearray(min(count, _BUFFER)))
        try:
            result = os.preadv(descriptor, [buffer], source)
        except OSError as error:
            raise CheckpointError(f"an input of {self._path.name}: {error.strerror}.") from error
        if result == 0:
            raise CheckpointError(
                f"an input of {self._path.name} ended at byte {source}, where {count} more were "
                "expected. It was truncated while it was being read."
            )
        with filesystem_errors(self._shown_path, self._layout.size):
            _write_all(self._descriptor, buffer[:result], target)
        return result

    def _count(self, name: str, count: int) -> None:
        with self._lock:
            self._written[name] += count

    def digest(self, name: str, progress: Progress = no_progress) -> str:
        """Hash a tensor as it stands in the file.

        Args:
            name: The tensor; all of it was written.
            progress: Called with the number of bytes after every 4 MiB.

        Returns:
            sha256 in hex.

        Raises:
            CheckpointError: If it cannot be read back.
        """
        offset, size = self._layout.spans[name]
        return digest_range(self._descriptor, offset, size, progress)

    def flush(self) -> None:
        """Write what the disk does not have yet, so that `finish` has less to wait for.

        Raises:
            ExecutionError: If the disk fails.
        """
        with filesystem_errors(self._shown_path, self._layout.size):
            os.fdatasync(self._descriptor)

    def finish(self) -> None:
        """Check that every byte was written once, sync, and close; a second call does nothing.

        Raises:
            ExecutionError: If a tensor is missing or was written twice, or the disk fails.
        """
        if self._descriptor < 0:
            return
        for name, (_, size) in self._layout.spans.items():
            if self._written[name] != size:
                raise ExecutionError(
                    f"{self._shown_path}: {self._written[name]} bytes of tensor {name!r} were "
                    f"written, expected {size}. The incomplete file was removed."
                )
        with filesystem_errors(self._shown_path, self._layout.size):
            os.fsync(self._descriptor)
        self.abandon()

    def abandon(self) -> None:
        """Close the file as it is."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
        else:
            return
    os.ftruncate(descriptor, size)


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)
