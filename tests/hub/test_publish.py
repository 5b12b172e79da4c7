"""One commit, complete or absent, with any failure on the way."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from surgery.errors import PublishError
from surgery.hub.account import client
from surgery.hub.bundle import Bundle
from surgery.hub.failure import HubBusyError
from surgery.hub.publish import compare, publish
from tests.hub import TOKEN, Hub
from tests.hub.merges import (
    REPO,
    asked,
    look,
    merged,
    packed,
    same,
    send,
    shards,
    subject,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.hub.package import Package

pytestmark = pytest.mark.usefixtures("slept")

COMMIT = f"POST /api/models/{REPO}/commit/"


def whole(hub: Hub) -> bool:
    """Check that every large object was received once, without an extra byte."""
    sizes = {
        oid: len(data)
        for repo in hub.store.repos.values()
        for oid, data in repo.objects.items()
        if oid in hub.received
    }
    return dict(hub.received) == sizes


def test_one_commit_and_every_byte_once(hub: Hub, merge_package: Package) -> None:
    done = send(merge_package)
    assert same(hub, merge_package)
    assert asked(hub, COMMIT) == 1
    assert whole(hub)
    assert done.commit == hub.store.find(REPO).head("main").id
    assert (done.files, done.nbytes) == (
        len(merge_package.bundle.files),
        merge_package.bundle.nbytes,
    )
    assert (done.private, done.copied) == (True, ())
    assert done.url == f"{hub.endpoint}/{REPO}"
    assert hub.store.find(REPO).private
    assert hub.unknown == []


def test_public_only_where_told_so(hub: Hub, merge_package: Package) -> None:
    done = send(merge_package, private=False)
    assert not hub.store.find(REPO).private
    assert not done.private


def test_what_is_there_already_is_left(hub: Hub, merge_package: Package) -> None:
    first = send(merge_package)
    hub.received.clear()
    again = send(merge_package)
    assert again.commit == first.commit
    assert len(list(hub.store.find(REPO).history(hub.store.find(REPO).head("main")))) == 2
    assert not hub.received


# Trouble.


@pytest.mark.parametrize("status", [500, 504, 429])
@pytest.mark.parametrize("route", ["PUT /upload", "/preupload/", "objects/batch"])
def test_a_hub_with_hiccups(hub: Hub, merge_package: Package, status: int, route: str) -> None:
    fault = hub.fail(route, times=2, status=status, retry_after=1 if status == 429 else None)
    send(merge_package)
    assert fault.hits == 2
    assert same(hub, merge_package)
    assert asked(hub, COMMIT) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_commit_that_is_refused_for_now(hub: Hub, merge_package: Package, status: int) -> None:
    fault = hub.fail(COMMIT, times=2, status=status)
    hub.received.clear()
    send(merge_package)
    assert fault.hits == 2
    assert same(hub, merge_package)
    assert whole(hub)  # nothing was sent again for that


def test_the_hub_says_how_long_to_wait(
    hub: Hub, merge_package: Package, slept: list[float]
) -> None:
    hub.fail("PUT /upload", status=429, retry_after=37)
    send(merge_package)
    assert any(37 <= nap <= 39 for nap in slept)


@pytest.mark.parametrize("after", [0, 1, 1000, 100_000])
def test_connections_that_break_in_an_upload(hub: Hub, merge_package: Package, after: int) -> None:
    fault = hub.fail("PUT /upload", skip=1, times=2, reset_upload=after)
    send(merge_package)
    assert fault.hits == 2
    assert same(hub, merge_package)
    assert asked(hub, COMMIT) == 1


def test_an_upload_in_parts(hub: Hub, merge_package: Package) -> None:
    hub.chunk_size = 200_000
    hub.fail("PUT /upload", skip=3, times=2, reset_upload=5000)
    hub.fail("PUT /upload", skip=5, times=1, status=500)
    send(merge_package)
    assert same(hub, merge_package)


def test_an_answer_to_the_commit_that_is_lost(hub: Hub, merge_package: Package) -> None:
    hub.fail(COMMIT, lost=True)
    done = send(merge_package)
    assert same(hub, merge_package)
    repo = hub.store.find(REPO)
    assert done.commit == repo.head("main").id
    assert len(list(repo.history(repo.head("main")))) == 2  # the first is the hub's own
    assert whole(hub)


def test_so_is_one_of_an_update_with_files_to_delete(
    hub: Hub, merge_package: Package, tmp_path: Path
) -> None:
    old = Bundle({**merge_package.bundle.files, "old.txt": b"old"})
    send(replace(merge_package, bundle=old))
    target = replace(look(), published=look().published | {"old.txt"})
    hub.fail(COMMIT, lost=True)
    publish(client(), merge_package.bundle, target, "A merge")
    assert same(hub, merge_package)


def test_a_hub_that_stays_down(hub: Hub, merge_package: Package, slept: list[float]) -> None:
    hub.fail(COMMIT, times=None, status=503)
    output: list[str] = []
    with pytest.raises(HubBusyError, match=f"{REPO}: uploading: .* status 503") as error:
        publish(client(), merge_package.bundle, look(), "A merge", report=output.append)
    assert str(error.value).endswith("Files that arrived are not sent again.")
    assert len(output) == 4
    assert all("Trying again in" in text for text in output)
    assert {2.0, 4.0, 8.0, 16.0} <= set(slept)
    assert hub.files(REPO).keys() == {".gitattributes"}
    hub.faults.clear()
    hub.received.clear()
    send(merge_package)  # once more, later
    assert not hub.received
    assert same(hub, merge_package)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413, 418])
def test_a_refusal_is_not_asked_for_twice(hub: Hub, merge_package: Package, status: int) -> None:
    fault = hub.fail(COMMIT, times=None, status=status)
    with pytest.raises(PublishError, match=f"{REPO}: uploading: ") as error:
        send(merge_package)
    assert not isinstance(error.value, HubBusyError)
    assert fault.hits == 1
    assert "http" not in str(error.value)


def test_signatures_are_in_no_message_and_no_warning(
    hub: Hub, merge_package: Package, caplog: pytest.LogCaptureFixture
) -> None:
    hub.fail("PUT /upload", times=None, status=500)
    output: list[str] = []
    with (
        caplog.at_level(logging.DEBUG, "huggingface_hub"),
        pytest.raises(PublishError) as error,
    ):
        publish(client(), merge_package.bundle, look(), "A merge", report=output.append)
    text = "\n".join([str(error.value), *output, caplog.text])
    assert "HTTP Error 500" in text
    for word in ("signature=", TOKEN, "Bearer"):
        assert word not in text


def test_a_reset_does_not_tell_them_either(
    hub: Hub, merge_package: Package, caplog: pytest.LogCaptureFixture
) -> None:
    hub.fail("PUT /upload", times=3, reset_upload=10)
    with caplog.at_level(logging.DEBUG, "huggingface_hub"):
        send(merge_package)
    assert "thrown while requesting" in caplog.text
    assert "signature=" not in caplog.text


# What is there must be what was sent.


def test_another_content_there_is_refused(hub: Hub, merge_package: Package) -> None:
    send(merge_package)
    shard = "model-00002-of-00004.safetensors"
    repo = hub.store.find(REPO)
    for name in (shard, "config.json"):
        good = repo.head("main").files[name].data
        for bad in (good[:-1] + b"?", good[:-1], good + b"!", b""):
            repo.change(name, bad)
            with pytest.raises(PublishError, match=rf"{name}' has .* there, .* here.*do not use"):
                compare(client(), merge_package.bundle, look(), repo.head("main").id)
        repo.change(name, good)
    del repo.head("main").files[shard]
    with pytest.raises(PublishError, match=f"{shard}' is not there"):
        compare(client(), merge_package.bundle, look(), repo.head("main").id)


def test_it_is_found_out_at_once(
    hub: Hub, merge_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that keeps something else than it was sent."""
    from tests.hub.store import Repo

    commit = Repo.commit

    def spoilt(self: Repo, *value: object, **more: object) -> object:
        output = commit(self, *value, **more)
        self.change("tokenizer.json", b"{}")
        return output

    monkeypatch.setattr(Repo, "commit", spoilt)
    with pytest.raises(PublishError, match=r"somebody/mixed@\w{12}: 'tokenizer\.json' has"):
        send(merge_package)


def test_listings_of_several_pages_are_read_whole(hub: Hub, merge_package: Package) -> None:
    hub.page_size = 3
    send(merge_package)
    assert same(hub, merge_package)


# Files that a parent on the Hub has already.


@pytest.fixture
def halves(hub: Hub, tmp_path: Path) -> tuple[Path, Mapping[str, str]]:
    """A merge that leaves some shards of its base as they are, and how often its base is there."""
    models = shards(hub, tmp_path)
    return merged(tmp_path / "out", **models), models


def with_parents(out: Path, output: list[str] | None = None, repo: str = REPO):
    by_key = subject(out, repo)
    package = packed(out, repo)
    say = (output if output is not None else []).append
    merge = (package, by_key.parents)
    return package, publish(
        client(), package.bundle, look(repo), "A merge", merge=merge, report=say
    )


def unchanged(hub: Hub, out: Path) -> set[str]:
    files = hub.files("org/in")
    return {
        path.name for path in out.glob("*.safetensors") if files.get(path.name) == path.read_bytes()
    }


def test_unchanged_shards_are_copied_by_the_hub(hub: Hub, halves: tuple) -> None:
    out, _ = halves
    hub.xet_hashes = True
    stored = unchanged(hub, out)
    assert 0 < len(stored) < 4
    hub.forget()
    package, done = with_parents(out)
    assert set(done.copied) == stored
    assert same(hub, package)
    assert asked(hub, COMMIT) == 1
    assert not {package.bundle.sha256(name) for name in stored} & hub.received.keys()
    assert sum(hub.received.values()) == sum(
        package.bundle.size(name)
        for name in package.bundle.files
        if name.endswith((".safetensors", ".png")) and name not in stored
    )
    assert hub.unknown == []


def test_without_such_hashes_they_are_sent(hub: Hub, halves: tuple) -> None:
    out, _ = halves
    hub.forget()
    package, done = with_parents(out)
    assert done.copied == ()
    assert {package.bundle.sha256(name) for name in unchanged(hub, out)} < hub.received.keys()
    assert same(hub, package)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_where_the_hub_does_not_copy_they_are_sent(hub: Hub, halves: tuple, status: int) -> None:
    out, _ = halves
    hub.xet_hashes = True
    hub.fail("/lfs-files/duplicate", times=None, status=status)
    output: list[str] = []
    package, done = with_parents(out, output)
    assert same(hub, package)
    assert output == ["the Hub does not copy files of org/in; they are sent instead"]
    assert done.copied == ()
    assert asked(hub, COMMIT) == 1


def test_a_busy_hub_copies_later(hub: Hub, halves: tuple) -> None:
    out, _ = halves
    hub.xet_hashes = True
    hub.fail("/lfs-files/duplicate", times=1, status=503)
    package, done = with_parents(out)
    assert same(hub, package)
    assert set(done.copied) == unchanged(hub, out)


def test_with_copies_a_lost_answer_makes_no_second_commit(hub: Hub, halves: tuple) -> None:
    out, _ = halves
    hub.xet_hashes = True
    hub.fail(COMMIT, lost=True)
    package, _ = with_parents(out)
    assert same(hub, package)
    repo = hub.store.find(REPO)
    assert len(list(repo.history(repo.head("main")))) == 2


def test_with_copies_what_is_there_is_left(hub: Hub, halves: tuple) -> None:
    out, _ = halves
    hub.xet_hashes = True
    _, first = with_parents(out)
    package, again = with_parents(out)
    assert same(hub, package)
    assert again.commit == first.commit


def test_with_copies_stale_files_go_in_spite_of_a_lost_answer(hub: Hub, halves: tuple) -> None:
    out, _ = halves
    hub.xet_hashes = True
    package = packed(out)
    old = Bundle({**package.bundle.files, "old.txt": b"old"})
    send(replace(package, bundle=old))
    target = replace(look(), published=look().published | {"old.txt"})
    hub.fail(COMMIT, lost=True)
    merge = (package, subject(out).parents)
    output: list[str] = []
    publish(client(), package.bundle, target, "A merge", merge=merge, report=output.append)
    assert same(hub, package)
    assert not any("does not copy" in text for text in output)


def test_a_parent_at_another_commit_is_not_taken_for_it(hub: Hub, halves: tuple) -> None:
    """The branch moved; the copies come from the commit that was read."""
    out, _ = halves
    hub.xet_hashes = True
    stored = unchanged(hub, out)
    repo = hub.store.find("org/in")
    moved = {name: replace(blob, data=blob.data[::-1])
             for name, blob in repo.head("main").files.items()
             if name.endswith(".safetensors")}  # fmt: skip
    repo.commit("main", {**repo.head("main").files, **moved}, "Moved")
    package, done = with_parents(out)
    assert set(done.copied) == stored
    assert same(hub, package)
