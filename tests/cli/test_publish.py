"""`surgery publish` from end to end: out, back again, and proven; and all that may go wrong."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants, snapshot_download

from surgery.checkpoint.hub import fetch_all
from tests.cli.publishing import ok
from tests.hub.cards import check, front_matter
from tests.hub.merges import (
    CARD,
    REPO,
    asked,
    listing,
    merged,
    parents,
    stage,
    state,
    written,
)
from tests.hub.test_card import headings, tables

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.publishing import Surgery
    from tests.hub import Hub


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


# Out and back.


def test_out_back_and_proven(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    out = merged(tmp_path / "out")
    before = listing(out)
    done = ok(surgery("publish", "out", REPO))
    assert f"{hub.endpoint}/{REPO}: 11 files, " in done.stdout
    assert "private" in done.stdout
    assert "every file on the Hub has the hash of the local file" in done.stdout
    assert listing(out) == before
    assert asked(hub, f"POST /api/models/{REPO}/commit/") == 1

    back = snapshot_download(REPO, local_dir=tmp_path / "back")
    assert weights(tmp_path / "back") == weights(out)
    for location in (back, REPO, f"hf://{REPO}@main"):
        output = ok(surgery("verify", location)).stdout
        assert f"{location} is intact: 164 tensors and 9 files" in output
        assert "164 bit-identical" in output
    ok(surgery("merge", f"hf://{REPO}", "again"))
    assert weights(tmp_path / "again") == weights(out)
    assert hub.unknown == []

    (tmp_path / "back" / "tokenizer.json").write_text("{}")
    assert surgery("verify", "back").returncode == 2


def test_parents_on_the_hub_that_moved(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    models = parents(hub, tmp_path)
    out = merged(tmp_path / "out", **models)
    ok(surgery("publish", "out", "org/mixed", "--quiet"))
    hub.add("org/rl", stage("base", tmp_path / "moved", CARD))
    hub.add("org/in", tmp_path / "moved")
    shutil.rmtree(constants.HF_HUB_CACHE)
    ok(surgery("merge", "hf://org/mixed", "again"))
    assert weights(tmp_path / "again") == weights(out)
    assert "is intact" in ok(surgery("verify", "org/mixed")).stdout
    card = hub.files("org/mixed")["README.md"].decode()
    assert front_matter(card)["base_model"] == ["org/in", "org/rl"]
    again = ok(surgery("publish", "again", "org/mixed", "--json"))  # of the same parents
    assert json.loads(again.stdout)["commit"]


def test_folders_are_bound_to_make_it_again(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    folder = stage("in", tmp_path / "SECRETDIR" / "mine")
    merged(tmp_path / "out", **{"in": folder})
    ok(surgery("publish", "out", REPO))
    for name, data in hub.files(REPO).items():
        assert b"SECRETDIR" not in data, name
    stage("rl", tmp_path / "mine")  # of the same name, and another model
    wrong = surgery("merge", f"hf://{REPO}", "again")
    assert wrong.returncode == 2
    assert "does not say which checkpoint 'in' is. Add --model in=REF" in wrong.stderr
    ok(surgery("merge", f"hf://{REPO}", "again", "--model", f"in={folder}"))
    assert weights(tmp_path / "again") == weights(tmp_path / "out")
    ok(surgery("verify", REPO, "--model", f"in={folder}"))


def test_json_is_json(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    merged(tmp_path / "out")
    dry = ok(surgery("publish", "out", REPO, "--dry-run", "--json"))
    record = json.loads(dry.stdout)
    assert record["dry_run"]
    assert record["repo"] == REPO
    assert dry.stderr == ""
    done = ok(surgery("publish", "out", REPO, "--json"))
    data = json.loads(done.stdout)
    assert data["files"] == len(record["files"])
    assert data["bytes"] == sum(record["files"].values())
    assert (data["private"], data["copied"]) == (True, [])
    assert data["commit"] == hub.store.find(REPO).head("main").id
    assert hub.files(REPO)["README.md"].decode() == record["card"]
    assert done.stderr == ""


def test_a_dry_run_writes_nothing_anywhere(
    hub: Hub, surgery: Surgery, room: Path, process: Surgery
) -> None:
    (room / "cache").mkdir(exist_ok=True)
    before = state(hub), {k: v for k, v in listing(room).items() if "/cache" not in k}
    for arguments in (
        ("out", REPO),
        ("out", "org/new", "--public", "--revision", "half", "--collection", "Mine"),
        ("out", REPO, "--run", "run"),
        ("--sweep", "many", "somebody"),
        ("--sweep", "many", "somebody", "--pick", "M_rea >= 0"),
    ):
        done = ok(surgery("publish", *arguments, "--dry-run"))
        assert "# " in done.stdout
        assert "README.md" in done.stdout
        assert "model.safetensors" in done.stdout
    after = state(hub), {k: v for k, v in listing(room).items() if "/cache" not in k}
    assert after == before
    assert written(hub) == []
    assert hub.unknown == []


def test_a_dry_run_shows_what_is_sent_then(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    merged(tmp_path / "out")
    dry = ok(surgery("publish", "out", REPO, "--dry-run"))
    ok(surgery("publish", "out", REPO))
    files = hub.files(REPO)
    assert dry.stdout.startswith(files["README.md"].decode())
    for name in files.keys() - {".gitattributes"}:
        assert f"  {name}\n" in dry.stdout
    assert "nothing was written: this was a dry run" in dry.stderr


# Scores.


def test_scores_of_its_run(hub: Hub, surgery: Surgery, room: Path) -> None:
    ok(surgery("publish", "out", REPO, "--run", "run", "--quiet"))
    card = hub.files(REPO)["README.md"].decode()
    assert check(card) == ([], [])
    scores, against, _ = tables(card)
    assert scores[0] == ["suite", "task", "metric", "this merge", "in", "rl"]
    assert all("n=4" in cell for cell in scores[1][3:])
    assert [row[3] for row in against[1:]] == ["in", "rl"]
    assert front_matter(card)["model-index"][0]["name"] == "mixed"
    assert "Scores" in headings(card)
    ok(surgery("verify", REPO))


def test_a_run_of_other_weights(hub: Hub, surgery: Surgery, room: Path) -> None:
    from tests.hub.merges import MIDDLE

    merged(room / "other", MIDDLE.replace("[mid]", "[late]"))
    done = surgery("publish", "other", REPO, "--run", "run")
    assert done.returncode == 2
    assert "no variant of the run has it" in done.stderr
    assert surgery("publish", "out", REPO, "--run", "nowhere").returncode == 2
    assert written(hub) == []


def test_scores_of_a_recipe_that_was_never_written(hub: Hub, surgery: Surgery, room: Path) -> None:
    """The sweep scored the recipe in memory; the merge of it has the same fingerprint."""
    ok(surgery("publish", "out", REPO, "--run", "many", "--quiet"))
    scores = tables(hub.files(REPO)["README.md"].decode())[0]
    assert scores[0][3:] == ["this merge", "in", "rl"]


# What makes no sense, and what may not be.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("out",), "needs a merge and its target"),
        (("out", "name"), "is not namespace/name"),
        (("out", "a/b/c"), "is not namespace/name"),
        (("out", "me/na--me"), "is not namespace/name"),
        (("out", "me/../x"), "is not namespace/name"),
        (("out", "https://huggingface.co/me/x"), "is not namespace/name"),
        (("out", REPO, "--pick", "x > 1"), "applies to --sweep only"),
        (("--sweep", "many", REPO), "give the namespace alone"),
        (("--sweep", "many", "somebody", "--run", "run"), "applies to a single merge"),
        (("--sweep", "many", "somebody", "--revision", "b"), "applies to a single merge"),
        (("--sweep", "nowhere", "somebody"), "nowhere"),
        (("--sweep", "many", "somebody", "--pick", "rubbish"), "compares nothing"),
        (("nothing", REPO), "nothing"),
        (("many", REPO), "has no surgery.json"),
        (("out", REPO, "--license", "appache"), "Did you mean 'apache-2.0'"),
        (("out", REPO, "--license", "other"), "other:NAME:LINK"),
        (("out", "nobody/x"), "neither you nor an organization"),
        (("out", REPO, "--model", "in"), "in"),
        (("out", REPO, "--model", "xx=specimen:in"), "xx"),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense(
    hub: Hub, surgery: Surgery, room: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = surgery("publish", *arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert written(hub) == []


def test_a_merge_that_does_not_hold(hub: Hub, surgery: Surgery, room: Path) -> None:
    path = room / "out" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    done = surgery("publish", "out", REPO)
    assert done.returncode == 2
    assert "failed verification, so it is not published" in done.stderr
    assert "'surgery verify out' lists all" in done.stderr
    (room / "out" / "extra.py").write_text("")
    assert surgery("publish", "out", REPO).returncode == 2
    assert written(hub) == []


def test_the_licence_is_asked_for(hub: Hub, surgery: Surgery, tmp_path: Path) -> None:
    folder = stage("in", tmp_path / "in", None)
    merged(tmp_path / "out", **{"in": folder})
    done = surgery("publish", "out", REPO)
    assert done.returncode == 2
    assert "in (in) states no licence" in done.stderr
    assert "--license ID" in done.stderr
    assert written(hub) == []
    ok(surgery("publish", "out", REPO, "--license", "other:mine:LICENSE"))
    card = hub.files(REPO)["README.md"].decode()
    metadata = front_matter(card)
    assert (metadata["license"], metadata["license_name"]) == ("other", "mine")
    assert "settled the licence as mine, knowing this: in (in) states no licence" in card


def test_a_public_repository_wants_to_be_named(hub: Hub, surgery: Surgery, room: Path) -> None:
    ok(surgery("publish", "out", REPO, "--public"))
    assert not hub.store.find(REPO).private
    done = surgery("publish", "out", REPO)
    assert done.returncode == 2
    assert "is public. Use --public" in done.stderr
    ok(surgery("publish", "out", REPO, "--public"))


def test_a_branch(hub: Hub, surgery: Surgery, room: Path) -> None:
    ok(surgery("publish", "out", REPO, "--revision", "half"))
    assert 'revision="half"' in hub.files(REPO, "half")["README.md"].decode()
    assert "README.md" not in hub.files(REPO)
    ok(surgery("verify", f"{REPO}@half"))
    ok(surgery("merge", f"hf://{REPO}@half", "again"))
    assert surgery("verify", REPO).returncode == 2


def test_a_repository_that_was_not_published_by_us(
    hub: Hub, surgery: Surgery, tmp_path: Path
) -> None:
    parents(hub, tmp_path)
    done = surgery("verify", "org/in")
    assert done.returncode == 2
    assert "surgery.json" in done.stderr
    done = surgery("merge", "hf://org/in", "again")
    assert done.returncode == 2
    assert "recipe.yaml" in done.stderr
    assert surgery("merge", "hf://org/none", "again").returncode == 2
    assert surgery("verify", "org/none").returncode == 2
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("access", ["gated", "private"])
def test_parents_that_may_not_be_read(
    hub: Hub, surgery: Surgery, tmp_path: Path, access: str
) -> None:
    merged(tmp_path / "out", **parents(hub, tmp_path))
    shutil.rmtree(constants.HF_HUB_CACHE)
    if access == "gated":
        hub.gated.add("org/rl")
    else:
        hub.store.find("org/rl").private = True
        hub.orgs.pop("org")
    done = surgery("publish", "out", REPO)
    assert done.returncode == 2
    assert "org/rl" in done.stderr
    assert written(hub) == []


# Without a network.


def test_offline_everything_local_works(
    hub: Hub, surgery: Surgery, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.broken = 500  # nobody asks
    ok(surgery("merge", "specimen/in-rl-in", "new"))
    ok(surgery("plan", "specimen/in-rl-in"))
    ok(surgery("verify", "new"))
    ok(surgery("stats", "--base", "specimen:in", "--in", "specimen:rl", "--out", "stats"))
    dry = ok(surgery("publish", "new", REPO, "--dry-run"))
    assert "are not checked" in dry.stderr
    assert "# mixed" in dry.stdout
    ok(surgery("publish", "--sweep", "many", "somebody", "--dry-run"))
    done = surgery("publish", "new", REPO)
    assert done.returncode == 2
    assert "HF_HUB_OFFLINE forbids it. Unset it to publish." in done.stderr
    assert surgery("verify", REPO).returncode == 2
    assert hub.requests == []


def test_offline_a_publication_in_the_cache_is_at_hand(
    hub: Hub, surgery: Surgery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged(tmp_path / "out", **parents(hub, tmp_path))
    ok(surgery("publish", "out", REPO, "--quiet"))
    fetch_all(REPO, None)
    hub.forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    ok(surgery("verify", REPO))
    ok(surgery("merge", f"hf://{REPO}", "again"))
    ok(surgery("publish", "out", REPO, "--dry-run"))
    assert hub.requests == []
