"""Storage of a hub: repositories, their commits and branches, and large objects by hash."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from tests.hub.wire import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KINDS = {"models": "model", "datasets": "dataset"}

LARGE = 10 * 1024 * 1024

_SUFFIXES = """
7z arrow bin bz2 ckpt ftz gz h5 joblib mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl
pt pth rar safetensors tar tflite tgz wasm xz zip zst png jpg jpeg gif webp
"""

_ATTRIBUTES = tuple(_SUFFIXES.split())

ATTRIBUTES = "".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in _ATTRIBUTES
).encode()

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}")


def now() -> str:
    """The time, as the Hub spells it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass(frozen=True)
class Blob:
    """The content of one file, kept by git itself or as a large object (LFS).

    Attributes:
        data: The bytes a reader gets.
        lfs: Git keeps a pointer, the bytes are elsewhere.
    """

    data: bytes
    lfs: bool = False

    @property
    def size(self) -> int:
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """The text that git keeps in the place of a large object."""
        head = "version https://git-lfs.github.com/spec/v1"
        return f"{head}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @cached_property
    def oid(self) -> str:
        """Git's name of what it keeps: the file, or the pointer to it."""
        return git_hash(self.pointer if self.lfs else self.data)

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    @property
    def xet(self) -> str:
        """Stands for the Xet hash: 64 hexadecimal digits that depend on the content alone."""
        return hashlib.sha256(b"xet" + bytes.fromhex(self.sha256)).hexdigest()


@dataclass
class Commit:
    """One immutable state of a repository (a fault alone may change its files)."""

    id: str
    parent: str | None
    files: dict[str, Blob]
    title: str
    message: str
    date: str

    def folders(self) -> set[str]:
        """Every folder that holds something, directly or deeper."""
        return {
            "/".join(parts[:depth])
            for parts in (path.split("/") for path in self.files)
            for depth in range(1, len(parts))
        }


@dataclass
class Repo:
    """One repository.

    Attributes:
        objects: Large objects by their sha256, committed or only uploaded so far.
    """

    kind: str
    name: str
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    created: str = field(default_factory=now)

    @property
    def namespace(self) -> str:
        return self.name.split("/")[0]

    @property
    def where(self) -> str:
        """The path of its page, and what its file names begin with in the counters."""
        return self.name if self.kind == "models" else f"{self.kind}/{self.name}"

    def commit(
        self, branch: str, files: Mapping[str, Blob], title: str, message: str = ""
    ) -> Commit:
        """Put a new commit on a branch (which it starts where there is none)."""
        parent = self.branches.get(branch)
        tree = [f"{path} {files[path].oid}" for path in sorted(files)]
        text = "\n".join([self.where, parent or "", title, message, *tree])
        output = Commit(sha1(text.encode()), parent, dict(files), title, message, now())
        self.commits[output.id] = output
        self.branches[branch] = output.id
        self.objects.update({blob.sha256: blob.data for blob in files.values() if blob.lfs})
        return output

    def at(self, revision: str) -> Commit:
        """The commit that a branch, a tag, or a full or abbreviated id stands for."""
        expected = self.branches.get(revision) or self.tags.get(revision)
        if expected is not None:
            return self.commits[expected]
        if re.fullmatch(r"[0-9a-f]{7,40}", revision):
            results = [name for name in self.commits if name.startswith(revision)]
            if len(results) == 1:
                return self.commits[results[0]]
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def head(self, branch: str) -> Commit:
        """The last commit of a branch."""
        if branch not in self.branches:
            raise Refusal(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        return self.commits[self.branches[branch]]

    def history(self, commit: Commit) -> Iterator[Commit]:
        """A commit and all before it, the newest first."""
        current: Commit | None = commit
        while current is not None:
            yield current
            current = self.commits[current.parent] if current.parent else None

    def change(self, path: str, data: bytes | None = None) -> None:
        """Replace a file's content in every commit that has it, ids untouched."""
        for commit in self.commits.values():
            if path in commit.files:
                old = commit.files[path]
                new = bytes(255 - byte for byte in old.data) + b"!" if data is None else data
                commit.files[path] = replace(old, data=new)


@dataclass
class Store:
    """All repositories of a hub, by kind (`models`, `datasets`) and name (`owner/name`)."""

    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)

    def find(self, name: str, kind: str = "models") -> Repo | None:
        """A repository, if there is one."""
        return self.repos.get((kind, name))

    def make(self, name: str, kind: str = "models", *, private: bool = False) -> Repo:
        """A new repository without any commit."""
        check_name(name)
        return self.repos.setdefault((kind, name), Repo(kind, name, private))


def check_name(name: str) -> None:
    """Refuse what the Hub would not take as `owner/name`."""
    parts = name.split("/")
    right = len(parts) == 2 and all(_NAME.fullmatch(part) for part in parts)
    if not right or "--" in name or ".." in name or name.endswith((".git", ".", "-")):
        raise Refusal(400, f"Invalid repo name: {name}")


def check_path(path: str) -> None:
    """Refuse a path that leaves the repository or is no file name."""
    parts = path.split("/")
    if "\\" in path or any(part in ("", ".", "..", ".git") for part in parts):
        raise Refusal(400, f"Invalid path: {path!r}")


def is_large(path: str, size: int) -> bool:
    """Check whether a file of this name and size is stored as a large object."""
    if size == 0:
        return False
    return size > LARGE or path.rsplit(".", 1)[-1].lower() in _ATTRIBUTES


def git_hash(data: bytes) -> str:
    """Git's name of a file's content."""
    return sha1(b"blob %d\0" % len(data) + data)


def sha1(data: bytes) -> str:
    """Forty hexadecimal digits."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
