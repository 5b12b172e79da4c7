"""Targets of a publication: accounts, repositories, branches, existing contents."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from surgery.errors import PublishError
from surgery.hub.account import Account, Target, client
from surgery.hub.bundle import Bundle
from surgery.hub.failure import HubBusyError
from surgery.hub.publish import publish
from surgery.hub.sweep import collect
from tests.hub import READ_TOKEN, Hub
from tests.hub.merges import (
    CARD,
    MIDDLE,
    REPO,
    listing,
    look,
    merged,
    packed,
    same,
    send,
    written,
)

if TYPE_CHECKING:
    from pathlib import Path

    from surgery.hub.package import Package

pytestmark = pytest.mark.usefixtures("slept")


# Who may, and where.


def test_who_is_asked(hub: Hub) -> None:
    result = Account.current(client())
    assert (result.name, dict(result.roles), result.role) == (
        "somebody", {"org": "admin", "lab": "write"}, "write",
    )  # fmt: skip
    for namespace in ("somebody", "org", "lab"):
        result.check(namespace)
    with pytest.raises(PublishError, match=r"'orgg' is neither you nor .* Did you mean 'org'\?"):
        result.check("orgg")


def test_a_reader_in_an_organization(hub: Hub) -> None:
    hub.orgs["readers"] = "read"
    with pytest.raises(PublishError, match=r"you are 'read' in 'readers'.*publish as 'somebody'"):
        Account.current(client()).check("readers")


def test_a_token_that_only_reads(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    with pytest.raises(PublishError, match="is read-only") as error:
        Account.current(client()).check("somebody")
    assert READ_TOKEN not in str(error.value)


def test_a_token_nobody_knows(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_thisOneWasRevoked")
    with pytest.raises(PublishError, match=r"does not know the token.*hf auth login") as error:
        Account.current(client())
    assert "Revoked" not in str(error.value)


def test_no_token(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(PublishError, match=r"no account is logged in.*hf auth login"):
        Account.current(client())


def test_a_repository_with_files_of_somebody_is_left_alone(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "model.safetensors").write_bytes(b"1")
    hub.add(REPO, tmp_path / "theirs", private=True)
    with pytest.raises(PublishError, match=r"already exists.*model\.safetensors.*another name"):
        look()
    assert written(hub) == []


@pytest.mark.parametrize("ledger", ["{}", "[]", "not json", '{"tensors": [1], "files": []}', ""])
def test_a_ledger_there_that_is_none(hub: Hub, tmp_path: Path, ledger: str) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "surgery.json").write_text(ledger)
    (tmp_path / "theirs" / "weights.bin").write_bytes(b"1")
    hub.add(REPO, tmp_path / "theirs", private=True)
    with pytest.raises(PublishError, match=r"surgery\.json that this version cannot read"):
        look()


def test_an_empty_repository_and_one_with_a_card_are_taken(
    hub: Hub, merge_package: Package
) -> None:
    api = client()
    api.create_repo(REPO, private=True)
    api.upload_file(path_or_fileobj=CARD.encode(), path_in_repo="README.md", repo_id=REPO)
    send(merge_package)
    assert same(hub, merge_package)


def test_a_public_one_is_not_written_to_by_mistake(hub: Hub, merge_package: Package) -> None:
    send(merge_package, private=False)
    with pytest.raises(PublishError, match=r"is public\. Use --public"):
        look().check_visibility(private=True)
    look().check_visibility(private=False)
    with pytest.raises(PublishError, match="is private, which --public does not change"):
        replace(look(), private=True).check_visibility(private=False)


def test_an_update_takes_away_what_is_stale_and_nothing_else(
    hub: Hub, merge_package: Package, tmp_path: Path
) -> None:
    send(merge_package)
    api = client()
    for name in ("mine.txt", "figures/one.txt"):
        api.upload_file(path_or_fileobj=b"mine", path_in_repo=name, repo_id=REPO)
    new = packed(merged(tmp_path / "new", MIDDLE))  # one shard where there were four
    output: list[str] = []
    publish(api, new.bundle, look(), "A merge", merge=(new, ()), report=output.append)
    (text,) = output
    assert "files of its own (figures/one.txt, mine.txt), which are left" in text
    files = hub.files(REPO)
    assert files.keys() == {
        *new.bundle.files, ".gitattributes", "mine.txt", "figures/one.txt",
    }  # fmt: skip
    assert files["mine.txt"] == b"mine"


def test_a_stale_name_is_no_pattern(hub: Hub, merge_package: Package) -> None:
    names = ("a[1].txt", "a1.txt", "b*.txt", "bc.txt")
    old = Bundle({**merge_package.bundle.files, **dict.fromkeys(names, b"x")})
    send(replace(merge_package, bundle=old))
    target = replace(look(), published=look().published | {"a[1].txt", "b*.txt"})
    publish(client(), merge_package.bundle, target, "A merge")
    assert hub.files(REPO).keys() - merge_package.bundle.files.keys() == {
        ".gitattributes", "a1.txt", "bc.txt",
    }  # fmt: skip


def test_a_branch_of_its_own(hub: Hub, merge_package: Package, tmp_path: Path) -> None:
    first = send(merge_package)
    new = packed(merged(tmp_path / "new", MIDDLE), revision="half/way")
    done = send(new, revision="half/way")
    assert hub.store.find(REPO).head("main").id == first.commit
    assert same(hub, new, revision="half/way")
    assert same(hub, merge_package)
    assert done.url.endswith("/tree/half/way")
    again = send(new, revision="half/way")
    assert again.commit == done.commit


def test_a_branch_of_a_repository_that_is_new(hub: Hub, merge_package: Package) -> None:
    send(merge_package, revision="half")
    assert same(hub, merge_package, revision="half")
    assert hub.files(REPO).keys() == {".gitattributes"}


def test_main_by_its_name(hub: Hub, merge_package: Package) -> None:
    send(merge_package, revision="main")
    assert same(hub, merge_package)


def test_a_tag_is_no_branch(hub: Hub, merge_package: Package) -> None:
    send(merge_package)
    client().create_tag(REPO, tag="v1")
    other = replace(merge_package, bundle=Bundle({**merge_package.bundle.files, "new.txt": b"new"}))
    with pytest.raises(PublishError):
        send(other, revision="v1")
    assert same(hub, merge_package, revision="v1")


@pytest.mark.parametrize("route", ["/api/repos/create", "/branch/"])
def test_making_it_may_fail(hub: Hub, merge_package: Package, route: str) -> None:
    hub.fail(route, status=403)
    with pytest.raises(PublishError, match="making the repository: the token may not do that"):
        send(merge_package, revision="half")
    send(merge_package, revision="half")
    assert same(hub, merge_package, revision="half")


def test_a_lost_answer_to_making_it(hub: Hub, merge_package: Package) -> None:
    hub.fail("/api/repos/create", lost=True)
    try:
        send(merge_package)
    except HubBusyError:
        send(merge_package)
    assert same(hub, merge_package)


def test_somebody_else_published_meanwhile(
    hub: Hub, merge_package: Package, tmp_path: Path
) -> None:
    """The target changed after it was checked: the new files are not overwritten."""
    send(merge_package)
    target = look()
    (tmp_path / "theirs").mkdir()
    api = client()
    api.upload_file(path_or_fileobj=b"theirs", path_in_repo="theirs.txt", repo_id=REPO)
    new = packed(merged(tmp_path / "new", MIDDLE))
    publish(api, new.bundle, target, "A merge")
    assert hub.files(REPO)["theirs.txt"] == b"theirs"


def test_one_that_was_made_public_meanwhile_gets_nothing(hub: Hub, merge_package: Package) -> None:
    target = look()
    client().create_repo(REPO, private=False)
    with pytest.raises(PublishError, match="is public now, and nothing was sent"):
        publish(client(), merge_package.bundle, target, "A merge")
    assert not hub.received
    assert hub.files(REPO).keys() == {".gitattributes"}


# Collections.


def test_a_collection_is_made_once(hub: Hub, merge_package: Package) -> None:
    send(merge_package)
    note = "x" * 600
    for _ in range(2):
        url = collect(
            client(), "somebody", "Mine", "d" * 200, [(REPO, "model", note)], private=True
        )
        (shelf,) = hub.collections.values()
        assert url == f"{hub.endpoint}/collections/{shelf['slug']}"
        assert [item["id"] for item in shelf["items"]] == [REPO]
        assert shelf["private"]
    assert re.fullmatch("d{150}", shelf["description"])


def test_a_dataset_goes_as_one(hub: Hub) -> None:
    files = {"README.md": b"---\nlicense: mit\n---\nAn index.\n", "scores.csv": b"a,b\n"}
    target = Target.look(client(), REPO, private=True, kind="dataset")
    done = publish(client(), Bundle(files), target, "Index")
    assert hub.files(REPO, kind="datasets").keys() == {*files, ".gitattributes"}
    assert done.url == f"{hub.endpoint}/datasets/{REPO}"
    again = Target.look(client(), REPO, private=True, kind="dataset", expected=files)
    assert publish(client(), Bundle(files), again, "Index").commit == done.commit


def test_nothing_here_is_changed(hub: Hub, tmp_path: Path) -> None:
    out = merged(tmp_path / "out")
    before = listing(out)
    send(packed(out))
    assert listing(out) == before
