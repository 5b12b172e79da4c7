"""Temporary folders and files beside a target; folders are named for the process that owns them.

The owner is part of the name, so that making the folder and claiming it is one step, and a later
run can tell a folder that is being written from one whose writer was killed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import socket
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from surgery.checkpoint.failure import filesystem_errors

if TYPE_CHECKING:
    from collections.abc import Callable

_MARK = re.compile(
    r"(?P<host>[0-9a-f]{6})(?P<boot>[0-9a-f]{6})(?P<space>[0-9a-f]{6})"
    r"-(?P<pid>\d+)-(?P<started>\d+)-[0-9a-f]{8}"
)


_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""Of Linux's renameat2, and of renamex_np, where macOS calls it RENAME_SWAP."""
_NO_EXCHANGE = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV}
)


@dataclass(frozen=True)
class Owner:
    """One process on one running system.

    Attributes:
        host: Short hash of the host's name.
        boot: Short hash of the system's boot id.
        space: Short hash of the namespace that process ids count in; containers have their own.
        pid: Process id.
        started: When the process started, in the kernel's ticks since boot; 0 where unknown.
    """

    host: str
    boot: str
    space: str
    pid: int
    started: int

    @classmethod
    def current(cls) -> Owner:
        """The running process."""
        return cls(
            host=_short_hash(socket.gethostname()),
            boot=_short_hash(_read(Path("/proc/sys/kernel/random/boot_id"))),
            space=_short_hash(_namespace()),
            pid=os.getpid(),
            started=_started(os.getpid()),
        )

    def mark(self) -> str:
        """The owner as a part of a file name, with a random end."""
        place = f"{self.host}{self.boot}{self.space}"
        return f"{place}-{self.pid}-{self.started}-{secrets.token_hex(4)}"

    def is_dead(self, here: Owner) -> bool:
        """Whether the process has surely ended, as far as process `here` can know.

        A process on another host, or in another container of this one, may well be alive.
        """
        if self.host != here.host:
            return False
        if self.boot != here.boot:
            return True
        if self.space != here.space:
            return False
        return not _exists(self.pid) or _started(self.pid) != self.started


def name_beside(target: Path, kind: str) -> Path:
    """A new name for a sibling of `target` that this process owns."""
    return target.parent / f"{_prefix(target, kind)}{Owner.current().mark()}"


def left_beside(target: Path, kind: str) -> list[Path]:
    """Siblings of `target` of this kind whose owners have died."""
    here = Owner.current()
    prefix = _prefix(target, kind)
    found = []
    for path in sorted(target.parent.iterdir()):
        match = _MARK.fullmatch(path.name.removeprefix(prefix))
        if not path.name.startswith(prefix) or match is None:
            continue
        owner = Owner(
            match["host"], match["boot"], match["space"], int(match["pid"]), int(match["started"])
        )
        if owner.is_dead(here):
            found.append(path)
    return found


def put(path: Path, write: Callable[[Path], object]) -> Path:
    """Write beside the path, then put it in place: whoever looks sees all of it or nothing.

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


def _prefix(target: Path, kind: str) -> str:
    # Names end at 255 bytes, and the mark needs some 60 of them.
    name = target.name if len(os.fsencode(target.name)) <= 150 else _short_hash(target.name)
    return f".{name}.{kind}-"


def _short_hash(text: str) -> str:
    return sha256(os.fsencode(text)).hexdigest()[:6]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> int:
    # The second field is the command in brackets and may hold anything; count behind it.
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0
