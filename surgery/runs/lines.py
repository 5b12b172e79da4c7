"""A file of JSON lines that only grows, and survives a kill at any moment.

Lines are written whole under a lock and synced. A line that a killed writer left unfinished is not
read, and cut off by the next writer; every other line that cannot be read is an error, because lost
results must not look like results that were never there.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from surgery.checkpoint.failure import filesystem_errors
from surgery.errors import ExecutionError
from surgery.reading import is_file
from surgery.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

ValueT = TypeVar("ValueT")


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every finished line with its number, from 1; none where there is no file.

    Raises:
        ExecutionError: If a line is not a JSON object, or the file cannot be used.
    """
    if not path.exists():
        return
    if not is_file(path):
        raise ExecutionError(f"{path} is not a regular file. Restore the file that the run wrote.")
    with filesystem_errors(path), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return  # its writer was killed, or has not ended yet
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise _unreadable(path, number)
            # Earlier versions kept half a surrogate pair that a server sent.
            yield (
                number,
                {k: well_formed(v) if isinstance(v, str) else v for k, v in record.items()},
            )


def append_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Add lines; they are on the disk when this returns. Safe among several processes.

    Raises:
        ExecutionError: If the disk fails.
    """
    lines = [json.dumps(dict(record), ensure_ascii=True).encode() + b"\n" for record in records]
    data = memoryview(b"".join(lines))
    with filesystem_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path) as descriptor:
        _mend(descriptor)
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)


class KeyedFile(Generic[ValueT]):
    """Values by key in a file that only grows.

    Args:
        path: The file; made with its folder when the first value is appended.
        parse: Returns key and value of a line, None for a line to pass over; raises KeyError,
            TypeError or ValueError for a line that was not written here.
        latest: Whether the last value of a key counts, not the first.

    Attributes:
        path: The file.
        values: The values by key.

    Raises:
        ExecutionError: If a line cannot be read, or the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[Mapping[str, Any]], tuple[str, ValueT] | None],
        *,
        latest: bool = False,
    ) -> None:
        self.path = path
        self._latest = latest
        self.values: dict[str, ValueT] = {}
        self._parse = parse
        for number, line in read_lines(path):
            try:
                self._add(line)
            except (KeyError, TypeError, ValueError):
                raise _unreadable(path, number) from None

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Store lines; they are on the disk when this returns. Safe among several processes.

        Raises:
            ExecutionError: If the disk fails.
        """
        new = list(lines)
        if new:
            append_lines(self.path, new)
            for line in new:
                self._add(line)

    def _add(self, line: Mapping[str, Any]) -> None:
        item = self._parse(line)
        if item is not None and (self._latest or item[0] not in self.values):
            self.values[item[0]] = item[1]


def _unreadable(path: Path, number: int) -> ExecutionError:
    return ExecutionError(
        f"{path}:{number} is not a valid record. Fix or delete this line; the other records "
        f"are intact."
    )


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    with filesystem_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def _mend(descriptor: int) -> None:
    """Cut off an unfinished last line of a killed writer."""
    size = os.fstat(descriptor).st_size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        block = os.pread(descriptor, end - start, start)
        newline = block.rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end != size:
        os.ftruncate(descriptor, end)
