"""Error messages of the operating system for failed writes, with advice."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from surgery.errors import ExecutionError
from surgery.text import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file would be larger than this system or `ulimit -f` allows",
    errno.EIO: "the disk reported an error; look at `dmesg` and try another disk",
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.EPERM: "the operation is not permitted; choose a folder you may write to",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.EMFILE: "too many files are open; raise the limit with `ulimit -n 4096`",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "it is a link that leads back to itself",
    errno.ENFILE: "too many files are open on this system; close other programs",
    errno.EBUSY: "it is in use, or a mount point; name a folder inside it",
    errno.EEXIST: "a file of that name is in the way",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
}
_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def filesystem_errors(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn an `OSError` inside the block into an `ExecutionError`.

    Args:
        path: What was being written.
        needed: Bytes it wants in all; named when space was the trouble.

    Raises:
        ExecutionError: For every `OSError` of the block.
    """
    try:
        yield
    except OSError as error:
        cause = reason(error)
        if error.errno in _SPACE and needed:
            cause += f" (needed {size_text(needed)}, {_free_text(path)})"
        raise ExecutionError(f"{path}: cannot be written: {cause}.") from error


def reason(error: OSError) -> str:
    """Return why a file could not be used, and what helps."""
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


def is_systems(error: OSError) -> bool:
    """Check that an error comes from the operating system about a file, not from a bug here."""
    return error.errno in _REASONS and error.errno not in (errno.EEXIST, errno.ENOTDIR)


def free_bytes(path: Path) -> int:
    """Bytes an ordinary user may still write where `path` is or would be.

    Raises:
        OSError: If not even the root folder can be asked.
    """
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def _free_text(path: Path) -> str:
    try:
        return f"{size_text(free_bytes(path))} free"
    except OSError:
        return "free space unknown"
