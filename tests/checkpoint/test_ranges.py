"""Ranges of one file against a hub that fails: the bytes are right, and few come twice."""

from __future__ import annotations

import math
import random
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread
from threading import enumerate as threads
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import close_session, constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surgery.checkpoint import ranges
from surgery.checkpoint.hub import HubFile
from surgery.checkpoint.ranges import RangedFile
from surgery.checkpoint.spans import PartialFile
from surgery.errors import CheckpointError, ExecutionError
from tests.hub import TOKEN, files
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hub import Hub
    from tests.hub.wire import Answer

    Make = Callable[..., RangedFile]

NAME = "model.safetensors"
SIZE = 300_000
DATA = random.Random(1).randbytes(SIZE)
COUNTED = f"org/big/{NAME}"
STORED = re.compile(rf"GET /cdn/.*{NAME}")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces, short pauses."""
    monkeypatch.setattr(ranges, "PIECE", 64 << 10)
    monkeypatch.setattr(ranges, "_PAUSE", 0.002)


@pytest.fixture
def make(hub: Hub, tmp_path: Path) -> Iterator[Make]:
    """Return a factory that opens the file on the Hub, once per call."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / NAME).write_bytes(DATA)
    file = HubFile("org/big", hub.add("org/big", tmp_path / "made"), NAME, SIZE,
                   sha256(DATA).hexdigest())  # fmt: skip
    opened: list[RangedFile] = []

    def make(**other: Any) -> RangedFile:
        text = replace(file, **other)
        part = PartialFile(tmp_path / "parts" / NAME, text.size, text.content)
        opened.append(RangedFile(text, part))
        return opened[-1]

    yield make
    for ranged in opened:
        ranged.close()
    settled()
    assert hub.unknown == []


def settled() -> None:
    """No thread of ours is left, and the hub noticed that every connection is closed."""
    assert not [thread for thread in threads() if thread.name.startswith("surgery-fetch")]
    close_session()
    until(lambda: not [thread for thread in threads() if "process_request_thread" in thread.name])


def fetch_bytes(ranged: RangedFile, start: int, end: int) -> bytes:
    """Return the contents of the partial file."""
    with ranged.part.path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def holds(ranged: RangedFile, start: int = 0, end: int = SIZE) -> None:
    ranged.ensure_local(start, end)
    assert fetch_bytes(ranged, start, end) == DATA[start:end]


def refused(ranged: RangedFile, *words: str, start: int = 0, end: int = SIZE) -> str:
    with pytest.raises(CheckpointError) as caught:
        ranged.ensure_local(start, end)
    for word in words:
        assert word in str(caught.value)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def stored_bytes(ranged: RangedFile) -> int:
    return SIZE - sum(end - start for start, end in ranged.part.missing(0, SIZE))


READS = st.lists(
    st.tuples(st.integers(0, SIZE), st.integers(0, 40_000)).map(
        lambda pair: (pair[0], min(SIZE, sum(pair)))
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reads=READS, piece=st.sampled_from([999, 10_000, 1 << 20]), wants=st.integers(0, 4))
def test_random_reads_fetch_each_byte_once(
    reads: list[tuple[int, int]], piece: int, wants: int, hub: Hub, make: Make
) -> None:
    hub.forget()
    ranges.PIECE = piece  # type: ignore[misc]
    ranged = make(content="0")  # another content each time throws away what is here
    ranged.close()
    ranged = make()
    for start, end in reads[:wants]:
        ranged.want(start, end)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda read: holds(ranged, *read), reads))
    distinct = len({byte for start, end in reads for byte in range(start, end)})
    assert hub.sent[COUNTED] == ranged.fetched == stored_bytes(ranged) == distinct
    ranged.close()


def test_overlapping_wants_share_what_is_on_its_way(hub: Hub, make: Make) -> None:
    hub.fail(STORED, times=None, drip=(8192, 0.005))
    ranged = make()
    first = ranged.want(100_000, 200_000)
    again = ranged.want(100_000, 200_000)
    assert first == again
    around = ranged.want(50_000, 250_000)
    assert set(first) < set(around)
    assert ranged.want(40_000, 50_000)[0] not in around
    holds(ranged, 0, SIZE)
    assert ranged.want(0, SIZE) == ranged.want(7, 7) == []
    assert hub.sent[COUNTED] == SIZE


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_trouble_that_passes(status: int, hub: Hub, make: Make) -> None:
    hub.fail(f"GET /{COUNTED[:7]}", times=3, status=status)
    hub.fail(STORED, times=2, status=status, skip=1)
    holds(make())
    assert hub.sent[COUNTED] == SIZE


def test_retry_after_is_heeded(hub: Hub, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fail(STORED, status=429, retry_after=77)
    ranged, pauses = make(), list[float]()
    monkeypatch.setattr(ranged._stop, "wait", pauses.append)
    holds(ranged, 0, 10)
    assert pauses == [77]


def test_a_limit_of_the_hub_is_heeded() -> None:
    def wish(**headers: str) -> float:
        return ranges._wish(
            SimpleNamespace(headers={k.replace("_", "-"): headers[k] for k in headers})
        )

    assert wish(ratelimit='"resolvers";r=0;t=41') == 42
    assert wish(ratelimit='"resolvers";r=7;t=41', retry_after="3") == 3
    assert wish(retry_after="99999") == 600
    assert wish(retry_after="Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert wish() == 0


@pytest.mark.parametrize("break_name", ["reset_after", "short", "trimmed"])
def test_answers_that_break_off_go_on_where_they_stopped(
    break_name: str, hub: Hub, make: Make
) -> None:
    for count in (50_000, 1, 30_000, 64_000):
        hub.fail(STORED, times=2, **{break_name: count})
    ranged = make()
    holds(ranged)
    # A reset may throw away what was on the way; anything else loses nothing.
    assert hub.sent[COUNTED] <= SIZE + (8 * (64 << 10) if break_name == "reset_after" else 0)
    assert ranged.fetched == SIZE


def test_a_slow_drip_arrives(hub: Hub, make: Make) -> None:
    hub.fail(STORED, times=None, drip=(1024, 0.001))
    holds(make(), 0, 100_000)
    assert hub.sent[COUNTED] == 100_000


def test_an_answer_that_stalls_is_asked_again(
    hub: Hub, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    stalled = hub.fail(STORED, drip=(5000, math.inf)), hub.fail(STORED, delay=math.inf)
    holds(make(), 0, 20_000)
    assert [fault.hits for fault in stalled] == [1, 1]
    assert hub.sent[COUNTED] >= 20_000


def test_who_gives_up_every_time_is_given_up_once(hub: Hub, make: Make) -> None:
    broken = hub.fail(STORED, times=None, after_bytes=100_000, status=503)
    ranged = make()
    refused(ranged, f"org/big@{ranged.file.commit[:12]}/{NAME}: the Hub answered with",
                   "status 503 6 times in a row at byte", "of 300,000",
                   "Try again later: fetched ranges stay cached.")  # fmt: skip
    assert refused(ranged, "status 503 6 times in a row") != ""  # so is whoever asks later
    received = stored_bytes(ranged)
    assert received == ranged.fetched == hub.sent[COUNTED] >= 100_000
    holds(ranged, *next(iter_held(ranged)))  # what is here can be read
    ranged.close()
    broken.times = 0
    hub.forget()
    holds(make())
    assert hub.sent[COUNTED] == SIZE - received


def iter_held(ranged: RangedFile) -> Iterator[tuple[int, int]]:
    position = 0
    for start, end in [*ranged.part.missing(0, SIZE), (SIZE, SIZE)]:
        if position < start:
            yield position, start
        position = end


def test_connections_that_break_every_time(hub: Hub, make: Make) -> None:
    hub.fail(STORED, times=None, reset_after=0)
    refused(make(), "the Hub broke off the connection 6 times in a row at byte")


def test_one_failure_ends_the_others_at_once(
    hub: Hub, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that waits for the last piece does not wait until every other piece fails."""
    monkeypatch.setattr(ranges, "PIECE", 1000)
    hub.fail(STORED, times=1, status=403)
    hub.fail(STORED, times=None, drip=(100, 0.05))
    ranged = make()
    ranged.want(0, SIZE)
    refused(ranged, "status 403", start=SIZE - 10)
    assert hub.sent[COUNTED] < SIZE // 4


def test_nobody_listens(hub: Hub, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads share a client that is closed when one of them cannot connect."""
    ranged = make()
    monkeypatch.setattr(ranges.RangedFile, "_address", lambda _: "http://127.0.0.1:9/x")
    refused(ranged, "broke off the connection 6 times in a row at byte")


# The sockets that the client does not close when it is closed are its own affair.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_that_is_closed_under_us(
    hub: Hub, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    hub.fail(STORED, times=None, drip=(2000, 0.002))
    ranged, done = make(), Event()

    def spoil() -> None:
        # After progress only: six failures in a row without data are a failure of the range.
        progress = -1
        while not done.wait(0.02):
            if stored_bytes(ranged) > progress:
                progress = stored_bytes(ranged)
                close_session()

    other = Thread(target=spoil)
    other.start()
    try:
        holds(ranged)
    finally:
        done.set()
        other.join()


CHANGED = "changed while it was read: it was"


def test_another_content_on_the_way(hub: Hub, make: Make) -> None:
    hub.fail(STORED, times=None, drip=(8192, 0.002))
    hub.fail(f"GET /{COUNTED[:7]}", skip=2, changed=True)
    # Whichever a range meets first: the new name on the Hub, or the new size on its storage.
    assert "hanged" in refused(make(), "start again")


@pytest.mark.parametrize("redirect", [True, False])
def test_another_content_since_it_was_listed(redirect: bool, hub: Hub, make: Make) -> None:
    hub.redirect = redirect
    ranged = make(content="0" * 64)
    text = refused(ranged, CHANGED + " 0000000000000000...", sha256(DATA).hexdigest()[:16])
    assert sha256(DATA).hexdigest() not in text
    assert stored_bytes(ranged) == 0


def test_another_size_behind_the_same_name(hub: Hub, make: Make) -> None:
    refused(make(size=SIZE + 5), "asked for bytes", "the server answers with 'bytes 0-",
            f"/{SIZE}'", "It changed, or a proxy interferes")  # fmt: skip
    beyond = make(size=SIZE * 2)
    refused(beyond, f"answers with 'bytes */{SIZE}'", start=SIZE + 1, end=SIZE + 9)
    assert hub.sent[COUNTED] < SIZE * 2


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A server in between that changes what is asked, or what is answered."""

    def spoil(*, drop: str = "", status: int = 0, body: int = 0, **headers: str) -> None:
        honest = files._serve

        def serve(request: Any, *rest: Any) -> Answer:
            stored = {name: text for name, text in request.headers.items() if name != drop}
            answer = honest(replace(request, headers=stored), *rest)
            result = {name: headers.get(name.replace("-", ""), text)
                     for name, text in answer.headers.items()}  # fmt: skip
            return replace(answer, status=status or answer.status, headers=result,
                           body=answer.body + b"!" * body)  # fmt: skip

        monkeypatch.setattr(files, "_serve", serve)

    return spoil


def test_a_server_of_whole_files(hub: Hub, make: Make, spoil: Callable[..., None]) -> None:
    spoil(drop="range")
    hub.fail(STORED, times=None, drip=(4096, 0.01))
    ranged = make()
    refused(ranged, "asked for a range, the server sends whole files only", "--remote cache")
    ranged.close()
    settled()
    assert hub.sent[COUNTED] < SIZE * len([a for a in hub.requests if STORED.search(a)]) / 2


@pytest.mark.parametrize(
    "fetch_bytes",
    ["bytes 1-9/300000", "bytes 0-10/300000", "bytes 0-9/299999", "bytes 0-9/*", "0-9/300000",
     "bytes 9-0/300000", "bytes \u0660-9/300000", "bytes 0--1/300000", ""],
)  # fmt: skip
def test_another_range_than_was_asked_for(
    fetch_bytes: str, hub: Hub, make: Make, spoil: Callable[..., None]
) -> None:
    spoil(ContentRange=fetch_bytes.encode().decode("latin-1"))
    ranged = make()
    refused(ranged, "asked for bytes 0-9 of 300000, the server answers with", end=10)
    assert stored_bytes(ranged) == ranged.fetched == 0


def test_more_than_was_announced(hub: Hub, make: Make, spoil: Callable[..., None]) -> None:
    spoil(body=5)
    ranged = make()
    refused(ranged, "sent more bytes than announced", end=10)


@pytest.mark.parametrize(
    ("status", "words"), [(403, "status 403"), (404, "status 404"), (401, "status 401")]
)
def test_refusals_are_not_tried_again(status: int, words: str, hub: Hub, make: Make) -> None:
    fault = hub.fail(STORED, times=None, status=status)
    refused(make(), words, end=10)
    assert fault.hits == 1


def test_permission_that_ends_on_the_way(hub: Hub, make: Make) -> None:
    ranged = make()
    holds(ranged, 0, 1000)
    hub.gated.add("org/big")
    refused(ranged, "is gated on the Hub. Accept its conditions")
    assert stored_bytes(ranged) == 1000
    hub.gated.clear()
    del hub.store.repos["models", "org/big"]
    ranged.close()
    refused(make(), "no such model on the Hub that you may read")


def test_close_is_quick_and_keeps_what_came(hub: Hub, make: Make) -> None:
    hub.fail(STORED, times=None, drip=(500, 0.03))
    ranged = make()
    coming = ranged.want(0, SIZE)
    until(lambda: ranged.fetched >= 20_000)
    ranged.close()
    assert all(future.done() for future in coming)
    fetched = ranged.fetched
    assert 20_000 <= stored_bytes(ranged) == fetched < SIZE // 2
    refused(ranged, "was closed before all requested")
    hub.faults.clear()
    settled()
    hub.forget()
    holds(make())
    assert hub.sent[COUNTED] == SIZE - fetched


def test_close_does_not_wait_for_a_server_that_says_later(hub: Hub, make: Make) -> None:
    fault = hub.fail(STORED, times=None, status=429, retry_after=300)
    ranged = make()
    coming = ranged.want(0, SIZE)
    until(lambda: fault.hits)
    ranged.close()  # a test would hang here for 300 seconds
    assert all(future.done() for future in coming)
    assert fault.hits <= len(coming)


def test_waiting_lets_others_go_on(hub: Hub, make: Make, tmp_path: Path) -> None:
    """A file whose server says 'later' does not take the connections of another."""
    fault = hub.fail(STORED, times=8, status=503, retry_after=300)
    slow, quick = make(), make()
    slow.want(0, SIZE)
    slow.want(0, SIZE)
    until(lambda: fault.hits >= 5)
    fault.times = 0
    holds(quick)


def test_who_waits_while_it_is_closed_is_told(hub: Hub, make: Make) -> None:
    hub.fail(STORED, times=None, drip=(10, 0.01))
    ranged = make()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ranged.ensure_local, position, SIZE) for position in (0, 5, 250_000)]
        until(lambda: ranged.fetched)
        ranged.stop()
        for item in waiting:
            with pytest.raises(CheckpointError, match="was closed before all requested"):
                item.result()
    assert hub.sent[COUNTED] < SIZE // 4


def test_a_full_disk_stops_everything(
    hub: Hub, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranged = make()
    holds(ranged, 0, 10)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("surgery.checkpoint.spans.os.pwrite", full)
    with pytest.raises(ExecutionError, match="the disk is full"):
        ranged.ensure_local(0, SIZE)
    assert stored_bytes(ranged) == 10


def test_the_token_goes_to_the_hub_alone(hub: Hub, make: Make) -> None:
    holds(make(), 0, 1000)  # the storage host refuses whoever brings a token
    pairs = list(zip(hub.requests, hub.headers, strict=True))
    assert {header for requests, header in pairs if " /cdn/" in requests} == {""}
    assert {header for requests, header in pairs if " /org/" in requests} == {f"Bearer {TOKEN}"}


def test_no_descriptor_and_no_thread_is_left(hub: Hub, make: Make, tmp_path: Path) -> None:
    def thread_name() -> str:
        links = []
        for path in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                links.append(str(path.readlink()))
        return " ".join(links)

    ranged = make()
    holds(ranged)
    assert str(ranged.part.path) in thread_name()
    ranged.close()
    close_session()
    assert str(tmp_path / "parts") not in thread_name()
    assert not [thread for thread in threads() if thread.name.startswith("surgery-fetch")]


def test_a_compressed_answer_is_refused_and_not_kept(hub: Hub, make: Make) -> None:
    fault = hub.fail(STORED, times=None, packed=True)
    refused(make(), "asked for plain bytes", "sends them as gzip", "--remote cache")
    fault.times = 0
    holds(make())
