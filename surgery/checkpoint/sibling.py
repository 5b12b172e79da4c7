"""Putting a file or a folder in place in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
from typing import TYPE_CHECKING

from surgery.checkpoint.failure import filesystem_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""Of Linux's renameat2, and of renamex_np, where macOS calls it RENAME_SWAP."""
_NO_EXCHANGE = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV}
)


def put(path: Path, write: Callable[[Path], object]) -> Path:
    """Write to a temporary sibling, then rename: readers see the whole file or none.

    Args:
        path: Where it goes.
        write: Writes the file it is given.

    Raises:
        ExecutionError: If it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with filesystem_errors(path):
        try:
            write(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    return path


def exchange(left: Path, right: Path) -> bool:
    """Exchange the names of two folders in one step.

    Returns:
        Whether it was done. If not, the system or its file system has no such step, and nothing
        changed.

    Raises:
        OSError: If it fails for another reason.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    source, target = os.fsencode(left), os.fsencode(right)
    if hasattr(libc, "renameat2"):
        status = libc.renameat2(_AT_FDCWD, source, _AT_FDCWD, target, _RENAME_EXCHANGE)
    elif hasattr(libc, "renamex_np"):
        status = libc.renamex_np(source, target, _RENAME_EXCHANGE)
    else:
        return False
    code = ctypes.get_errno() if status else 0
    if code and code not in _NO_EXCHANGE:
        raise OSError(code, os.strerror(code), str(right))
    return not status


def remove(folder: Path) -> None:
    """Remove a folder and all in it, as far as it can be removed."""
    shutil.rmtree(folder, ignore_errors=True)
