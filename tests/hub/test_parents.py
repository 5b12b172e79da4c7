"""Facts about the models that a merge descends from, and their sources."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from surgery.errors import CheckpointError, PublishError
from surgery.hub.licence import StatedLicence
from surgery.hub.parents import Parent, content_of, parents_of, public_reference
from surgery.hub.prepare import plan_again, settle
from surgery.recipe import parse_recipe
from tests.checkpoint.test_adapter import train
from tests.hub.cards import front_matter
from tests.hub.merges import CARD, MIDDLE, merged, packed, parents, sleepless, stage
from tests.hub.test_card import code, every_byte, tables

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub import Hub

ADAPTED = """\
models:
  in: {base: IN, adapter: ADAPTER}
  rl: 'specimen:rl'
base: in
steps: [{transplant: 'language[mid]', from: rl}]
"""


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of IN, with what it merges to taken away."""
    import shutil

    from surgery import specimen

    folder = train(specimen.path("in"), tmp_path_factory.mktemp("made") / "adapter",
                   target_modules=["q_proj"])  # fmt: skip
    shutil.rmtree(folder / "merged")
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: de\n---\n")
    return folder


def parents_by_name(out: Path) -> dict[str, Parent]:
    from surgery.checkpoint.ledger import read_ledger

    text = parents_of(plan_again(out, read_ledger(out), {}))
    return {item.reference: item for item in text}


def test_cards_on_the_hub_are_read_at_the_commit_of_the_weights(hub: Hub, tmp_path: Path) -> None:
    models = parents(hub, tmp_path)
    out = merged(tmp_path / "out", **models)
    read = {name: hub.store.find(name).head("main").id for name in models.values()}
    later = tmp_path / "parents" / "rl"
    (later / "README.md").write_text("---\nlicense: cc-by-nc-4.0\nlanguage: [zh]\n---\n")
    hub.add("org/rl", later)
    text = parents_by_name(out)
    assert text.keys() == {"org/in", "org/rl"}
    for repo, parent in text.items():
        assert (parent.repo, parent.commit) == (repo, read[repo])
        assert (parent.licence, parent.languages) == (StatedLicence("apache-2.0"), ("en",))
        assert parent.content is None


def test_a_folders_card_is_read_where_it_is(tmp_path: Path) -> None:
    for name, licence in (("in", "mit"), ("rl", "other\nlicense_name: own\nlicense_link: X")):
        stage(name, tmp_path / name, f"---\nlicense: {licence}\n---\n")
    text = parents_by_name(
        merged(tmp_path / "out", **{"in": tmp_path / "in", "rl": tmp_path / "rl"})
    )
    assert text["in"].licence == StatedLicence("mit")
    assert text["rl"].licence == StatedLicence("other", "own", "X")
    assert text["in"].repo is text["in"].commit is None
    assert text["in"].content == content_of(tmp_path / "in") != text["rl"].content


def test_the_shipped_models_are_under_our_own_licence(tmp_path: Path) -> None:
    text = parents_by_name(merged(tmp_path / "out"))
    assert {(p.licence, p.repo) for p in text.values()} == {(StatedLicence("apache-2.0"), None)}


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "no front matter",
        "---\n: [broken\n---\n",
        "---\nlicense: [\n---\n",
        "---\n- a list\n---\n",
        "---\ntext\n---\n",
        "---\nlicense:\n---\n",
        "---\nlicense: null\n---\nA card.",
        "\x00\x01",
    ],
)
def test_a_card_that_cannot_be_read_states_nothing(
    hub: Hub, tmp_path: Path, text: str | None
) -> None:
    folder = stage("in", tmp_path / "local", text)
    hub.add("org/in", folder)
    for location in (folder, "org/in"):
        (parent, _) = parents_by_name(
            merged(tmp_path / str(location).replace("/", "-"), **{"in": location})
        )
        messages = parents_by_name(tmp_path / str(location).replace("/", "-"))[parent]
        assert (messages.licence, messages.languages) == (None, ())
        with pytest.raises(PublishError, match=r"states no licence.*--license ID"):
            settle([messages], None)


def test_bytes_that_are_no_text_state_nothing(tmp_path: Path) -> None:
    folder = stage("in", tmp_path / "in")
    (folder / "README.md").write_bytes(b"---\nlicense: \xff\xfe\n---\n")
    assert parents_by_name(merged(tmp_path / "out", **{"in": folder}))["in"].licence is None


@pytest.mark.parametrize(
    ("card_language", "expected_languages"),
    [
        ("en", ("en",)),
        ("[en, zh]", ("en", "zh")),
        ("[no, sv]", ("no", "sv")),  # which YAML reads as False
        ("no", ("no",)),
        ("English", ()),
        ("[EN, multilingual, en-US]", ("en", "multilingual")),
        ("{a: b}", ()),
        ("", ()),
    ],
)
def test_languages_are_those_that_the_hub_takes(
    tmp_path: Path, card_language: str, expected_languages: tuple[str, ...]
) -> None:
    folder = stage("in", tmp_path / "in", f"---\nlicense: mit\nlanguage: {card_language}\n---\n")
    assert (
        parents_by_name(merged(tmp_path / "out", **{"in": folder}))["in"].languages
        == expected_languages
    )


def test_licences_are_settled_or_asked_for() -> None:
    parent = Parent("in", "org/in", "org/in", "1" * 40, StatedLicence("mit"), ())
    two = replace(parent, name="rl", reference="org/rl")
    assert settle([parent, two], None).license == "mit"
    closed = replace(two, licence=StatedLicence("cc-by-nc-4.0"))
    with pytest.raises(PublishError, match=r"in \(org/in\) states mit; rl \(org/rl\) states cc-by"):
        settle([parent, closed], None)
    confirmed = settle([parent, closed], "cc-by-nc-4.0")
    assert (confirmed.license, len(confirmed.issues)) == ("cc-by-nc-4.0", 1)
    with pytest.raises(PublishError, match="not an id"):
        settle([parent], "appache-2.0")


@pytest.mark.parametrize("trouble", ["gated", "gone", "broken"])
def test_a_card_that_may_not_be_read_stops_it(
    hub: Hub, tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleepless(monkeypatch)
    out = merged(tmp_path / "out", **parents(hub, tmp_path))
    if trouble == "gated":
        hub.gated.add("org/rl")
    elif trouble == "gone":
        del hub.store.repos["models", "org/rl"]
    else:
        hub.broken = 503
    with pytest.raises(CheckpointError, match="org/"):
        parents_by_name(out)


def test_an_adapter_is_a_parent_of_its_own(hub: Hub, tmp_path: Path, adapter: Path) -> None:
    commit = hub.add("org/adapter", adapter)
    base = hub.add("org/in", stage("in", tmp_path / "in"))
    text = ADAPTED.replace("IN", "org/in").replace("ADAPTER", "org/adapter")
    output = packed(merged(tmp_path / "out", text), licence="apache-2.0")
    metadata = front_matter(output.card)
    assert metadata["base_model"] == ["org/in", "org/adapter"]
    assert metadata["base_model_revisions"] == {"org/in": base, "org/adapter": commit}
    assert (metadata["license"], metadata["language"]) == ("apache-2.0", ["en", "de"])
    (models,) = tables(output.card)
    assert [row[:4] for row in models[1:]] == [
        ["in", "org/in", base, "apache-2.0"],
        ["in", "org/adapter", commit, "mit"],
        ["rl", "specimen:rl", "ships with vlm-surgery", "apache-2.0"],
    ]
    recipe = output.bundle.files["recipe.yaml"].decode()
    assert f"hf://org/adapter@{commit}" in recipe
    assert f"hf://org/in@{base}" in recipe


def test_a_local_adapter_tells_no_path_and_has_a_fingerprint(
    tmp_path: Path, adapter: Path, hub: Hub
) -> None:
    import shutil

    secret = tmp_path / "SECRETDIR"
    shutil.copytree(adapter, secret / "tuned")
    commit = hub.add("org/in", stage("in", tmp_path / "in"))
    text = ADAPTED.replace("IN", "org/in").replace("ADAPTER", str(secret / "tuned"))
    output = packed(merged(tmp_path / "out", text), licence="apache-2.0")
    assert b"SECRETDIR" not in every_byte(output)
    (models,) = tables(output.card)
    assert models[2][:3] == ["in", "tuned", "not on the Hub"]
    assert len(models[2][5]) == 16
    assert models[1][2] == commit
    assert f"--model in='hf://org/in@{commit} + FOLDER'" in code(output.card)["sh"]
    assert parse_recipe(output.bundle.files["recipe.yaml"].decode()).unbound == ("in",)


def test_a_moved_model_is_read_where_it_is_now(hub: Hub, tmp_path: Path) -> None:
    out = merged(tmp_path / "out", **{"in": stage("in", tmp_path / "old", None)})
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "README.md").write_text(CARD)
    output = packed(out, models={"in": str(tmp_path / "new")})
    assert "| `in` | `new` |" in output.card


@pytest.mark.parametrize(
    ("reference", "commit", "expected_languages"),
    [
        ("org/in", "abc", "org/in"),
        ("org/in", None, "in"),
        ("hf://org/in@abc", "abc", "hf://org/in@abc"),
        ("specimen:in", None, "specimen:in"),
        ("/a/b/c", "local", "c"),
        ("~/models/in", None, "in"),
        ("../x/", "", "x"),
        ("./here/in", None, "in"),
    ],
)
def test_public_references(reference: str, commit: str | None, expected_languages: str) -> None:
    assert public_reference(reference, commit) == expected_languages


def test_a_folder_with_a_repositorys_name_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stage("in", tmp_path / "org" / "in")
    text = parents_by_name(merged(tmp_path / "out", MIDDLE, **{"in": "org/in"}))
    assert text["in"].repo is None


def test_a_bound_adapter_is_two_parents_and_no_path(
    hub: Hub, tmp_path: Path, adapter: Path
) -> None:
    """`--model in="BASE + ADAPTER"` is what the recipe's own form is: licences, paths and all."""
    stage("in", tmp_path / "SECRETDIR" / "base", "---\nlicense: mit\n---\n")
    folder = tmp_path / "SECRETDIR" / "adapter"
    shutil.copytree(adapter, folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    base = tmp_path / "SECRETDIR" / "base"
    out = merged(tmp_path / "out", rl=f"{base} + {folder}")
    with pytest.raises(PublishError, match=r"states cc-by-nc-4\.0"):
        packed(out)
    output = packed(out, licence="cc-by-nc-4.0")
    for name in output.bundle.files:
        assert b"SECRETDIR" not in output.bundle.head(name, 1 << 24)
    assert "FOLDER + FOLDER" in output.card
