"""Files, as the real client sends them, lists them and reads them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    get_session,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RevisionNotFoundError,
)

from tests.hub import READ_TOKEN, TOKEN, Hub
from tests.hub.made import REPO, contents


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def puts(hub: Hub) -> list[str]:
    return [requests for requests in hub.requests if requests.startswith("PUT")]


def test_a_folder_goes_up_and_comes_back(hub: Hub, api: HfApi, folder: Path) -> None:
    hub.chunk_size = 20_000
    api.create_repo(REPO)
    output = api.upload_folder(repo_id=REPO, folder_path=folder)
    # 20000 bytes in one piece, 20001 and 20002 in two parts each.
    assert len(puts(hub)) == 5
    assert (
        len([requests for requests in hub.requests if requests.startswith("POST /api/complete")])
        == 2
    )
    assert hub.received[digest(folder / "b.safetensors")] == 20_001
    assert hub.files(REPO).pop(".gitattributes")
    back = Path(snapshot_download(REPO))
    assert contents(back).items() >= contents(folder).items()
    assert back.name == output.oid == api.model_info(REPO).sha
    assert hub.sent[f"{REPO}/figures/one.png"] == 20_002
    assert hub.fetched() == sorted([".gitattributes", *contents(folder)])
    assert hub.parts == {}
    assert hub.unknown == []


def test_a_second_upload_is_no_commit(hub: Hub, api: HfApi, folder: Path) -> None:
    api.create_repo(REPO)
    first = api.upload_folder(repo_id=REPO, folder_path=folder)
    hub.forget()
    assert api.upload_folder(repo_id=REPO, folder_path=folder).oid == first.oid
    assert puts(hub) == []
    assert not any("/commit/" in requests for requests in hub.requests)
    assert len(api.list_repo_commits(REPO)) == 2


def test_the_storage_host_sees_no_token(hub: Hub, api: HfApi, folder: Path) -> None:
    api.create_repo(REPO)
    api.upload_folder(repo_id=REPO, folder_path=folder)
    hf_hub_download(REPO, "a.safetensors")
    calls = [
        header
        for requests, header in zip(hub.requests, hub.headers, strict=True)
        if "/cdn/" in requests
    ]
    assert calls == [""]
    assert f"Bearer {TOKEN}" in hub.headers


@pytest.mark.parametrize(("redirect", "xet"), [(True, True), (False, False), (False, True)])
def test_other_ways_to_the_bytes(
    redirect: bool, xet: bool, hub: Hub, folder: Path, tmp_path: Path
) -> None:
    hub.redirect, hub.xet_hashes = redirect, xet
    hub.add("org/in", folder)
    snapshot_download("org/in", local_dir=tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)
    assert hub.fetched() == sorted(contents(folder))
    assert any("/cdn/" in requests for requests in hub.requests) == redirect


def test_metadata_of_large_and_small_files(hub: Hub, api: HfApi, folder: Path) -> None:
    commit = hub.add("org/in", folder)
    large = api.get_hf_file_metadata(url=hf_hub_url("org/in", "a.safetensors"), token=TOKEN)
    small = api.get_hf_file_metadata(url=hf_hub_url("org/in", "config.json"), token=TOKEN)
    assert (large.commit_hash, large.size) == (commit, 20_000)
    assert large.etag == digest(folder / "a.safetensors")
    assert large.location.startswith(f"{hub.storage}/cdn/")
    # What `git hash-object` says of a file that holds {}.
    assert (small.etag, small.size) == ("9e26dfeeb6e641a33dae4961196235bdb965b21b", 2)
    assert (small.location, small.commit_hash) == (hf_hub_url("org/in", "config.json"), commit)


def test_ranges(hub: Hub, folder: Path) -> None:
    hub.add("org/in", folder)
    data = (folder / "a.safetensors").read_bytes()
    for redirect in (True, False):
        hub.redirect = redirect
        for text, part in {
            "bytes=0-9": data[:10],
            "bytes=10-10": data[10:11],
            "bytes=19990-": data[19990:],
            "bytes=-7": data[-7:],
            "bytes=19990-99999": data[19990:],
        }.items():
            answer = get_session().get(
                hf_hub_url("org/in", "a.safetensors"), headers={"Range": text}
            )
            assert (answer.status_code, answer.content) == (206, part)
            assert answer.headers["content-range"].endswith("/20000")
        past = get_session().get(
            hf_hub_url("org/in", "a.safetensors"), headers={"Range": "bytes=20000-"}
        )
        assert (past.status_code, past.headers["content-range"]) == (416, "bytes */20000")
        stale = {"Range": "bytes=0-9", "If-Range": '"of old"'}
        whole = get_session().get(hf_hub_url("org/in", "a.safetensors"), headers=stale)
        assert (whole.status_code, whole.content) == (200, data)
        removed = get_session().get(
            hf_hub_url("org/in", "a.safetensors"), headers={"If-Match": '"of old"'}
        )
        assert removed.status_code == 412


def test_a_signed_address_is_good_for_one_file(hub: Hub, api: HfApi, folder: Path) -> None:
    hub.add("org/in", folder)
    url = hf_hub_url("org/in", "a.safetensors")
    signed = api.get_hf_file_metadata(url=url, token=TOKEN).location
    assert get_session().get(signed).status_code == 200
    assert get_session().get(signed.replace("a.safe", "b.safe")).status_code == 403
    assert get_session().get(signed[:-1] + "x").status_code == 403
    assert get_session().get(signed.split("?")[0]).status_code == 403
    both = get_session().get(signed, headers={"Authorization": f"Bearer {TOKEN}"})
    assert both.status_code == 400


def test_a_wrong_object_is_refused(hub: Hub, api: HfApi, folder: Path) -> None:
    api.create_repo(REPO)
    for chunk_size in (100_000, 9_000):
        hub.chunk_size = chunk_size
        wrong = CommitOperationAdd("a.safetensors", folder / "a.safetensors")
        wrong.upload_info.sha256 = sha256(b"another").digest()
        with pytest.raises(RuntimeError, match="Error while uploading") as caught:
            api.create_commit(REPO, [wrong], commit_message="wrong")
        assert "BadDigest" in str(caught.value.__cause__)
    repo = hub.store.find(REPO)
    assert repo is not None
    assert repo.objects == {}
    assert api.list_repo_files(REPO) == [".gitattributes"]


def test_commits_change_and_delete(hub: Hub, api: HfApi, folder: Path) -> None:
    first = hub.add("somebody/in", folder)
    second = api.create_commit(
        "somebody/in",
        [
            CommitOperationAdd("new/config.json", b"[]"),
            CommitOperationDelete("b.safetensors"),
            CommitOperationDelete("figures/"),
            CommitOperationCopy("a.safetensors", "c.safetensors"),
        ],
        commit_message="Change",
        parent_commit=first,
    ).oid
    now, before = hub.files("somebody/in"), hub.files("somebody/in", first)
    assert sorted(now) == [
        "README.md", "a.safetensors", "c.safetensors", "config.json", "new/config.json"
    ]  # fmt: skip
    assert now["c.safetensors"] == before["a.safetensors"]
    assert before == contents(folder)
    assert [commit.commit_id for commit in api.list_repo_commits("somebody/in")] == [second, first]
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit(
            "somebody/in",
            [CommitOperationAdd("x.txt", b"x")],
            commit_message="late",
            parent_commit=first,
        )
    with pytest.raises(EntryNotFoundError, match="doesn't exist"):
        api.delete_file("b.safetensors", "somebody/in")


def test_an_object_of_another_repository_must_be_brought_over(
    hub: Hub, api: HfApi, folder: Path
) -> None:
    hub.add("org/in", folder)
    api.create_repo(REPO)

    def copies() -> list[CommitOperationCopy]:
        return [
            CommitOperationCopy(name, name, src_repo_id="org/in", src_repo_type="model")
            for name in ("a.safetensors", "config.json")
        ]

    with pytest.raises(ValueError, match="file has no xet hash"):
        api.create_commit(REPO, copies(), commit_message="copy")
    hub.xet_hashes = True
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_commit(REPO, copies(), commit_message="copy", token=READ_TOKEN)
    api.create_commit(REPO, copies(), commit_message="copy")
    for name in ("a.safetensors", "config.json"):
        assert hub.files(REPO)[name] == (folder / name).read_bytes()
    assert puts(hub) == []
    assert sum(hub.received.values()) == 0


def test_branches_tags_and_revisions(hub: Hub, api: HfApi, folder: Path) -> None:
    first = hub.add("somebody/in", folder, tag="v1")
    api.create_branch("somebody/in", branch="try/this")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_branch("somebody/in", branch="try/this")
    api.create_branch("somebody/in", branch="try/this", exist_ok=True)
    output = api.upload_file(
        repo_id="somebody/in", path_in_repo="x.txt", path_or_fileobj=b"x", revision="try/this"
    )
    refs = api.list_repo_refs("somebody/in")
    assert {ref.name: ref.target_commit for ref in refs.branches} == {
        "main": first,
        "try/this": output.oid,
    }
    assert [tag.name for tag in refs.tags] == ["v1"]
    assert Path(hf_hub_download("somebody/in", "x.txt", revision="try/this")).read_text() == "x"
    assert api.model_info("somebody/in", revision=first[:8]).sha == first
    with pytest.raises(RevisionNotFoundError):
        api.model_info("somebody/in", revision="v2")
    with pytest.raises(RevisionNotFoundError):
        api.create_branch("somebody/in", branch="other", revision="v2")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("somebody/in", "x.txt")


def test_listings_have_pages(hub: Hub, api: HfApi, folder: Path) -> None:
    hub.page_size = 2
    hub.add("org/in", folder)
    entries = list(api.list_repo_tree("org/in", recursive=True))
    assert [entry.path for entry in entries] == sorted([*contents(folder), "figures"])
    assert len([requests for requests in hub.requests if "/tree/" in requests]) == 3
    assert [entry.path for entry in api.list_repo_tree("org/in", "figures")] == ["figures/one.png"]
    result = {entry.path: entry for entry in entries}
    large = result["a.safetensors"]
    assert large.lfs.sha256 == digest(folder / "a.safetensors")
    assert (large.size, large.lfs.size, large.lfs.pointer_size) == (20_000, 20_000, 130)
    assert (large.xet_hash, result["config.json"].lfs) == (None, None)
    hub.xet_hashes = True
    (info,) = api.get_paths_info("org/in", ["a.safetensors", "none.txt"])
    assert len(info.xet_hash) == 64
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("org/in", "nowhere"))


def test_datasets_and_gates(hub: Hub, api: HfApi, folder: Path) -> None:
    (folder / "README.md").unlink()
    api.create_repo("org/set", repo_type="dataset")
    api.upload_folder(repo_id="org/set", folder_path=folder, repo_type="dataset")
    back = Path(snapshot_download("org/set", repo_type="dataset"))
    assert contents(back).items() >= contents(folder).items()
    assert hub.sent["datasets/org/set/a.safetensors"] == 20_000
    assert not api.repo_exists("org/set")
    hub.add("org/in", folder)
    hub.gated.add("org/in")
    with pytest.raises(GatedRepoError):
        hf_hub_download("org/in", "config.json")


def test_what_the_hub_does_not_know_is_on_record(hub: Hub, api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError, match="404"):
        api.get_user_overview("somebody")
    assert hub.unknown == ["GET /api/users/somebody/overview"]
    api.create_repo("org/new")
    with pytest.raises(BadRequestError):
        api.create_branch("org/new", branch="refs/pr/1")
