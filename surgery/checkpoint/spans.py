"""Byte ranges of a partially fetched file, and the file that records them.

Parts of a large file on the Hub are stored in a sparse file of the same length and at the same
positions; a list next to it records which bytes are valid.
"""

from __future__ import annotations

import fcntl
import os
from bisect import bisect_left, bisect_right
from contextlib import contextmanager
from threading import Lock
from typing import IO, TYPE_CHECKING

from surgery.checkpoint.failure import filesystem_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LIST = ".spans"


class Spans:
    """A set of bytes as half-open intervals, sorted, no two of them touching."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    @property
    def total(self) -> int:
        """Number of bytes in the set."""
        return sum(self._ends) - sum(self._starts)

    def add(self, start: int, end: int) -> None:
        """Add the bytes `start` to `end`."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def missing(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges between `start` and `end` that are not in the set, in order."""
        position = start
        for index in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[index] >= end:
                break
            if self._starts[index] > position:
                yield position, self._starts[index]
            position = self._ends[index]
        if position < end:
            yield position, end


class PartialFile:
    """A partially fetched file of known content and length, open for writing.

    Several processes may fill the same file: they write the same bytes to the same places. What
    stands in it survives a kill of the process at any point, and a crash of the machine.

    Args:
        path: Path of the sparse file; the list of its valid parts is next to it.
        size: Length of the whole file in bytes.
        content: Text that names the content; parts of another one are thrown away.

    Raises:
        ExecutionError: If it cannot be made.
    """

    def __init__(self, path: Path, size: int, content: str) -> None:
        self.path = path
        self.size = size
        self._valid = Spans()
        self._lock = Lock()
        self._list = path.with_name(path.name + _LIST)
        self._head = f"{content} {size}"
        with filesystem_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._listed() as list_file:
                self._recall(list_file)
                self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    os.ftruncate(self._descriptor, size)
                except OSError:
                    self.close()
                    raise

    @contextmanager
    def _listed(self) -> Iterator[IO[bytes]]:
        """Yield the list, open for appending and locked for this process."""
        with self._list.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _recall(self, list_file: IO[bytes]) -> None:
        """Load the list if it belongs to this content, or begin a new one."""
        list_file.seek(0)
        lines = list_file.read().decode("ascii", "replace").split("\n")
        whole = self.path.is_file() and self.path.stat().st_size == self.size
        if not whole or lines[0] != self._head:
            self.path.unlink(missing_ok=True)
            list_file.truncate(0)
            list_file.write(f"{self._head}\n".encode())
            return
        # What follows the last line's end was cut off by a crash. A line that a crash cut off and
        # another process continued has three numbers, or says less than is true.
        for line in lines[1:-1]:
            start, _, end = line.partition(" ")
            if start.isdecimal() and end.isdecimal():
                self._valid.add(int(start), min(int(end), self.size))

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the ranges between `start` and `end` that are not stored, in order."""
        with self._lock:
            return list(self._valid.missing(start, end))

    def write(self, start: int, data: bytes) -> None:
        """Write bytes at their position. They become valid when `keep` records them.

        Raises:
            ExecutionError: If the disk fails.
        """
        with filesystem_errors(self.path):
            done = 0
            while done < len(data):
                done += os.pwrite(self._descriptor, data[done:], start + done)

    def keep(self, start: int, end: int) -> None:
        """Record the bytes `start` to `end` as fetched, after syncing them to disk.

        Raises:
            ExecutionError: If the disk fails.
        """
        if start >= end:
            return
        with filesystem_errors(self.path):
            os.fdatasync(self._descriptor)
            with self._listed() as list_file:
                # Another process may have deleted this file and started a new one.
                if self.path.is_file() and (
                    self.path.stat().st_ino == os.fstat(self._descriptor).st_ino
                ):
                    list_file.write(f"{start} {end}\n".encode())
            with self._lock:
                self._valid.add(start, end)

    def is_open_as(self, descriptor: int) -> bool:
        """Check for another open descriptor of this file, not of a file that took its name."""
        return os.path.sameopenfile(self._descriptor, descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
