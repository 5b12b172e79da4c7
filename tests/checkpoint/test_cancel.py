"""Canceled transfers: one outcome and no retry, with any error of the client."""

from __future__ import annotations

import errno
from hashlib import sha256
from threading import Event
from typing import TYPE_CHECKING

import httpx2 as httpx
import pytest

from surgery.checkpoint import ranges
from surgery.checkpoint.hub import HubFile
from surgery.checkpoint.ranges import RangedFile
from surgery.checkpoint.spans import PartialFile
from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(250)) * 40
SOME = 1000

BREAKS = {
    "descriptor": OSError(errno.EBADF, "Bad file descriptor"),
    "read": httpx.ReadError("[Errno 9] Bad file descriptor"),
    "reset": ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    "protocol": httpx.RemoteProtocolError("peer closed connection"),
    "closed": RuntimeError("Cannot send a request, as the client has been closed."),
    "stream": httpx.StreamClosed(),
    "timeout": httpx.ReadTimeout("timed out"),
    "more": None,
}


class Server(httpx.SyncByteStream):
    """A server whose first answer stops midway, and breaks when it should continue."""

    def __init__(self, error: Exception | None) -> None:
        self.go, self.reading = Event(), Event()
        self.asked = 0
        self._error = error
        self._client = httpx.Client(transport=httpx.MockTransport(self.answer))

    def session(self) -> httpx.Client:
        """Return the client that all threads share; a new one where it was closed."""
        if self._client.is_closed:
            self._client = httpx.Client(transport=httpx.MockTransport(self.answer))
        return self._client

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        headers = {"content-range": f"bytes {first}-{last}/{len(DATA)}"}
        if self.asked == 1:
            return httpx.Response(206, headers=headers, stream=self)
        body = httpx.ByteStream(DATA[first : last + 1])
        return httpx.Response(206, headers=headers, stream=body)

    def __iter__(self) -> Iterator[bytes]:
        yield DATA[:SOME]
        self.reading.set()
        assert self.go.wait(60)
        if isinstance(self._error, RuntimeError):
            self._client.close()
        if self._error is not None:
            raise self._error
        yield DATA[SOME:]


@pytest.fixture
def ranged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangedFile]:
    monkeypatch.setattr(ranges, "_PAUSE", 0.0)
    file = HubFile("org/big", "0" * 40, "model.safetensors", len(DATA), sha256(DATA).hexdigest())
    ranged_file = RangedFile(file, PartialFile(tmp_path / "part", len(DATA), file.content))
    yield ranged_file
    ranged_file.close()


@pytest.mark.parametrize("break_name", BREAKS)
def test_a_cancelled_transfer_is_not_tried_again(ranged, monkeypatch, break_name):
    server = Server(BREAKS[break_name])
    monkeypatch.setattr("huggingface_hub.utils.get_session", server.session)
    coming = ranged.want(0, len(DATA))
    assert server.reading.wait(60)
    ranged.stop()
    server.go.set()
    with pytest.raises(ranges.Stopped):
        coming[0].result()
    with pytest.raises(CheckpointError, match="was closed before all requested bytes"):
        ranged.ensure_local(0, len(DATA))
    assert server.asked == 1
    assert list(ranged.part.missing(0, len(DATA))) == [(SOME, len(DATA))]


@pytest.mark.parametrize(
    "break_name", [break_name for break_name in BREAKS if break_name != "more"]
)
def test_a_transfer_that_breaks_otherwise_goes_on(ranged, monkeypatch, break_name):
    server = Server(BREAKS[break_name])
    server.go.set()
    monkeypatch.setattr("huggingface_hub.utils.get_session", server.session)
    ranged.ensure_local(0, len(DATA))
    assert ranged.part.path.read_bytes() == DATA
    assert server.asked == 2


def test_a_failure_is_told_though_others_are_cancelled(ranged, monkeypatch):
    """The first failure cancels the other pieces; what those break with is not the reason."""
    monkeypatch.setattr(ranges, "PIECE", len(DATA) // 2)
    monkeypatch.setattr(ranges, "_ATTEMPTS", 1)
    server = Server(BREAKS["descriptor"])

    class Two(Server):
        def answer(self, request: httpx.Request) -> httpx.Response:
            if request.headers["range"].startswith("bytes=0-"):
                return server.answer(request)
            assert server.reading.wait(60)
            return httpx.Response(206, headers={"content-range": "bytes 0-0/1"}, content=b"x")

    monkeypatch.setattr("huggingface_hub.utils.get_session", Two(None).session)
    coming = ranged.want(0, len(DATA))
    with pytest.raises(CheckpointError, match="asked for bytes"):
        coming[1].result()
    server.go.set()
    with pytest.raises(ranges.Stopped):
        coming[0].result()
    with pytest.raises(CheckpointError, match="asked for bytes"):
        ranged.ensure_local(0, len(DATA))
