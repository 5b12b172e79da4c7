"""sha256 of tensors' bytes, streamed, and remembered for files that did not change."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from surgery.checkpoint.progress import no_progress
from surgery.errors import CheckpointError
from surgery.reading import expand_home, read_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from surgery.checkpoint.progress import Progress
    from surgery.checkpoint.source import Checkpoint

CACHE_VARIABLE = "VLM_SURGERY_CACHE"

_PIECE = 4 * 2**20
_HEX = frozenset("0123456789abcdef")
# A file changed twice within one tick of its clock looks unchanged; younger files are not trusted.
_SETTLED_NS = 2 * 10**9
_MAX_RECORD = 64 * 2**20


def digest_range(descriptor: int, offset: int, size: int, progress: Progress = no_progress) -> str:
    """Hash a range of an open file.

    Args:
        descriptor: The file; its position is neither used nor moved.
        offset: First byte.
        size: Number of bytes.
        progress: Called with the number of bytes after every 4 MiB.

    Returns:
        sha256 in hex.

    Raises:
        CheckpointError: If the file ends too early or cannot be read.
    """

    def read(start: int, view: memoryview) -> int:
        return os.preadv(descriptor, [view], offset + start)

    return _digest(read, size, f"byte {offset}", progress)


def digest_tensor(checkpoint: Checkpoint, name: str, progress: Progress = no_progress) -> str:
    """Hash a tensor's bytes, formed or stored, without any memory of earlier times.

    Args:
        checkpoint: Where it stands.
        name: The tensor.
        progress: Called with the number of bytes after every 4 MiB.

    Returns:
        sha256 in hex.

    Raises:
        CheckpointError: If its bytes cannot be read.
    """

    def read(start: int, view: memoryview) -> int:
        checkpoint.read_into(name, start, view)
        return len(view)

    return _digest(read, checkpoint.info.tensors[name].nbytes, name, progress)


def _digest(
    read: Callable[[int, memoryview], int],
    size: int,
    label: str,
    progress: Progress,
) -> str:
    digest = sha256()
    buffer = memoryview(bytearray(min(size, _PIECE)))
    done = 0
    while done < size:
        try:
            count = read(done, buffer[: size - done])
        except OSError as error:
            raise CheckpointError(f"cannot read {label}: {error.strerror}.") from error
        if count == 0:
            raise CheckpointError(f"{label}: the file ended {size - done} bytes too early.")
        digest.update(buffer[:count])
        done += count
        progress(count)
    return digest.hexdigest()


def cache_folder() -> Path | None:
    """Return the folder of the digest cache, or None if the cache is disabled.

    `VLM_SURGERY_CACHE` names the folder, and switches it off when empty; otherwise it is
    `vlm-surgery` in the user's cache folder (`XDG_CACHE_HOME`).
    """
    setting = os.environ.get(CACHE_VARIABLE)
    if setting is not None:
        return expand_home(setting) / "digests" if setting else None
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else expand_home("~/.cache")) / "vlm-surgery" / "digests"


@dataclass
class DigestCache:
    """Digests of tensors, kept per file and dropped when the file changes.

    A file is known by its path, device, inode, size and times. Several threads and processes may
    use the cache in parallel. Entries that cannot be read or written are treated as missing.

    Attributes:
        folder: Where records stand; None for no memory beyond this object.
    """

    folder: Path | None = field(default_factory=cache_folder)

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._digests: dict[str, dict[str, str]] = {}
        self._new: dict[str, dict[str, str]] = {}

    def lookup(self, checkpoint: Checkpoint, name: str) -> str | None:
        """Return the cached digest of a stored tensor, if there is one.

        Args:
            checkpoint: Where the tensor stands.
            name: The tensor.

        Returns:
            sha256 in hex, or None if it is unknown or the tensor is formed.
        """
        place = _place(checkpoint, name)
        if place is None:
            return None
        key, span, _ = place
        with self._lock:
            return self._record(key).get(span)

    def remember(self, checkpoint: Checkpoint, name: str, digest: str) -> None:
        """Keep a digest that was worked out elsewhere, for example while streaming.

        Nothing is kept of a file so young that a change might not show in its times.

        Args:
            checkpoint: Where the tensor stands.
            name: The tensor.
            digest: sha256 in hex of all its bytes.
        """
        place = _place(checkpoint, name)
        if place is None or not place[2]:
            return
        key, span, _ = place
        with self._lock:
            self._record(key)[span] = digest
            self._new.setdefault(key, {})[span] = digest

    def digest(self, checkpoint: Checkpoint, name: str, progress: Progress = no_progress) -> str:
        """Return the digest of a tensor, from the cache or from its bytes.

        Args:
            checkpoint: Where the tensor stands.
            name: The tensor.
            progress: Called with the number of bytes as they are hashed.

        Returns:
            sha256 in hex.

        Raises:
            CheckpointError: If its bytes cannot be read.
        """
        cached = self.lookup(checkpoint, name)
        if cached is not None:
            return cached
        before = _place(checkpoint, name)
        result = digest_tensor(checkpoint, name, progress)
        if before is not None and before == _place(checkpoint, name):
            self.remember(checkpoint, name, result)
        return result

    def save(self) -> None:
        """Write new digests to the cache, if it is writable."""
        with self._lock:
            new, self._new = self._new, {}
        if self.folder is None:
            return
        # A cache that cannot be written costs time, never correctness.
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for key, digests in new.items():
                self._replace(key, {**self._load(key), **digests})

    def _record(self, key: str) -> dict[str, str]:
        if key not in self._digests:
            self._digests[key] = self._load(key)
        return self._digests[key]

    def _path(self, folder: Path, key: str) -> Path:
        return folder / f"{sha256(key.encode()).hexdigest()[:32]}.json"

    def _load(self, key: str) -> dict[str, str]:
        if self.folder is None:
            return {}
        try:
            record = read_json(self._path(self.folder, key), _MAX_RECORD)
        except (OSError, ValueError):
            return {}
        if not isinstance(record, dict) or record.get("key") != key:
            return {}
        digests = record.get("sha256")
        if not isinstance(digests, dict) or not all(map(_is_digest, digests.values())):
            return {}
        return digests

    def _replace(self, key: str, digests: dict[str, str]) -> None:
        if self.folder is None:
            return
        path = self._path(self.folder, key)
        draft = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
        try:
            draft.write_text(json.dumps({"key": key, "sha256": digests}))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and _HEX.issuperset(value)


def _place(checkpoint: Checkpoint, name: str) -> tuple[str, str, bool] | None:
    """Key of the tensor's file, span in it, and whether the file's times can be trusted."""
    byte_range = checkpoint.file_range(name)
    if byte_range is None:
        return None
    descriptor, offset = byte_range
    stat = os.fstat(descriptor)
    try:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        path = ""
    times = (stat.st_mtime_ns, stat.st_ctime_ns)
    key = json.dumps([path, stat.st_dev, stat.st_ino, stat.st_size, *times])
    settled = time.time_ns() - max(times) > _SETTLED_NS
    return key, f"{offset}:{checkpoint.info.tensors[name].nbytes}", settled
