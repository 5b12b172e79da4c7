"""A model on the Hub that is fetched in part: which parts, when, and the messages."""

from __future__ import annotations

import json
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import enumerate as threads
from typing import TYPE_CHECKING

import numpy as np
import pytest
from huggingface_hub import constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from surgery.checkpoint import ranges, remote
from surgery.checkpoint.hub import fixed_revisions
from surgery.checkpoint.open import open_checkpoint
from surgery.checkpoint.remote import RemoteCheckpoint
from surgery.checkpoint.source import Checkpoint, Remote
from surgery.errors import CheckpointError, SurgeryError
from tests.checkpoint.files import CONFIG, entry, raw, sharded, single, write_index
from tests.checkpoint.test_ranges import settled
from tests.hub import TOKEN
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hub import Hub

WEIGHTS = "model.safetensors"
TWO = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
STORED = "GET /cdn/"


@pytest.fixture(autouse=True)
def _clean(hub: Hub) -> Iterator[None]:
    """Every test leaves no thread and no connection."""
    yield
    settled()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that fit small files."""
    monkeypatch.setattr(remote, "_FIRST", 16)
    for module in (ranges, remote):
        monkeypatch.setattr(module, "PIECE", 160)
    monkeypatch.setattr(ranges, "_PAUSE", 0.002)


def big(folder: Path, seed: int = 0, count: int = 12, width: int = 1 << 17) -> Path:
    """A model of some MB in two files."""
    folder.mkdir()
    draw = np.random.default_rng(seed)
    index = {}
    for number, shard in enumerate(TWO):
        names = [f"layers.{layer}.weight" for layer in range(number, count, 2)]
        save_file({n: draw.random(width, np.float32) for n in names}, folder / shard)
        index |= dict.fromkeys(names, shard)
    write_index(folder, index)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def opened(reference: str = "org/in", way: Remote = Remote.RANGES) -> RemoteCheckpoint:
    checkpoint = open_checkpoint(reference, way)
    assert isinstance(checkpoint, RemoteCheckpoint)
    return checkpoint


def read(checkpoint: Checkpoint, name: str, start: int = 0, end: int | None = None) -> bytes:
    stop = checkpoint.info.tensors[name].nbytes if end is None else end
    buffer = bytearray(stop - start)
    checkpoint.read_into(name, start, memoryview(buffer))
    return bytes(buffer)


def refused(*words: str, reference: str = "org/in") -> None:
    with pytest.raises(SurgeryError) as caught:
        open_checkpoint(reference, Remote.RANGES)
    for word in words:
        assert word in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert not [thread for thread in threads() if thread.name.startswith("surgery-fetch")]
    assert "vlm-surgery" not in descriptors()


def descriptors() -> str:
    results = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            results.append(str(path.readlink()))
        except OSError:  # the one that looked
            continue
    return " ".join(results)


def same(checkpoint: Checkpoint, folder: Path) -> None:
    """Every tensor of it, read in a random order on several threads, is what the folder holds."""
    with open_checkpoint(str(folder)) as local:
        assert checkpoint.info.tensors == local.info.tensors
        assert checkpoint.info.fingerprint == local.info.fingerprint
        assert checkpoint.info.metadata == local.info.metadata
        names = list(local.info.tensors)
        random.Random(3).shuffle(names)
        with ThreadPoolExecutor(4) as pool:
            result = list(pool.map(lambda name: read(checkpoint, name), names))
        assert result == [read(local, name) for name in names]


def sent(hub: Hub) -> int:
    """Bytes of weight files that left the Hub."""
    return sum(n for name, n in hub.sent.items() if name.endswith(".safetensors"))


@pytest.mark.parametrize("make", [single, sharded], ids=lambda make: make.__name__)
@pytest.mark.parametrize("redirect", [True, False])
@pytest.mark.usefixtures("small")
def test_headers_come_first_and_every_byte_once(
    make: object, redirect: bool, hub: Hub, tmp_path: Path
) -> None:
    hub.redirect = redirect
    folder = make(tmp_path / "made")  # type: ignore[operator]
    commit = hub.add("org/in", folder)
    with opened() as checkpoint:
        assert checkpoint.info.revision == commit
        for shard in checkpoint.info.shards:
            header = int.from_bytes((folder / shard).read_bytes()[:8], "little")
            assert header > 16
            assert hub.sent[f"org/in/{shard}"] == 8 + header
        assert checkpoint.fetched == sent(hub)
        same(checkpoint, folder)
        total = sum((folder / shard).stat().st_size for shard in checkpoint.info.shards)
        assert sent(hub) == checkpoint.fetched == total
    assert hub.unknown == []
    # Again: all is here, and nothing is fetched.
    hub.forget()
    with opened() as checkpoint:
        same(checkpoint, folder)
        assert checkpoint.fetched == sent(hub) == 0


def test_the_real_numbers_on_a_model_of_some_megabytes(hub: Hub, tmp_path: Path) -> None:
    folder = big(tmp_path / "made")
    hub.add("org/in", folder)
    with opened() as checkpoint:
        assert sent(hub) == checkpoint.fetched == 2 * (64 << 10)
        assert (
            read(checkpoint, "layers.3.weight", 1000, 2000)
            == read_local(folder, "layers.3.weight")[1000:2000]
        )
        same(checkpoint, folder)
    assert sent(hub) == sum((folder / shard).stat().st_size for shard in TWO)


def read_local(folder: Path, name: str) -> bytes:
    with open_checkpoint(str(folder)) as local:
        return read(local, name)


READ = st.tuples(st.integers(0, 11), st.integers(0, 4000), st.integers(0, 4000))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reads=st.lists(READ, min_size=1, max_size=15), brought=st.sets(st.integers(0, 11)))
def test_random_parts_of_tensors(
    reads: list[tuple[int, int, int]],
    brought: set[int],
    hub: Hub,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("random")
    folder = big(root / "made", seed=random.Random(str(reads)).randrange(1 << 30), width=1000)
    tensors = load_file(folder / TWO[0]) | load_file(folder / TWO[1])
    commit = hub.add("org/in", folder)
    hub.forget()
    remote._FIRST = 16  # type: ignore[misc]
    try:
        with opened(f"org/in@{commit}") as checkpoint:
            headers = checkpoint.fetched
            checkpoint.prefetch([f"layers.{layer}.weight" for layer in brought])

            def look(part: tuple[int, int, int]) -> None:
                layer, *cuts = part
                name, (start, end) = f"layers.{layer}.weight", sorted(cuts)
                assert read(checkpoint, name, start, end) == tensors[name].tobytes()[start:end]

            with ThreadPoolExecutor(4) as pool:
                list(pool.map(look, reads))
            for layer in brought:
                checkpoint.ensure_local(f"layers.{layer}.weight")
        expected = {(layer, byte) for layer in brought for byte in range(4000)}
        expected |= {(layer, b) for layer, x, y in reads for b in range(min(x, y), max(x, y))}
        assert sent(hub) == len(expected) + headers == checkpoint.fetched
    finally:
        remote._FIRST = 64 << 10  # type: ignore[misc]


@pytest.mark.usefixtures("small")
def test_fetch_tells_what_bring_then_does(hub: Hub, tmp_path: Path) -> None:
    folder = big(tmp_path / "made", width=100)
    commit = hub.add("org/in", folder)
    with opened() as checkpoint:
        headers = sent(hub)
        names = ["layers.2.weight", "layers.0.weight", "layers.4.weight", "layers.1.weight"]
        cost = checkpoint.fetch_cost([*names, *names])
        assert cost is not None
        assert (cost.repo, cost.commit, cost.way) == ("org/in", commit, Remote.RANGES)
        assert (cost.ranges, cost.headers) == (1600, headers)
        assert cost.requests == 8 + 3  # neighbours taken together
        assert cost.whole == sum((folder / shard).stat().st_size for shard in TWO)
        hub.forget()
        checkpoint.prefetch(names)
        for name in names:
            checkpoint.ensure_local(name)
        assert checkpoint.fetch_cost(names) is None
        assert sent(hub) == cost.ranges == checkpoint.fetched - headers
        assert len([requests for requests in hub.requests if STORED in requests]) == cost.requests
        checkpoint.prefetch(names)
        checkpoint.prefetch([])
        assert checkpoint.fetch_cost([]) is None
        with pytest.raises(ValueError, match="bytes"):
            read(checkpoint, names[0], 0, 401)
        assert sent(hub) == cost.ranges


@pytest.mark.usefixtures("small")
def test_auto_takes_whichever_is_less(hub: Hub, tmp_path: Path) -> None:
    folder = big(tmp_path / "made", width=1000)
    hub.add("org/in", folder)
    names = [f"layers.{layer}.weight" for layer in range(12)]
    with opened(way=Remote.AUTO) as checkpoint:
        for count, way in ((6, Remote.RANGES), (7, Remote.CACHE)):
            cost = checkpoint.fetch_cost(names[:count])
            assert cost is not None
            assert cost.way is way
        hub.forget()
        checkpoint.prefetch(names)
        assert sent(hub) == sum((folder / shard).stat().st_size for shard in TWO)
        assert checkpoint.fetch_cost(names) is None
        assert "/cache/" in checkpoint.stamp() or checkpoint.stamp().count(":") >= 8
        same(checkpoint, folder)
    hub.forget()
    with open_checkpoint("org/in", Remote.RANGES) as cached:  # from the cache it is a local one
        assert not isinstance(cached, RemoteCheckpoint)
        same(cached, folder)
    assert sent(hub) == 0


@pytest.mark.usefixtures("small")
def test_a_branch_that_moves_stays_where_it_was(hub: Hub, tmp_path: Path) -> None:
    first = big(tmp_path / "first", seed=1, width=500)
    commit = hub.add("org/in", first)
    with fixed_revisions(), opened() as checkpoint:
        assert read(checkpoint, "layers.3.weight") == read_local(first, "layers.3.weight")
        moved = hub.add("org/in", big(tmp_path / "second", seed=2, width=700))
        assert moved != commit
        assert read(checkpoint, "layers.4.weight") == read_local(first, "layers.4.weight")
        for reference in ("org/in", f"org/in@{commit}"):
            with opened(reference) as again:
                assert again.info.revision == commit
                same(again, first)
        with opened("org/in@main") as other:  # asked for by this name for the first time
            assert other.info.revision == moved
            same(other, tmp_path / "second")
    with fixed_revisions(), fixed_revisions(), opened() as later:
        assert later.info.revision == moved


@pytest.mark.usefixtures("small")
def test_a_file_that_changes_at_one_commit_is_begun_anew(hub: Hub, tmp_path: Path) -> None:
    folder = big(tmp_path / "made", width=500)
    hub.add("org/in", folder)
    with opened() as checkpoint:
        read(checkpoint, "layers.1.weight")
        other = big(tmp_path / "other", seed=5, width=500)
        repo = hub.store.find("org/in")
        assert repo is not None
        for shard in TWO:
            repo.change(shard, (other / shard).read_bytes())
        with pytest.raises(CheckpointError, match="changed while it was read"):
            read(checkpoint, "layers.5.weight")
    with opened() as checkpoint:
        same(checkpoint, other)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "found 0 bytes, too few for a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n" + b"x" * 99, "found a git-lfs pointer"),
        ((200_000_000).to_bytes(8, "little") + b"{" * 4000, "the header claims 200,000,000 bytes"),
        ((90_000).to_bytes(8, "little") + b"{" * 4000, "but the file has only 4,008"),
        (raw({"a": entry("F32", [9], 0, 36)}, b"x" * 30), "its header describes"),
        (raw({"a": entry("F32", [9], 0, 36)}, b"x" * 90), "bytes follow the last tensor"),
        (raw({"a.qweight": entry("F32", [9], 0, 36)}, b"x" * 36), "belongs to a quantised weight"),
        (b"\x80\x02" + b"x" * 5000, "found a pickle or zip file"),
    ],
)
@pytest.mark.usefixtures("small")
def test_files_that_are_no_models(data: bytes, words: str, hub: Hub, tmp_path: Path) -> None:
    folder = single(tmp_path / "made")
    (folder / WEIGHTS).write_bytes(data)
    hub.add("org/in", folder)
    refused(words)
    if not words.startswith("but the file"):
        assert sent(hub) <= 300


def test_an_index_that_names_what_is_not_there(hub: Hub, tmp_path: Path) -> None:
    folder = sharded(tmp_path / "made")
    (folder / TWO[1]).unlink()
    hub.add("org/in", folder)
    refused(f"the Hub does not have '{TWO[1]}'")


@pytest.mark.usefixtures("small")
def test_permission(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/in", big(tmp_path / "made", width=100), private=True)
    with opened() as checkpoint:
        hub.gated.add("org/in")
        with pytest.raises(CheckpointError, match=r"org/in@\w+: is gated on the Hub"):
            checkpoint.ensure_local("layers.7.weight")
    hub.gated.clear()
    hub.fail(STORED, status=403)
    with opened() as checkpoint, pytest.raises(CheckpointError, match="status 403"):
        checkpoint.ensure_local("layers.7.weight")
    with opened() as checkpoint:
        monkeypatch.setenv("HF_TOKEN", "")
        with pytest.raises(CheckpointError, match="no such model on the Hub that you may read"):
            checkpoint.ensure_local("layers.7.weight")


def test_no_room(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/in", big(tmp_path / "made", width=50_000))
    monkeypatch.setattr(remote, "free_bytes", lambda _: 100_000)
    with opened() as checkpoint:
        with pytest.raises(CheckpointError, match=r"\d+ kB have to be fetched to .*HF_ASSETS"):
            checkpoint.prefetch(["layers.1.weight"])
        assert sent(hub) == 2 * (64 << 10)


@pytest.mark.parametrize("harm", ["file", "read-only"])
def test_a_place_where_parts_cannot_be_kept(
    harm: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/in", single(tmp_path / "made"))
    (tmp_path / "assets").write_text("")
    if harm == "read-only":
        monkeypatch.setattr(constants, "HF_ASSETS_CACHE", "/proc/nowhere")
    refused("org/in: its files cannot be cached in", "Set HF_ASSETS_CACHE")


def test_names_that_would_leave_the_folder(hub: Hub, tmp_path: Path) -> None:
    folder = sharded(tmp_path / "made")
    write_index(folder, {"a": "../../../../evil.safetensors"})
    hub.add("org/in", folder)
    refused("is not a plain file name")
    assert not list(tmp_path.rglob("evil*"))


def test_without_a_network(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/in", sharded(tmp_path / "made"))
    opened().close()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE forbids fetching it")
    refused("HF_HUB_OFFLINE forbids fetching it", reference="org/other")


@pytest.mark.usefixtures("small")
def test_the_token_is_nowhere(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = big(tmp_path / "made", width=100)
    hub.add("org/in", folder)
    hub.fail(STORED, times=1, status=500, skip=3)
    hub.fail(STORED, times=1, reset_after=10, skip=5)
    for name in ("huggingface_hub", "httpx2", "httpcore2", "httpx", "httpcore", "surgery"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG), opened() as checkpoint:
        same(checkpoint, folder)
        hub.gated.add("org/no")
        hub.add("org/no", folder)
        with pytest.raises(CheckpointError) as caught:
            opened("org/no")
    for name in ("huggingface_hub", "httpx2", "httpcore2", "httpx", "httpcore", "surgery"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    text = f"{caught.value} {caplog.text} {''.join(capfd.readouterr())}"
    assert "GET" in caplog.text
    assert TOKEN not in text
    remaining = [path for path in (tmp_path / "assets").rglob("*") if path.is_file()]
    assert len(remaining) == 4
    assert not any(TOKEN.encode() in path.read_bytes() for path in remaining)
    assert f"Bearer {TOKEN}" in hub.headers
    for requests, header in zip(hub.requests, hub.headers, strict=True):
        assert (header == "") == requests.startswith(STORED)


def test_closing_is_quick_whatever_the_number_of_files(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/in", big(tmp_path / "made"))
    checkpoint = opened()
    hub.fail(STORED, times=None, drip=(1000, 0.05))
    headers = checkpoint.fetched
    checkpoint.prefetch(list(checkpoint.info.tensors))
    until(lambda: checkpoint.fetched >= headers + 5000)
    checkpoint.close()
    checkpoint.close()
    fetched = checkpoint.fetched
    hub.faults.clear()
    settled()
    hub.forget()
    with opened() as again:
        same(again, tmp_path / "made")
    whole = sum((tmp_path / "made" / shard).stat().st_size for shard in TWO)
    assert sent(hub) == whole - fetched > whole // 2


def test_giving_up_ends_the_wait(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/in", big(tmp_path / "made"))
    with opened() as checkpoint, ThreadPoolExecutor(1) as pool:
        hub.fail(STORED, times=None, drip=(100, 0.05))
        headers = sent(hub)
        checkpoint.prefetch(list(checkpoint.info.tensors))
        waiting = pool.submit(read, checkpoint, "layers.11.weight")
        until(lambda: waiting.running() and sent(hub) > headers)
        checkpoint.cancel()
        with pytest.raises(CheckpointError, match="was closed before"):
            waiting.result()


@pytest.mark.usefixtures("small")
def test_two_at_once(hub: Hub, tmp_path: Path) -> None:
    folder = big(tmp_path / "made", width=300)
    hub.add("org/in", folder)
    with opened() as item, opened() as two, ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(same, entry, folder) for entry in (item, two)]:
            done.result()
    with opened() as last:
        same(last, folder)
        assert last.fetched == 0


def test_a_folder_that_is_removed_is_not_read_as_zeros(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process starts again in its place while headers are being fetched."""
    hub.add("org/in", single(tmp_path / "made"))
    hold = remote._hold_header

    def and_removed(ranged: ranges.RangedFile) -> None:
        hold(ranged)
        path = ranged.part.path
        data = path.read_bytes()
        path.unlink()
        header = 8 + int.from_bytes(data[:8], "little")
        path.write_bytes(data[:header].ljust(len(data), b"\0"))

    monkeypatch.setattr(remote, "_hold_header", and_removed)
    with pytest.raises(CheckpointError, match="was removed while it was being read"):
        opened()


def test_a_repository_that_is_gone_is_not_served_from_the_cache(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/in", single(tmp_path / "made"))
    open_checkpoint("org/in").close()
    del hub.store.repos["models", "org/in"]
    refused("no such model on the Hub")
