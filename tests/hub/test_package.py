"""The files for the Hub, and a ledger that lists exactly these."""

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
    output = packed(out)
    local = {path.name for path in out.iterdir()}
    assert output.bundle.files.keys() == local | {"layers.png", "recipe.yaml"}
    new = {"README.md", "layers.png", "recipe.yaml", "surgery.json"}
    for name in local - new:
        assert output.bundle.files[name] == out / name
    assert list(output.bundle.files) == sorted(output.bundle.files)


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
    output = packed(out)
    hub.add("org/rl", tmp_path / "parents" / "in")
    verification = verify(written(output, tmp_path / "there"))
    assert verification.faults == ()
    assert (verification.copies, verification.recomputed) == (verification.tensors, 0)
    assert verification.files == len(output.ledger.files)


def test_so_does_one_of_folders_that_are_bound_again(tmp_path: Path) -> None:
    folder = stage("in", tmp_path / "deep" / "in")
    output = packed(merged(tmp_path / "out", **{"in": folder}))
    entries = written(output, tmp_path / "there")
    assert verify(entries, inputs=False).faults == ()
    assert verify(entries, {"in": str(folder)}).faults == ()


def test_the_ledger_lists_every_file_and_no_other(tmp_path: Path) -> None:
    output = packed(merged(tmp_path / "out"))
    record = json.loads(output.bundle.files["surgery.json"])
    listed = {item["name"]: item["sha256"] for item in record["files"]}
    shards = {item["shard"] for item in record["tensors"]}
    assert output.bundle.files.keys() == {*listed, *shards, "surgery.json"}
    for name, digest in listed.items():
        assert output.bundle.sha256(name) == digest
    assert output.ledger.to_json() == output.bundle.files["surgery.json"]


def test_tensors_are_told_as_they_were(tmp_path: Path) -> None:
    out = merged(tmp_path / "out")
    assert packed(out).ledger.tensors == read_ledger(out).tensors
    assert packed(out).ledger.versions == read_ledger(out).versions


def test_the_recipe_is_pinned_and_complete(hub: Hub, tmp_path: Path) -> None:
    output = packed(merged(tmp_path / "out", **parents(hub, tmp_path)))
    recipe = parse_recipe(output.bundle.files["recipe.yaml"].decode())
    for name, reference in recipe.models.items():
        commit = hub.store.find(f"org/{name}").head("main").id
        assert reference == f"hf://org/{name}@{commit}"
    assert recipe.unbound == ()


def test_scores_go_as_files_of_their_own(tmp_path: Path) -> None:
    from dataclasses import replace

    entry = [{"dataset": {"id": "openai/gsm8k", "task_id": "gsm8k"}, "value": 0.5}]
    index = [{"name": "mixed", "results": []}]
    out = merged(tmp_path / "out")
    text = scored(results={"gsm8k.yaml": entry}, index=index)
    output = pack(out, replace(subject(out), evaluation=text), PICTURE)
    assert yaml.safe_load(output.bundle.files[".eval_results/gsm8k.yaml"]) == entry
    assert "model-index:" in output.card
    assert verify(written(output, tmp_path / "there")).faults == ()


def test_the_same_merge_makes_the_same_bytes(tmp_path: Path) -> None:
    """An interrupted publication resumes with the same files."""
    item, two = (packed(merged(tmp_path / name / "out")) for name in ("one", "two"))
    assert {n: item.bundle.sha256(n) for n in item.bundle.files} == {
        n: two.bundle.sha256(n) for n in two.bundle.files
    }


def test_the_picture_is_the_same_every_time(tmp_path: Path) -> None:
    from surgery.report.layers import layers_png

    plan = subject(merged(tmp_path / "out")).plan
    assert layers_png(plan) == layers_png(plan)


def test_a_publication_can_be_published_again(tmp_path: Path) -> None:
    entries = written(packed(merged(tmp_path / "out")), tmp_path / "there")
    again = packed(entries)
    assert {n: again.bundle.sha256(n) for n in again.bundle.files} == {
        n: sha256((entries / n).read_bytes()).hexdigest() for n in again.bundle.files
    }


def test_a_file_of_a_model_is_never_replaced(tmp_path: Path) -> None:
    from dataclasses import replace

    out = merged(tmp_path / "out")
    by_key = subject(out)
    odd = replace(
        by_key.ledger, files=tuple(replace(entry, source="in") for entry in by_key.ledger.files)
    )
    with pytest.raises(PlanError, match=r"README\.md"):
        pack(out, replace(by_key, ledger=odd), PICTURE)


def test_hashes_are_those_of_git_and_the_hub(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"some bytes")
    bundle = Bundle({"a": tmp_path / "a", "b/c": b"some bytes"})
    for name in bundle.files:
        assert bundle.git_hash(name) == git_hash(b"some bytes")
        assert bundle.sha256(name) == sha256(b"some bytes").hexdigest()
    assert bundle.nbytes == 20
    with bundle.staged() as folder:
        assert (folder / "a").read_bytes() == (folder / "b" / "c").read_bytes() == b"some bytes"
