"""Permissions, and the hub's statements about cards, models and collections."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import (
    HfApi,
    ModelCard,
    hf_hub_download,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    RepositoryNotFoundError,
)

from tests.hub import READ_TOKEN, Hub
from tests.hub.made import CARD, REPO, contents


def test_who_asks(hub: Hub, api: HfApi) -> None:
    me = api.whoami()
    assert me["name"] == "somebody"
    assert {org["name"]: org["roleInOrg"] for org in me["orgs"]} == {"org": "admin", "lab": "write"}
    assert me["auth"]["accessToken"]["role"] == "write"
    assert api.whoami(token=READ_TOKEN)["auth"]["accessToken"]["role"] == "read"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_unknown")


def test_repositories_are_made_once_and_only_where_one_may(hub: Hub, api: HfApi) -> None:
    hub.orgs["readers"] = "read"
    url = api.create_repo("org/new")
    assert (url.repo_id, url.repo_type, str(url)) == ("org/new", "model", f"{hub.endpoint}/org/new")
    assert api.create_repo("org/new", exist_ok=True).repo_id == "org/new"
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("org/new")
    assert api.create_repo("mine").repo_id == "somebody/mine"
    for name in ("readers/new", "others/new"):
        with pytest.raises(HfHubHTTPError, match="403"):
            api.create_repo(name)
    assert api.create_repo("org/set", repo_type="dataset").repo_type == "dataset"
    assert api.list_repo_files("org/new") == [".gitattributes"]
    api.delete_repo("org/new")
    assert not api.repo_exists("org/new")
    assert hub.unknown == []


def test_what_is_known_of_a_model(hub: Hub, api: HfApi, folder: Path) -> None:
    hub.add("org/in", folder)
    info = api.model_info("org/in", files_metadata=True)
    assert info.card_data.base_model == ["org/base", "org/rl"]
    assert info.card_data.eval_results[0].metric_value == 0.5
    assert {"merge", "base_model:merge:org/rl", "license:apache-2.0"} <= set(info.tags)
    assert (info.pipeline_tag, info.library_name) == ("image-text-to-text", "transformers")
    assert (info.private, info.gated, info.author) == (False, False, "org")
    sizes = {sibling.rfilename: sibling.size for sibling in info.siblings}
    assert sizes == {name: len(data) for name, data in contents(folder).items()}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("apache-2.0", "apache2", '"license" must be one of'),
        ("apache-2.0", "other", '"license_name" is required'),
        ("[org/base, org/rl]", "https://hf.co/org/base", '"base_model" with value'),
        ("relation: merge", "relation: frankenstein", '"base_model_relation" must be one of'),
        ("[merge, vision]", "merge", '"tags" must be an array'),
        ("[merge, vision]", "[1]", '"tags" must hold only strings'),
        ("type: org/set, ", "", "dataset.type"),
        ("value: 0.5", "score: 0.5", r"metrics\[0\].value"),
        ("library_name", "license", "duplicated mapping key"),
        ("tags: [", "tags: {", "bad yaml"),
    ],
)
def test_a_bad_card_is_refused(old: str, new: str, words: str, hub: Hub, api: HfApi) -> None:
    assert old in CARD
    api.create_repo(REPO)
    with pytest.raises(ValueError, match=f"Invalid metadata(.|\n)*{words}"):
        api.upload_file(
            repo_id=REPO,
            path_in_repo="README.md",
            path_or_fileobj=CARD.replace(old, new).encode(),
        )
    assert "README.md" not in hub.files(REPO)


def test_good_cards_pass_and_odd_ones_warn(hub: Hub, api: HfApi) -> None:
    ModelCard(CARD).validate()
    with pytest.raises(ValueError, match="must be one of"):
        ModelCard(CARD.replace("apache-2.0", "apache2")).validate()
    api.create_repo(REPO)
    ModelCard(CARD).push_to_hub(REPO)
    assert hub.files(REPO)["README.md"].decode() == str(ModelCard(CARD))
    for text, words in {
        "no card": "empty or missing",
        "---\npipeline_tag: x\n---\n": '"x"',
    }.items():
        with pytest.warns(UserWarning, match=words):
            api.upload_file(repo_id=REPO, path_in_repo="README.md", path_or_fileobj=text.encode())


def test_collections(hub: Hub, api: HfApi, folder: Path) -> None:
    hub.add("org/in", folder)
    shelf = api.create_collection("Frankensteins", namespace="org", description="Mixed")
    assert shelf.slug.startswith("org/frankensteins-")
    assert (
        api.create_collection("Frankensteins", namespace="org", exists_ok=True).slug == shelf.slug
    )
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_collection("Frankensteins", namespace="org")
    api.add_collection_item(shelf.slug, "org/in", "model", note="first")
    api.add_collection_item(shelf.slug, "org/in", "model", exists_ok=True)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.add_collection_item(shelf.slug, "org/in", "model")
    with pytest.raises(RepositoryNotFoundError):
        api.add_collection_item(shelf.slug, "org/none", "model")
    api.update_collection_metadata(shelf.slug, title="Hybrids")
    (item,) = api.get_collection(shelf.slug).items
    assert (item.item_id, item.note) == ("org/in", "first")
    api.update_collection_item(shelf.slug, item.item_object_id, note="only")
    assert [list_collection.title for list_collection in api.list_collections(owner="org")] == [
        "Hybrids"
    ]
    assert api.get_collection(shelf.slug).items[0].note == "only"
    with pytest.raises(HfHubHTTPError, match="403"):
        api.update_collection_metadata(shelf.slug, title="x", token=READ_TOKEN)
    api.delete_collection_item(shelf.slug, item.item_object_id)
    api.delete_collection(shelf.slug)
    assert list(api.list_collections()) == []
    assert hub.unknown == []


def test_private_repositories_are_their_owners(hub: Hub, api: HfApi, folder: Path) -> None:
    hub.tokens["hf_other"], hub.owners["hf_other"] = "write", "stranger"
    api.create_repo(REPO, private=True)
    hub.add(REPO, folder)
    assert api.model_info(REPO, token=READ_TOKEN).private
    for token in ("hf_other", False):
        with pytest.raises(RepositoryNotFoundError):
            api.model_info(REPO, token=token)
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download(REPO, "config.json", token=token)
    hub.add("org/open", folder)
    assert Path(hf_hub_download("org/open", "a.safetensors", token=False)).is_file()
    with pytest.raises(HfHubHTTPError, match="403"):
        api.upload_file(
            repo_id="org/open", path_in_repo="x", path_or_fileobj=b"x", token="hf_other"
        )


def test_a_read_token_writes_nothing(hub: Hub, folder: Path) -> None:
    reader = HfApi(token=READ_TOKEN)
    hub.add("org/in", folder)
    for write in (
        lambda: reader.create_repo("org/x"),
        lambda: reader.delete_repo("org/in"),
        lambda: reader.create_branch("org/in", branch="x"),
        lambda: reader.create_collection("x"),
        lambda: reader.upload_file(repo_id="org/in", path_in_repo="x", path_or_fileobj=b"x"),
        lambda: reader.delete_file("config.json", "org/in"),
    ):
        with pytest.raises(HfHubHTTPError, match=r"403.*write token"):
            write()
    assert hub.files("org/in") == contents(folder)
