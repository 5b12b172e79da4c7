from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from surgery.checkpoint import digest
from surgery.checkpoint.digest import DigestCache, cache_folder, digest_range, digest_tensor
from surgery.checkpoint.local import LocalCheckpoint
from surgery.errors import CheckpointError
from tests.checkpoint.files import single

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "embed.weight"


@pytest.fixture
def old(tmp_path: Path) -> Iterator[LocalCheckpoint]:
    """A checkpoint whose files have not changed for a while."""
    folder = single(tmp_path / "m")
    with pytest.MonkeyPatch.context() as patch, LocalCheckpoint(folder) as checkpoint:
        patch.setattr(digest, "_SETTLED_NS", -(10**12))
        yield checkpoint


def truth(checkpoint: LocalCheckpoint, name: str = NAME) -> str:
    header = checkpoint.info.tensors[name]
    data = (checkpoint.info.folder / header.shard).read_bytes()
    return hashlib.sha256(data[header.offset : header.offset + header.nbytes]).hexdigest()


def spoil(checkpoint: LocalCheckpoint) -> None:
    """Change a weight behind the cache's back, keeping the file's times as they were."""
    header = checkpoint.info.tensors[NAME]
    path = checkpoint.info.folder / header.shard
    with path.open("r+b") as file:
        file.seek(header.offset)
        file.write(b"\x55\x55")


def test_hashes_ranges_of_any_size(tmp_path: Path) -> None:
    data = os.urandom(9 * 2**20)
    (tmp_path / "f").write_bytes(data)
    descriptor = os.open(tmp_path / "f", os.O_RDONLY)
    calls: list[int] = []
    for begin, size in ((0, len(data)), (5, 0), (1, 4 * 2**20), (7, 8 * 2**20 + 1)):
        expected = hashlib.sha256(data[begin : begin + size]).hexdigest()
        assert digest_range(descriptor, begin, size, calls.append) == expected
    with pytest.raises(CheckpointError, match="ended 1 bytes too early"):
        digest_range(descriptor, 10, len(data) - 9)
    os.close(descriptor)
    assert max(calls) == 4 * 2**20


def test_hashes_tensors(old: LocalCheckpoint) -> None:
    for name in old.info.tensors:
        assert digest_tensor(old, name) == DigestCache(None).digest(old, name) == truth(old, name)


def test_remembers_between_runs(old: LocalCheckpoint, tmp_path: Path) -> None:
    first = DigestCache(tmp_path / "cache")
    assert first.lookup(old, NAME) is None
    result = first.digest(old, NAME)
    first.save()
    again = DigestCache(tmp_path / "cache")
    assert again.lookup(old, NAME) == result == truth(old)
    assert again.lookup(old, "layers.0.half") is None


def test_forgets_when_the_file_changes(old: LocalCheckpoint, tmp_path: Path) -> None:
    first = DigestCache(tmp_path / "cache")
    before = first.digest(old, NAME)
    first.save()
    time.sleep(0.02)
    spoil(old)
    again = DigestCache(tmp_path / "cache")
    assert again.lookup(old, NAME) is None
    assert again.digest(old, NAME) == truth(old) != before


def test_does_not_trust_files_that_are_too_young(tmp_path: Path) -> None:
    with LocalCheckpoint(single(tmp_path / "m")) as checkpoint:
        first = DigestCache(tmp_path / "cache")
        first.digest(checkpoint, NAME)
        first.save()
        assert DigestCache(tmp_path / "cache").lookup(checkpoint, NAME) is None


def test_verifying_asks_the_bytes(old: LocalCheckpoint, tmp_path: Path) -> None:
    cache = DigestCache(tmp_path / "cache")
    cache.remember(old, NAME, "0" * 64)
    assert cache.digest(old, NAME) == "0" * 64
    assert digest_tensor(old, NAME) == truth(old)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"key": "x"}', '{"key": KEY, "sha256": {"a": 3}}', "[" * 100_000]
)
def test_a_damaged_record_is_as_good_as_none(
    text: str, old: LocalCheckpoint, tmp_path: Path
) -> None:
    first = DigestCache(tmp_path / "cache")
    first.digest(old, NAME)
    first.save()
    (record,) = (tmp_path / "cache").iterdir()
    key = record.read_text().partition('"key": ')[2].rpartition(', "sha256"')[0]
    record.write_text(text.replace("KEY", key))
    again = DigestCache(tmp_path / "cache")
    assert again.lookup(old, NAME) is None
    again.digest(old, NAME)
    again.save()
    assert DigestCache(tmp_path / "cache").lookup(old, NAME) == truth(old)


def test_a_place_that_cannot_be_written_costs_nothing(old: LocalCheckpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = DigestCache(tmp_path / "file" / "cache")
    cache.digest(old, NAME)
    cache.save()
    assert cache.lookup(old, NAME) == truth(old)


def test_many_may_save_at_once(old: LocalCheckpoint, tmp_path: Path) -> None:
    def run(name: str) -> None:
        cache = DigestCache(tmp_path / "cache")
        cache.digest(old, name)
        cache.save()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, [*old.info.tensors] * 4))
    (record,) = (tmp_path / "cache").iterdir()
    assert record.suffix == ".json"
    cache = DigestCache(tmp_path / "cache")
    known_names = [cache.lookup(old, name) for name in old.info.tensors]
    assert all(
        result in (None, truth(old, n))
        for n, result in zip(old.info.tensors, known_names, strict=True)
    )


def test_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VLM_SURGERY_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "digests"
    monkeypatch.setenv("VLM_SURGERY_CACHE", "")
    assert cache_folder() is None
    monkeypatch.delenv("VLM_SURGERY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "vlm-surgery" / "digests"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "vlm-surgery" / "digests"
