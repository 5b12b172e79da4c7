"""Variants in memory and variants on disk; interrupted and uninterrupted runs."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import weakref
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from eval.asking.prepare import prepare
from eval.asking.processes import Worker, process_count
from eval.asking.run import AskedVariant, ask_variants
from eval.asking.session import Session
from eval.asking.settings import EvalSettings
from eval.asking.store import RESPONSES, Store
from eval.graded import RECORDS
from eval.records import Suite
from eval.suites.specimen import load
from eval.sweep.score import Comparison, score
from eval.sweep.variants import Grid, Pairing, grid, layers, thirds
from eval.variants import Variant, plain
from surgery import specimen
from surgery.errors import CheckpointError, ExecutionError
from surgery.execute.run import execute
from surgery.plan import make_plan
from surgery.recipe import opened
from tests.waiting import forked, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.hub import Hub

PAIR = Pairing({"in": "specimen:in", "rl": "specimen:rl"}, "in", "rl")


def small(samples: int = 3) -> Suite:
    """Reading, arithmetic seen, arithmetic in text: all three metrics."""
    whole = load(samples, 11)
    stored = tuple(t for t in whole.tasks if t.name in ("read", "expression", "arithmetic"))
    return Suite(whole.name, stored, whole.max_new_tokens)


SETTINGS = EvalSettings(device="cpu", threads=1)


def run(
    variants: Sequence[Variant], folder: Path, samples: int = 3, **more: Any
) -> list[AskedVariant]:
    return ask_variants(variants, (small(samples),), SETTINGS, folder, **more)


def merged(variant: Variant, out: Path) -> Path:
    with opened(variant.recipe) as checkpoints:
        execute(make_plan(variant.recipe, checkpoints), checkpoints, out)
    return out


def test_hot_swapped_is_merged_to_disk(tmp_path: Path) -> None:
    """Response for response, with the same fingerprint, and the base itself comes back."""
    blends = Grid(regions=("mid",), modules=("mlp",), methods=("linear", "slerp"), t=(0.4,))
    swapped = [
        plain("in", "specimen:in"),
        *list(thirds(PAIR))[:2],
        *list(layers(PAIR, "language", 9))[4:5],
        *grid(PAIR, blends),
        plain("in again", "specimen:in"),
    ]
    selected = run(swapped, tmp_path / "swapped")
    on_disk = [plain(v.name, str(merged(v, tmp_path / v.name))) for v in swapped[:-1]]
    from_disk = run(on_disk, tmp_path / "disk")
    store, other = Store(tmp_path / "swapped"), Store(tmp_path / "disk")
    output = set()
    for actual, reference in zip(selected, from_disk, strict=False):
        assert actual.content == reference.content
        assert actual.keys == reference.keys
        for key in actual.keys:
            assert store.responses[key] == other.responses[key], (actual.variant.name, key)
        output.add(tuple(store.responses[key].text for key in actual.keys))
    assert len(output) >= 3  # the variants do differ
    assert selected[0].content == selected[-1].content  # and equal ones are asked once
    assert selected[-1].timing.answered == 0


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    variants = [plain("in", "specimen:in"), *list(thirds(PAIR))[:1]]
    first = run(variants, tmp_path)
    lines = (tmp_path / RESPONSES).read_text()
    messages = []
    again = run(variants, tmp_path, progress=lambda *call: messages.append(call))
    assert (tmp_path / RESPONSES).read_text() == lines
    assert again == first
    assert messages == [("in", 15, 15), (variants[1].name, 15, 15)]
    more = run(variants, tmp_path, 5)
    assert sum(item.timing.answered for item in more) < 2 * len(more[0].keys)


def test_a_bit_more_is_a_new_variant(tmp_path: Path) -> None:
    """One bit of one weight, and nothing of the old model's answers is used."""
    folder = merged(plain("in", "specimen:in"), tmp_path / "model")
    (before,) = run([plain("m", str(folder))], tmp_path / "run", 1)
    (file,) = folder.glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    (after,) = run([plain("m", str(folder))], tmp_path / "run", 1)
    assert before.content != after.content
    assert not set(before.keys) & set(after.keys)
    assert after.timing.answered == len(after.keys)


def score_run(folder: Path, processes: int) -> None:
    """Three variants, small batches so that there is something to interrupt."""
    variants = [plain("in", "specimen:in"), plain("rl", "specimen:rl"), *list(thirds(PAIR))[:2]]
    settings, suites = replace(SETTINGS, max_batch=4), (small(6),)
    selected = ask_variants(variants, suites, settings, folder, processes=processes)
    score(selected, suites, settings, folder, Comparison("in", "in", "rl"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    score_run(folder, 1)
    return folder


@pytest.mark.parametrize("processes", [1, 2])
def test_interrupted_is_uninterrupted(tmp_path: Path, processes: int, whole: Path) -> None:
    """kill -9 again and again; at the end the records are the same, line for line."""
    broken = tmp_path / "broken"
    expected = len((whole / RESPONSES).read_text().splitlines())
    for part in (0.2, 0.6):
        process = forked(score_run, broken, processes)
        until(lambda part=part: _lines(broken) >= part * expected, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert 0 < _lines(broken) < expected
    score_run(broken, processes)
    assert (broken / RECORDS).read_text() == (whole / RECORDS).read_text()
    for name in ("scores.csv", "pairs.csv", "recovery.csv", "power.csv"):
        assert (broken / name).read_text() == (whole / name).read_text()
    keys = [json.loads(line)["key"] for line in (broken / RESPONSES).read_text().splitlines()]
    assert len(keys) == len(set(keys)) == expected


def _lines(folder: Path) -> int:
    path = folder / RESPONSES
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_processes_say_what_one_says(tmp_path: Path) -> None:
    variants = [plain("in", "specimen:in"), plain("rl", "specimen:rl")]
    item = run(variants, tmp_path / "one")
    two = run(variants, tmp_path / "two", processes=2)
    assert item == two
    assert Store(tmp_path / "one").responses == Store(tmp_path / "two").responses


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer_config.json"])
def test_a_model_that_changes_during_the_run_is_refused(tmp_path: Path, name: str) -> None:
    """Its responses would be kept under the fingerprint of what it was."""
    folder = shutil.copytree(specimen.path("in"), tmp_path / "model")
    prepared = prepare(plain("mine", str(folder)), SETTINGS)
    worker = Worker((small(),), SETTINGS, tmp_path / "run")
    with (folder / name).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\n" if name.endswith("json") else b"\x11")
        file.write(b" " if name.endswith("json") else b"")
    with pytest.raises(CheckpointError, match="changed since the run opened it"):
        worker.answer(prepared, lambda *_: None)
    assert not Store(tmp_path / "run").responses


def test_one_base_is_in_memory_at_a_time() -> None:
    """A subject that is kept after its turn, as probes of several models do, holds no model."""
    session, engines = Session(SETTINGS), []
    remaining = []
    for name in ("in", "rl"):
        with session.subject(prepare(plain(name, f"specimen:{name}"), SETTINGS), ()) as subject:
            engines.append(weakref.ref(subject.engine.model))
        remaining.append(subject)
    gc.collect()
    assert [engine() is None for engine in engines] == [True, False]
    assert [subject.timing.load > 0 for subject in remaining] == [True, True]


def test_a_branch_that_moves_is_read_where_it_was_prepared(hub: Hub) -> None:
    """Every process opens the models again, and finds the commits that were hashed."""
    commits = {name: hub.add(f"lab/{name}", specimen.path(name)) for name in ("in", "rl")}
    pair = Pairing({name: f"lab/{name}" for name in commits}, "in", "rl")
    prepared = prepare(next(iter(thirds(pair))), SETTINGS)
    hub.add("lab/in", specimen.path("base"))
    assert prepared.recipe.models == {
        name: f"hf://lab/{name}@{commit}" for name, commit in commits.items()
    }
    assert prepared.variant.recipe == prepared.recipe
    with opened(prepared.recipe) as checkpoints:
        assert {
            name: checkpoint.info.revision for name, checkpoint in checkpoints.items()
        } == commits


def test_adapters_are_refused_as_base(tmp_path: Path) -> None:
    from surgery.checkpoint.source import AdapterReference

    recipe = plain("in", "specimen:in").recipe
    models = {"in": AdapterReference("specimen:in", str(tmp_path))}
    with pytest.raises(ExecutionError, match="has an adapter"):
        run([Variant("x", replace(recipe, models=models))], tmp_path / "run")


def test_as_many_processes_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = [prepare(plain(name, f"specimen:{name}"), SETTINGS) for name in ("in", "rl")]
    assert 1_000_000 < prepared[0].numel < 3_000_000
    monkeypatch.setattr("eval.asking.processes.processors", lambda: 16)
    assert process_count(prepared, SETTINGS) == 4
    need = 8 * prepared[0].numel
    for entries, count in ((need * 3, 3), (need * 2 - 1, 1), (1, 1)):
        memory = SimpleNamespace(available=entries)
        monkeypatch.setattr("psutil.virtual_memory", lambda memory=memory: memory)
        assert process_count(prepared, SETTINGS) == count
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert process_count(prepared, replace(SETTINGS, device="auto")) == 1
