"""Trouble on order, and what the real client makes of it."""

from __future__ import annotations

import math
import random
import re
import socket
import time
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx2
import pytest
from huggingface_hub import (
    HfApi,
    constants,
    file_download,
    get_session,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import _http

from tests.hub import TOKEN, Hub

SIZE = 100_000

NAMES = ("a.safetensors", "b.safetensors", "c.safetensors")

GET = "GET /cdn"


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's naps, which are not taken; and small blocks, so that it keeps what it got."""
    naps: list[float] = []
    clock = SimpleNamespace(sleep=naps.append, time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr(_http, "time", clock)
    monkeypatch.setattr(file_download, "time", clock)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    return naps


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    output = tmp_path / "made"
    output.mkdir()
    for seed, name in enumerate(NAMES):
        (output / name).write_bytes(random.Random(seed).randbytes(SIZE))
    return output


@pytest.fixture
def data(hub: Hub, folder: Path) -> bytes:
    """The content of a file of `org/in`."""
    hub.add("org/in", folder)
    return (folder / NAMES[0]).read_bytes()


def download() -> bytes:
    return Path(hf_hub_download("org/in", NAMES[0])).read_bytes()


def count_requests(hub: Hub, word: str) -> int:
    return sum(word in text for text in hub.requests)


def test_an_error_of_the_server_is_sent_so_many_times(
    hub: Hub, folder: Path, slept: list[float]
) -> None:
    hub.fail("PUT /upload", times=2, status=500)
    api = HfApi()
    api.create_repo("org/new")
    api.upload_folder(repo_id="org/new", folder_path=folder)
    assert count_requests(hub, "PUT /upload") == 5
    assert len(slept) == 2
    assert sum(hub.received.values()) == 5 * SIZE


def test_an_upload_that_failed_sends_only_what_is_missing(hub: Hub, folder: Path) -> None:
    api = HfApi()
    api.create_repo("org/new")
    lost = sha256((folder / NAMES[2]).read_bytes()).hexdigest()  # last: the others have begun
    fault = hub.fail(re.compile(f"PUT /upload/.*{lost}"), times=None, status=403)
    with pytest.raises(RuntimeError, match=rf"Error while uploading '{re.escape(NAMES[2])}'"):
        api.upload_folder(repo_id="org/new", folder_path=folder)
    assert api.list_repo_files("org/new") == [".gitattributes"]
    hub.faults.remove(fault)
    hub.forget()
    api.upload_folder(repo_id="org/new", folder_path=folder)
    assert dict(hub.received) == {lost: SIZE}
    assert {NAMES[0], NAMES[1], NAMES[2]} < set(hub.files("org/new"))


def test_a_connection_that_is_reset_while_sending_is_tried_again(hub: Hub, folder: Path) -> None:
    hub.chunk_size = 40_000
    fault = hub.fail("PUT /upload", skip=1, reset_upload=10_000)
    api = HfApi()
    api.create_repo("org/new")
    api.upload_file(repo_id="org/new", path_in_repo=NAMES[0], path_or_fileobj=folder / NAMES[0])
    assert fault.hits == 1
    assert count_requests(hub, "PUT /upload") == 4
    assert sum(hub.received.values()) == SIZE + 10_000
    assert hub.files("org/new")[NAMES[0]] == (folder / NAMES[0]).read_bytes()


def test_a_busy_server_is_left_alone_for_a_while(hub: Hub, data: bytes, slept: list[float]) -> None:
    hub.fail(GET, status=429, retry_after=7)
    assert download() == data
    assert slept == [8.0]


def test_a_reset_while_reading_is_not_survived(hub: Hub, data: bytes) -> None:
    hub.fail(GET, reset_after=30_000)
    with pytest.raises(httpx2.ReadError):
        download()
    assert hub.sent[f"org/in/{NAMES[0]}"] == 30_000
    assert download() == data
    assert hub.sent[f"org/in/{NAMES[0]}"] == 30_000 + SIZE


def test_a_body_that_ends_early_is_fetched_on_from_there(hub: Hub, data: bytes) -> None:
    hub.fail(GET, short=30_000)
    assert download() == data
    assert count_requests(hub, GET) == 2
    assert hub.sent[f"org/in/{NAMES[0]}"] == SIZE


def test_a_rule_may_wait_for_bytes(hub: Hub, data: bytes) -> None:
    hub.fail(GET, after_bytes=20_000, short=30_000, times=None)
    hub.fail(GET, short=20_000)
    assert download() == data
    # 20000, then twice 30000, and the rest, which is shorter than where the rule would stop.
    assert count_requests(hub, GET) == 4


def test_a_range_with_fewer_bytes_than_asked_for(hub: Hub, data: bytes) -> None:
    hub.fail(GET, trimmed=10)
    url = hf_hub_url("org/in", NAMES[0])
    answer = get_session().get(url, headers={"Range": "bytes=100-199"})
    assert (answer.status_code, answer.content) == (206, data[100:110])
    assert answer.headers["content-range"] == f"bytes 100-109/{SIZE}"
    assert answer.headers["content-length"] == "10"


def test_a_wrong_byte_goes_unseen(hub: Hub, data: bytes) -> None:
    hub.fail(GET, flip=5)
    got = download()
    assert [i for i in range(SIZE) if got[i] != data[i]] == [5]


def test_a_file_changes_under_its_reader(hub: Hub, data: bytes) -> None:
    hub.fail(GET, changed=True)
    api = HfApi()
    url = hf_hub_url("org/in", NAMES[0])
    before = api.get_hf_file_metadata(url=url, token=TOKEN)
    with pytest.raises(OSError, match="Consistency check failed"):
        download()
    after = api.get_hf_file_metadata(url=url, token=TOKEN)
    assert after.commit_hash == before.commit_hash
    assert after.etag != before.etag
    assert after.size == SIZE + 1


def test_a_slow_body_arrives(hub: Hub, data: bytes) -> None:
    hub.fail(GET, drip=(25_000, 0.1))
    assert download() == data
    assert count_requests(hub, GET) == 1


def test_a_late_answer_is_waited_for_no_longer_than_told(
    hub: Hub, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    hub.fail(GET, delay=math.inf)
    assert download() == data
    assert count_requests(hub, GET) >= 2


def test_a_commit_whose_answer_is_lost_was_made(hub: Hub) -> None:
    api = HfApi()
    api.create_repo("org/new")
    hub.fail("/commit/main", lost=True)
    with pytest.raises(httpx2.ReadError):
        api.upload_file(repo_id="org/new", path_in_repo="x.txt", path_or_fileobj=b"x")
    assert hub.files("org/new")["x.txt"] == b"x"


def test_everything_is_broken(hub: Hub, data: bytes) -> None:
    hub.broken = 418
    with pytest.raises(LocalEntryNotFoundError):
        download()
    with pytest.raises(HfHubHTTPError, match="418"):
        HfApi().whoami()


def test_a_body_that_is_shorter_than_promised_is_refused(hub: Hub) -> None:
    host = urlsplit(hub.endpoint)
    head = (
        "POST /api/repos/create HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n"
    )
    with socket.create_connection((host.hostname, host.port)) as line:
        line.sendall(head.encode() + b'{"name": "x", "organization": "org"}')
        line.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: line.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"100 bytes were promised, 36 came" in answer
    assert hub.store.repos == {}
