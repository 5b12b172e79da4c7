"""What goes to the Hub: every file, and a ledger that speaks of just these."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
import yaml

from surgery.checkpoint.ledger import read_ledger
from surgery.errors import PlanError
from surgery.execute.verify import verify
from surgery.hub.bundle import Bundle
from surgery.hub.package import Package, pack
from surgery.recipe import parse_recipe
from tests.hub.merges import (
    COPY,
    PICTURE,
    listing,
    merged,
    packed,
    parents,
    scored,
    stage,
    subject,
)
from tests.hub.store import git_hash

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub import Hub


def written(package: Package, folder: Path) -> Path:
    """A publication as somebody finds it who fetches it."""
    for name in package.bundle.files:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with package.bundle.staged() as staged:
            place.write_bytes((staged / name).read_bytes())
    return folder


def test_its_files(tmp_path: Path) -> None:
    out = merged(tmp_path / "out")
    made = packed(out)
    own = {path.name for path in out.iterdir()}
    assert made.bundle.files.keys() == own | {"layers.png", "recipe.yaml"}
    new = {"README.md", "layers.png", "recipe.yaml", "surgery.json"}
    for name in own - new:
        assert made.bundle.files[name] == out / name
    assert list(made.bundle.files) == sorted(made.bundle.files)


def test_the_folder_is_left_as_it_is(tmp_path: Path) -> None:
    out = merged(tmp_path / "out")
    before = listing(out)
    with packed(out).bundle.staged() as folder:
        assert (folder / "model.safetensors").is_file()
    assert listing(out) == before
    assert not folder.exists()


def test_shards_and_index_go(tmp_path: Path) -> None:
    out = merged(tmp_path / "out", COPY)
    files = packed(out).bundle.files
    assert sum(name.endswith(".safetensors") for name in files) == 4
    assert files["model.safetensors.index.json"] == out / "model.safetensors.index.json"


def test_what_is_fetched_verifies(hub: Hub, tmp_path: Path) -> None:
    """With its inputs, and although the branch of one has moved."""
    models = parents(hub, tmp_path)
    out = merged(tmp_path / "out", **models)
    made = packed(out)
    hub.add("org/rl", tmp_path / "parents" / "in")
    found = verify(written(made, tmp_path / "there"))
    assert found.faults == ()
    assert (found.copies, found.recomputed) == (found.tensors, 0)
    assert found.files == len(made.ledger.files)


def test_so_does_one_of_folders_that_are_bound_again(tmp_path: Path) -> None:
    folder = stage("in", tmp_path / "deep" / "in")
    made = packed(merged(tmp_path / "out", **{"in": folder}))
    there = written(made, tmp_path / "there")
    assert verify(there, inputs=False).faults == ()
    assert verify(there, {"in": str(folder)}).faults == ()


def test_the_ledger_lists_every_file_and_no_other(tmp_path: Path) -> None:
    made = packed(merged(tmp_path / "out"))
    told = json.loads(made.bundle.files["surgery.json"])
    listed = {each["name"]: each["sha256"] for each in told["files"]}
    shards = {each["shard"] for each in told["tensors"]}
    assert made.bundle.files.keys() == {*listed, *shards, "surgery.json"}
    for name, digest in listed.items():
        assert made.bundle.sha256(name) == digest
    assert made.ledger.to_json() == made.bundle.files["surgery.json"]


def test_tensors_are_told_as_they_were(tmp_path: Path) -> None:
    out = merged(tmp_path / "out")
    assert packed(out).ledger.tensors == read_ledger(out).tensors
    assert packed(out).ledger.versions == read_ledger(out).versions


def test_the_recipe_is_pinned_and_complete(hub: Hub, tmp_path: Path) -> None:
    made = packed(merged(tmp_path / "out", **parents(hub, tmp_path)))
    recipe = parse_recipe(made.bundle.files["recipe.yaml"].decode())
    for name, reference in recipe.models.items():
        commit = hub.store.find(f"org/{name}").head("main").id
        assert reference == f"hf://org/{name}@{commit}"
    assert recipe.unbound == ()


def test_scores_go_as_files_of_their_own(tmp_path: Path) -> None:
    from dataclasses import replace

    entry = [{"dataset": {"id": "openai/gsm8k", "task_id": "gsm8k"}, "value": 0.5}]
    index = [{"name": "mixed", "results": []}]
    out = merged(tmp_path / "out")
    told = scored(results={"gsm8k.yaml": entry}, index=index)
    made = pack(out, replace(subject(out), evaluation=told), PICTURE)
    assert yaml.safe_load(made.bundle.files[".eval_results/gsm8k.yaml"]) == entry
    assert "model-index:" in made.card
    assert verify(written(made, tmp_path / "there")).faults == ()


def test_the_same_merge_makes_the_same_bytes(tmp_path: Path) -> None:
    """So that an interrupted publication goes on with what it began."""
    one, two = (packed(merged(tmp_path / name / "out")) for name in ("one", "two"))
    assert {n: one.bundle.sha256(n) for n in one.bundle.files} == {
        n: two.bundle.sha256(n) for n in two.bundle.files
    }


def test_the_picture_is_the_same_every_time(tmp_path: Path) -> None:
    from surgery.report.layers import layers_png

    plan = subject(merged(tmp_path / "out")).plan
    assert layers_png(plan) == layers_png(plan)


def test_a_publication_can_be_published_again(tmp_path: Path) -> None:
    there = written(packed(merged(tmp_path / "out")), tmp_path / "there")
    again = packed(there)
    assert {n: again.bundle.sha256(n) for n in again.bundle.files} == {
        n: sha256((there / n).read_bytes()).hexdigest() for n in again.bundle.files
    }


def test_a_file_of_a_model_is_never_replaced(tmp_path: Path) -> None:
    from dataclasses import replace

    out = merged(tmp_path / "out")
    of = subject(out)
    odd = replace(of.ledger, files=tuple(replace(entry, source="in") for entry in of.ledger.files))
    with pytest.raises(PlanError, match=r"README\.md"):
        pack(out, replace(of, ledger=odd), PICTURE)


def test_hashes_are_those_of_git_and_the_hub(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"some bytes")
    bundle = Bundle({"a": tmp_path / "a", "b/c": b"some bytes"})
    for name in bundle.files:
        assert bundle.git_hash(name) == git_hash(b"some bytes")
        assert bundle.sha256(name) == sha256(b"some bytes").hexdigest()
    assert bundle.nbytes == 20
    with bundle.staged() as folder:
        assert (folder / "a").read_bytes() == (folder / "b" / "c").read_bytes() == b"some bytes"
