"""Files for one repository, and the hashes that the Hub will give them."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PIECE = 8 << 20


@dataclass(frozen=True)
class Bundle:
    """Files for one repository; each is hashed once, and assumed not to change.

    Attributes:
        files: Name in the repository to where the file is, or to its bytes.
    """

    files: Mapping[str, Path | bytes]
    _hashes: dict[tuple[str, str], str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(map(self.size, self.files))

    def size(self, name: str) -> int:
        """Bytes of a file."""
        content = self.files[name]
        return len(content) if isinstance(content, bytes) else content.stat().st_size

    def head(self, name: str, count: int) -> bytes:
        """Return the first bytes of a file; of a weight file, its header."""
        content = self.files[name]
        if isinstance(content, bytes):
            return content[:count]
        with content.open("rb") as file:
            if name.endswith(".safetensors"):
                count = min(count, int.from_bytes(file.read(8), "little"))
            return file.read(count)

    def sha256(self, name: str) -> str:
        """sha256 of a file in hex, as the Hub names large files."""
        return self._hash(name, hashlib.sha256())

    def git_hash(self, name: str) -> str:
        """Return git's blob hash of a small file: sha1 over its length and content."""
        head = f"blob {self.size(name)}\0".encode()
        return self._hash(name, hashlib.sha1(head, usedforsecurity=False))

    def _hash(self, name: str, digest: hashlib._Hash) -> str:
        key = name, digest.name
        if key not in self._hashes:
            self._hashes[key] = self._hashed(name, digest)
        return self._hashes[key]

    def _hashed(self, name: str, digest: hashlib._Hash) -> str:
        content = self.files[name]
        if isinstance(content, bytes):
            digest.update(content)
            return digest.hexdigest()
        with content.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """Yield a temporary folder with the files; files on disk are links in it."""
        with TemporaryDirectory(prefix="surgery-publish-") as name:
            folder = Path(name)
            for path, content in self.files.items():
                place = folder / path
                place.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, bytes):
                    place.write_bytes(content)
                else:
                    place.symlink_to(content.resolve())
            yield folder
