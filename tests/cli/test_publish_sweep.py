"""Publishing the variants of a sweep, with an index and a collection."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cli.publishing import ok
from tests.hub.merges import (
    REPO,
    listing,
    sleepless,
    written,
)
from tests.hub.test_card import headings, tables

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    import pytest

    from tests.cli.publishing import Surgery
    from tests.hub import Hub


# Collections and sweeps.


def test_into_a_collection(hub: Hub, surgery: Surgery, room: Path) -> None:
    done = ok(surgery("publish", "out", REPO, "--collection", "Mine"))
    (shelf,) = hub.collections.values()
    assert [item["id"] for item in shelf["items"]] == [REPO]
    assert shelf["private"]
    assert shelf["slug"] in done.stderr + done.stdout


NAMES = ("somebody/many-specimen-in-rl-in", "somebody/many-specimen-rl-in-rl")


def sweep(surgery: Surgery, *more: str) -> subprocess.CompletedProcess[str]:
    return surgery("publish", "--sweep", "many", "somebody", "--collection", "many", *more)


def test_a_sweep(hub: Hub, surgery: Surgery, room: Path) -> None:
    before = listing(room / "many")
    done = ok(sweep(surgery, "--json"))
    assert listing(room / "many") == before
    record = json.loads(done.stdout)
    assert [entry["repo"] for entry in record["published"]] == [*NAMES, "somebody/many"]
    (shelf,) = hub.collections.values()
    assert [(item["type"], item["id"]) for item in shelf["items"]] == [
        ("dataset", "somebody/many"), *(("model", name) for name in NAMES),
    ]  # fmt: skip
    index = hub.files("somebody/many", kind="datasets")
    assert index.keys() >= {"README.md", "scores.csv", "pairs.csv", "recovery.csv", "power.csv"}
    models, scores, differences = tables(index["README.md"].decode())
    assert [row[1] for row in models[1:]] == list(NAMES)
    assert [row[0] for row in scores[1:]] == ["in", "rl", *(row[0] for row in models[1:])]
    assert len(differences) == 4
    for name in NAMES:
        assert hub.store.find(name).private
        assert "Scores" in headings(hub.files(name)["README.md"].decode())
    ok(surgery("verify", NAMES[1]))
    hub.received.clear()
    heads = {name: hub.store.find(name).head("main").id for name in NAMES}
    ok(sweep(surgery, "--quiet"))  # all of it is there
    assert {name: hub.store.find(name).head("main").id for name in NAMES} == heads
    assert not hub.received


def test_some_of_a_sweep(hub: Hub, surgery: Surgery, room: Path) -> None:
    done = surgery("publish", "--sweep", "many", "somebody", "--pick", "M_rea > 150%")
    assert done.returncode == 2
    done = surgery("publish", "--sweep", "many", "somebody", "--pick", "M_rea > 99%")
    assert done.returncode == 2
    assert "no variant to publish: none fulfils 'M_rea > 99%'" in done.stderr
    assert written(hub) == []


def test_a_sweep_that_broke_off_goes_on(
    hub: Hub, surgery: Surgery, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleepless(monkeypatch)
    fault = hub.fail(f"/api/models/{NAMES[1]}/commit/", times=None, status=503)
    done = sweep(surgery)
    assert done.returncode == 2
    assert "the Hub answered with status 503" in done.stderr
    assert fault.hits > 0
    first = hub.store.find(NAMES[0]).head("main").id
    assert hub.store.find("somebody/many", "datasets") is None
    hub.faults.clear()
    hub.received.clear()
    ok(sweep(surgery))
    assert hub.store.find(NAMES[0]).head("main").id == first
    assert not hub.received  # the weights had arrived
    assert hub.store.find("somebody/many", "datasets") is not None
    assert not (room / "many" / "merged").exists()


def test_a_sweep_looks_at_every_target_first(hub: Hub, surgery: Surgery, room: Path) -> None:
    (room / "theirs").mkdir()
    (room / "theirs" / "weights.bin").write_bytes(b"1")
    for name, kind in ((NAMES[1], "models"), ("somebody/many", "datasets")):
        hub.add(name, room / "theirs", kind=kind, private=True)
        done = sweep(surgery)
        assert done.returncode == 2
        assert f"{name} already exists" in done.stderr
        assert written(hub) == []
        del hub.store.repos[kind, name]


def test_variants_that_would_share_a_name(hub: Hub, surgery: Surgery, room: Path) -> None:
    done = surgery("publish", "--sweep", "many", "somebody", "--collection", "x" * 120, "--dry-run")
    assert done.returncode == 2
    assert "would both be published as" in done.stderr


def test_a_model_of_the_sweep_that_changed(hub: Hub, surgery: Surgery, room: Path) -> None:
    record = json.loads((room / "many" / "run.json").read_text())
    for variant in record["variants"]:
        variant["fingerprint"] = variant["fingerprint"][::-1]
    (room / "many" / "run.json").write_text(json.dumps(record))
    done = sweep(surgery)
    assert done.returncode == 2
    assert "differs from the variant that the run scored" in done.stderr
    assert written(hub) == []


def test_what_was_chosen_by_its_scores_is_told_so(hub: Hub, surgery: Surgery, room: Path) -> None:
    ok(sweep(surgery, "--pick", "M_rea >= 0", "--pick", "M_rea <= 100%"))
    card = hub.files("somebody/many", kind="datasets")["README.md"].decode()
    assert "chosen by" not in card  # nothing was left out
    run = json.loads((room / "many" / "run.json").read_text())
    remaining, stored = (item["name"] for item in run["variants"] if "transplant" in item["recipe"])
    lines = (room / "many" / "records.jsonl").read_text().splitlines()
    wrong = [
        json.dumps({**json.loads(line), "correct": json.loads(line)["variant"] == stored})
        for line in lines
    ]
    (room / "many" / "records.jsonl").write_text("\n".join(wrong) + "\n")
    ok(sweep(surgery, "--pick", "M_rea > in", "--json"))
    card = hub.files("somebody/many", kind="datasets")["README.md"].decode()
    assert f"1 of 2 variants are published; not `{remaining}`." in card
    assert "chosen by `M_rea > in` on the scores below" in card
    _, scores, _ = tables(card)
    assert [row[0] for row in scores[1:]] == ["in", "rl", remaining, stored]
