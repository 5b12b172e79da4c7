"""A checkpoint on the Hub with local headers, and bytes fetched on request."""

from __future__ import annotations

from contextlib import ExitStack
from threading import Lock
from typing import TYPE_CHECKING, Final

from surgery.checkpoint.failure import free_bytes
from surgery.checkpoint.header import MAX_HEADER
from surgery.checkpoint.hub import fetch_weights, weight_files
from surgery.checkpoint.local import LocalCheckpoint
from surgery.checkpoint.ranges import CONNECTIONS, PIECE, RangedFile
from surgery.checkpoint.source import Closing, Fetch, Remote
from surgery.checkpoint.spans import PartialFile
from surgery.errors import CheckpointError
from surgery.text import size_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from surgery.checkpoint.hub import Snapshot
    from surgery.checkpoint.source import CheckpointInfo

_FIRST: Final = 64 << 10
"""Bytes of a file that are asked for at first: most headers are shorter."""


def range_folder(snapshot: Snapshot) -> Path:
    """Return the folder of cached ranges, in the Hub client's folder for other programs.

    It is `assets/vlm-surgery` in HF_HOME, and HF_ASSETS_CACHE moves it.

    Raises:
        CheckpointError: If it cannot be made.
    """
    from huggingface_hub import cached_assets_path, constants

    place = constants.HF_ASSETS_CACHE
    try:
        return cached_assets_path(
            "vlm-surgery", snapshot.repo.replace("/", "--"), snapshot.commit, assets_dir=place
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "a file is in the way"
        raise CheckpointError(
            f"{snapshot.repo}: its files cannot be cached in {place}: {reason}. Set "
            f"HF_ASSETS_CACHE to a folder you may write to."
        ) from error


class RemoteCheckpoint(Closing):
    """An open checkpoint on the Hub: headers now, bytes by range or whole when they are wanted.

    Ranges stay on disk, so that what was interrupted does not fetch them again.

    Args:
        snapshot: Its small files, at the commit that everything is read at.
        reference: What the user wrote.
        remote: How bytes come here.

    Raises:
        CheckpointError: If the model cannot be used or the Hub does not answer.
    """

    def __init__(self, snapshot: Snapshot, reference: str, remote: Remote = Remote.AUTO) -> None:
        self._snapshot = snapshot
        self._remote = remote
        self._lock = Lock()
        self._whole: LocalCheckpoint | None = None
        self._folder = folder = range_folder(snapshot)
        with ExitStack() as undo:
            self._files: dict[str, RangedFile] = {}
            files = weight_files(snapshot)
            threads = min(CONNECTIONS, 2 * CONNECTIONS // max(len(files), 1)) or 1
            for name, file in files.items():
                part = PartialFile(folder / name, file.size, file.content)
                ranged = RangedFile(file, part, threads)
                undo.callback(ranged.close)
                self._files[name] = ranged
            undo.callback(self.cancel)  # before one after the other is closed
            for ranged in self._files.values():
                ranged.want(0, min(_FIRST, ranged.file.size))
            for ranged in self._files.values():
                _hold_header(ranged)
            self._ranged = undo.enter_context(
                LocalCheckpoint(snapshot.folder, reference, snapshot.commit, folder)
            )
            self._check_same(folder)
            self._open = undo.pop_all()
        self._headers = self.fetched

    def _check_same(self, folder: Path) -> None:
        """Refuse to read one file and fill another: a folder that was removed meanwhile."""
        for name, ranged in self._files.items():
            tensors = (t for t in self._ranged.info.tensors.values() if t.shard == name)
            header = next(tensors, None)
            place = self._ranged.file_range(header.name) if header is not None else None
            if place is not None and not ranged.part.is_open_as(place[0]):
                raise CheckpointError(
                    f"{folder / name}: was removed while it was being read. Start again, and let "
                    f"the folder be while something runs."
                )

    @property
    def info(self) -> CheckpointInfo:
        """Headers and configuration."""
        return self._ranged.info

    @property
    def fetched(self) -> int:
        """Bytes of weight files that were fetched by range so far."""
        return sum(ranged.fetched for ranged in self._files.values())

    def read_into(self, name: str, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of tensor `name` from byte `start` of the tensor on.

        Raises:
            CheckpointError: If they cannot be fetched, or the file changed.
            ValueError: If the tensor has fewer bytes than are asked for.
        """
        if self._whole is None:
            header = self.info.tensors.get(name)
            if header is not None and 0 <= start <= header.nbytes - buffer.nbytes:
                begin = header.offset + start
                self._files[header.shard].ensure_local(begin, begin + buffer.nbytes)
        (self._whole or self._ranged).read_into(name, start, buffer)

    def file_range(self, name: str) -> tuple[int, int] | None:
        """Return descriptor and absolute offset of a tensor; `ensure_local` fetches its bytes."""
        return (self._whole or self._ranged).file_range(name)

    def ensure_local(self, name: str) -> None:
        """Have the bytes of a tensor where `file_range` says.

        Raises:
            CheckpointError: If they cannot be fetched, or the file changed.
        """
        if self._whole is None:
            header = self.info.tensors[name]
            self._files[header.shard].ensure_local(header.offset, header.offset + header.nbytes)

    def fetch_cost(self, names: Collection[str]) -> Fetch | None:
        """Return the cost of fetching these tensors; None if all are local."""
        if self._whole is not None:
            return None
        ranges = requests = 0
        for shard, start, end in self._missing_ranges(names):
            for begin, stop in self._files[shard].part.missing(start, end):
                ranges += stop - begin
                requests += -(-(stop - begin) // PIECE)
        if not ranges:
            return None
        whole = sum(
            ranged.file.size
            for name, ranged in self._files.items()
            if not (self._snapshot.folder / name).is_file()
        )
        way = self._remote
        if way is Remote.AUTO:
            way = Remote.RANGES if 2 * ranges <= whole else Remote.CACHE
        repo, commit = self._snapshot.repo, self._snapshot.commit
        return Fetch(repo, commit, ranges, requests, self._headers, whole, way)

    def prefetch(self, names: Collection[str]) -> None:
        """Begin to fetch the bytes of these tensors, the way that `fetch_cost` says.

        Whole models are here when this returns; ranges come while others are read.

        Raises:
            CheckpointError: If they cannot be fetched, or there is no room for them.
        """
        with self._lock:
            cost = self.fetch_cost(names)
            if cost is None:
                return
            if cost.way is Remote.CACHE:
                fetch_weights(self._snapshot)
                self._whole = self._open.enter_context(
                    LocalCheckpoint(
                        self._snapshot.folder, self.info.reference, self._snapshot.commit
                    )
                )
                return
            _check_room(self._folder, cost)
            for shard, start, end in self._missing_ranges(names):
                self._files[shard].want(start, end)

    def _missing_ranges(self, names: Collection[str]) -> Iterator[tuple[str, int, int]]:
        """Return the byte ranges of these tensors: file, start, end; adjacent ranges joined."""
        headers = [self.info.tensors[name] for name in set(names)]
        current: tuple[str, int, int] | None = None
        for header in sorted(headers, key=lambda h: (h.shard, h.offset)):
            end = header.offset + header.nbytes
            if current is not None and current[0] == header.shard and current[2] == header.offset:
                current = (header.shard, current[1], end)
                continue
            if current is not None:
                yield current
            current = (header.shard, header.offset, end)
        if current is not None:
            yield current

    def check_unchanged(self) -> None:
        """Check that configuration, and weights in the cache, are what they were when opened.

        Ranges never go stale: each response is compared with the content id of the file.

        Raises:
            CheckpointError: If a file was written to, replaced, moved or removed.
        """
        if self._whole is not None:
            self._whole.check_unchanged()
        self._ranged.check_configuration()

    def stamp(self) -> str:
        """Text that changes when one of the weight files does: what the Hub says they are."""
        if self._whole is not None:
            return self._whole.stamp()
        return " ".join(ranged.file.content for ranged in self._files.values())

    def cancel(self) -> None:
        """Cancel fetches in flight. Waiting threads get an error. Returns immediately."""
        for ranged in self._files.values():
            ranged.stop()

    def close(self) -> None:
        """End what is on its way, and release the files."""
        self._open.close()


def _hold_header(ranged: RangedFile) -> None:
    """Have a file's safetensors header here; whether it is one is for its reader to say."""
    size = ranged.file.size
    ranged.ensure_local(0, min(_FIRST, size))
    with ranged.part.path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length <= MAX_HEADER:
        ranged.ensure_local(0, min(8 + length, size))


def _check_room(folder: Path, cost: Fetch) -> None:
    """Refuse to fetch more than the disk can hold."""
    free = free_bytes(folder)
    if cost.ranges > free:
        raise CheckpointError(
            f"{cost.repo}: {size_text(cost.ranges)} have to be fetched to {folder}, where "
            f"{size_text(free)} are free. Make room, or set HF_ASSETS_CACHE to a folder on another "
            f"disk."
        )
