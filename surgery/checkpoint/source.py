"""The interface of all checkpoints: local folders, Hub repositories and adapters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from surgery.checkpoint.dtype import DType


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """The entry of one tensor in a safetensors header.

    Attributes:
        name: The tensor's name as the file spells it.
        dtype: Element type.
        shape: Lengths of the axes; empty for a scalar.
        shard: File name inside the checkpoint's folder.
        offset: Where the tensor's first byte stands, counted from the start of that file.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    shard: str
    offset: int

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.numel * self.dtype.size


@dataclass(frozen=True)
class CheckpointInfo:
    """All that can be known of a checkpoint without reading a weight.

    Attributes:
        reference: What the user wrote: a folder, `org/name@revision`, or base plus adapter.
        revision: The commit it was resolved to, for a Hub reference.
        folder: Where configuration, tokenizer and processor files stand.
        config: The parsed `config.json`.
        tensors: Headers by name, in the order of the files.
        shards: Names of the weight files, in order.
        metadata: Every shard's own `__metadata__`.
        fingerprint: sha256 over configuration and headers, in hex. Two checkpoints with equal
            fingerprints have the same tensors at the same places, not necessarily equal weights.
        formed: Names whose bytes do not stand in a file but are computed when read (adapters).
        adapter: The folder of the PEFT adapter, or None for a plain checkpoint.
    """

    reference: str
    revision: str | None
    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorHeader]
    shards: tuple[str, ...]
    metadata: Mapping[str, Mapping[str, str]]
    fingerprint: str
    formed: frozenset[str] = field(default_factory=frozenset)
    adapter: Path | None = None


@dataclass(frozen=True)
class AdapterReference:
    """A base model with a PEFT adapter on top.

    Attributes:
        base: A folder or `org/name@revision`.
        adapter: The same, for the adapter.
    """

    base: str
    adapter: str

    def __str__(self) -> str:
        return f"{self.base} + {self.adapter}"


class Remote(StrEnum):
    """The method of reading a checkpoint on the Hub."""

    AUTO = "auto"
    RANGES = "ranges"
    CACHE = "cache"


@dataclass(frozen=True)
class Fetch:
    """The cost of fetching some tensors of a checkpoint on the Hub.

    Attributes:
        repo: `org/name`.
        commit: Its commit.
        ranges: Bytes that would be fetched by range.
        requests: In how many requests.
        headers: Bytes fetched for the headers, already here.
        whole: Bytes that would be fetched to have all of it in the Hub's cache.
        way: Which of the two is taken.
    """

    repo: str
    commit: str
    ranges: int
    requests: int
    headers: int
    whole: int
    way: Remote


class Closing(ABC):
    """Something that a `with` block closes at its end."""

    @abstractmethod
    def close(self) -> None:
        """Release the files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Checkpoint(Protocol):
    """An open checkpoint: its headers, and its bytes on demand."""

    @property
    def info(self) -> CheckpointInfo:
        """Headers and configuration."""

    def read_into(self, name: str, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of tensor `name` from byte `start` of the tensor on.

        Safe to call from several threads.

        Raises:
            CheckpointError: If the file is shorter than its header says.
        """

    def file_range(self, name: str) -> tuple[int, int] | None:
        """File descriptor and absolute offset of a tensor's bytes, or None if it is formed.

        The bytes are there once `ensure_local` was called for it.
        """

    def ensure_local(self, name: str) -> None:
        """Have the bytes of a tensor where `file_range` says when this returns.

        Safe to call from several threads.

        Raises:
            CheckpointError: If they cannot be fetched.
        """

    def fetch_cost(self, names: Collection[str]) -> Fetch | None:
        """Return the cost of fetching these tensors; None if all are local."""

    def prefetch(self, names: Collection[str]) -> None:
        """Begin to fetch the bytes of these tensors, if they are not here.

        Later changes of those that are here show in the times of the files. Reading the others
        waits for their bytes. Calling it is optional: tensors that were not prefetched are
        fetched when it is read.

        Raises:
            CheckpointError: If they cannot be fetched, or there is no room for them.
        """

    def cancel(self) -> None:
        """Cancel fetches in flight. Waiting threads get an error. Returns immediately."""

    @property
    def fetched(self) -> int:
        """Bytes of weight files that were fetched by range since it was opened."""

    def check_unchanged(self) -> None:
        """Check that configuration and weights are what they were when it was opened.

        Called after the last byte was read: what was read before is then one model's.

        Raises:
            CheckpointError: If a file was written to, replaced, moved or removed.
        """

    def stamp(self) -> str:
        """Text that changes when a file does: place, size and times of every weight file.

        It costs no reading. Equal stamps mean the same files untouched; a copy has another.
        """

    def close(self) -> None:
        """Release the files."""

    def __enter__(self) -> Self:
        """Return the checkpoint; it is closed at the end of the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
