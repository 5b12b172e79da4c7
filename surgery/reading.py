"""Reading of foreign files and texts, within bounds.

Every fault of a file is an `OSError` whose `strerror` says why, every fault of a text a
`ValueError`, so that a caller catches two types to raise its own error.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, Final

MAX_BYTES: Final = 64 * 2**20
MAX_DEPTH: Final = 100
"""Levels of a JSON text; writing it with an indent costs as many frames of Python's stack."""

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return the bytes of a regular file; pipes and devices are neither waited for nor read.

    Args:
        path: The file.
        limit: Most bytes it may have.

    Raises:
        OSError: If it cannot be read, is too large, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError:  # a NUL, or half a surrogate pair
        raise OSError(errno.EINVAL, "no file can have this name", repr(path)) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a device")
            raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
        if status.st_size > limit:
            size = f"{limit >> 20} MiB" if limit % 2**20 == 0 else f"{limit // 10**6} MB"
            raise OSError(errno.EFBIG, f"it is larger than {size}", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            data: bytes | None = file.read()
        if data is None:  # as the kernel's log is
            raise OSError(errno.EAGAIN, "it is a log that is waited for", str(path))
        return data
    finally:
        os.close(descriptor)


def decode(data: bytes) -> str:
    """Return a text in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: If it is in another encoding.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16 text; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from None


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Return the text of a regular file.

    Raises:
        OSError: If it cannot be read, is too large, or is not a regular file.
        ValueError: If it is not UTF-8.
    """
    return decode(read_bytes(path, limit))


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: If it is not JSON in UTF-8, nests too deeply, or holds half a surrogate pair,
            which no file can be written with.
    """
    if isinstance(text, bytes):
        text = decode(text)
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"it nests more than {MAX_DEPTH} levels deep") from None
    _check_depth(value)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half a surrogate pair, which is not a character") from None
    return value


def read_json(path: Path, limit: int = MAX_BYTES) -> Any:
    """Return the value in a JSON file.

    Raises:
        OSError: If it cannot be read, is too large, or is not a regular file.
        ValueError: If it is not JSON, as `parse_json` says.
    """
    return parse_json(read_bytes(path, limit))


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    raise ValueError(f"it nests more than {MAX_DEPTH} levels deep")


def is_file(path: Path) -> bool:
    """Check that a regular file exists; unlike pathlib's, for every name and permission."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Check that a folder exists; unlike pathlib's, for every name and permission."""
    return os.path.isdir(path)  # noqa: PTH112


def resolve(path: Path) -> Path:
    """Return a path with its links followed as far as they lead; unlike pathlib's, for every name.

    A link that leads back to itself stays as it is.
    """
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # a NUL
        return path.absolute()


def expand_home(path: str | Path) -> Path:
    """Return a path with its home folder filled in, or as it is where that user has none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
