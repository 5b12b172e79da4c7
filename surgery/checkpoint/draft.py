"""A temporary folder next to its target, and the lock that marks it as in use.

A process that dies releases its lock. So leftovers of a killed run can be distinguished from a
what is being written, on this host and on others that share the disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from surgery.checkpoint import sibling

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST: Final = 200  # bytes of a target's name; names end at 255
_BUSY: Final = frozenset({errno.EWOULDBLOCK, errno.EACCES})


class Draft:
    """A folder that will take its target's name, locked from `make` to `end`.

    The lock is a file next to the folder, created before the folder and removed after it. It also
    covers `aside`, the temporary name of an old folder that is being replaced.

    Args:
        target: The folder that will be.

    Attributes:
        folder: Where it is made.
        aside: Where an old folder waits for the new one to stand.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._descriptor = -1
        self._name(secrets.token_hex(4))

    def _name(self, token: str) -> None:
        stem = _stem(self._target)
        self.folder = self._target.with_name(f"{stem}.tmp-{token}")
        self.aside = self._target.with_name(f"{stem}.old-{token}")
        self._lock = self._target.with_name(f"{stem}.tmp-{token}.lock")

    def make(self) -> None:
        """Make the folder, empty.

        On a file system without locks it is made without one, and `clear_drafts` spares it.

        Raises:
            OSError: If the disk fails.
        """
        while not self._take(os.O_CREAT | os.O_EXCL):  # another process cleared it as a leftover
            self._name(secrets.token_hex(4))
        self.folder.mkdir()

    def end(self) -> None:
        """Remove the folder if it is still there, release the lock; a second call does nothing.

        An old folder that was moved aside goes, too, or goes back if nothing has its place.
        """
        if self._descriptor < 0:
            return
        sibling.remove(self.folder)
        if self.aside.exists():
            if self._target.exists():
                sibling.remove(self.aside)
            else:
                self.aside.rename(self._target)
        with suppress(OSError):  # the next run removes a lock without a holder
            self._lock.unlink()
        self._close()

    def _take(self, flags: int = 0, *, sure: bool = False) -> bool:
        """Take the lock.

        Args:
            flags: How the file is opened.
            sure: Whether a file system without locks is a refusal.

        Returns:
            Whether it is this process' and still the file that stands there.
        """
        flags |= os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._lock, flags, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY or sure:
                self._close()
                return False
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._descriptor), self._lock.stat()):
                return True
        self._close()
        return False

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def clear_drafts(target: Path) -> None:
    """Remove what killed processes left; put an old folder back that lost its place to none."""
    lock = re.compile(re.escape(_stem(target)) + r"\.tmp-([0-9a-f]{8})\.lock")
    for name in sorted(entry.name for entry in target.parent.iterdir()):
        if match := lock.fullmatch(name):
            draft = Draft(target)
            draft._name(match[1])
            try:
                dead = draft._take(sure=True)
            except OSError:  # gone by now, another user's, or no lock at all
                continue
            if dead:
                draft.end()


def _stem(target: Path) -> str:
    name = target.name
    if len(os.fsencode(name)) > _LONGEST:
        name = sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name}"
