"""Inputs that change while they are read: never a false ledger, and nothing left behind."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from surgery.checkpoint import digest, weights
from surgery.checkpoint.ledger import read_ledger
from surgery.checkpoint.local import LocalCheckpoint
from surgery.checkpoint.open import open_checkpoint
from surgery.checkpoint.shard import ShardWriter
from surgery.errors import CheckpointError
from surgery.execute import run
from surgery.execute.fingerprint import fingerprint
from surgery.execute.verify import verify
from surgery.plan import make_plan
from surgery.recipe import opened, parse_recipe
from surgery.stats.study import Study
from tests.checkpoint.files import single
from tests.execute.merging import merge, recipe_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Change = Callable[[Path], object]

MOVED = "  - transplant: language[1]\n    from: rl"
COMPUTED = "  - interpolate: '*'\n    from: rl\n    method: {}\n    t: 0.3"
WEIGHTS = "model.safetensors"


@pytest.fixture
def models(pair: Callable[[str], dict[str, Path]], tmp_path: Path) -> dict[str, Path]:
    """Make IN and RL of a tiny model, each with a tokenizer file, in this test's folders."""
    result = {n: shutil.copytree(pair("llama")[n], tmp_path / n) for n in ("in", "rl")}
    for folder in result.values():
        (folder / "tokenizer.json").write_text('{"model": {"vocab": {}}}')
    return result


def save_again(folder: Path) -> None:
    save_file({n: t + 1 for n, t in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)


def write_in_place(folder: Path) -> None:
    with (folder / WEIGHTS).open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\x55\x55")


def write_through_a_map(folder: Path) -> None:
    with (folder / WEIGHTS).open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[-1] ^= 1


def write_and_turn_the_clock_back(folder: Path) -> None:
    before = (folder / WEIGHTS).stat()
    write_in_place(folder)
    os.utime(folder / WEIGHTS, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(folder: Path) -> None:
    shutil.copy(folder / WEIGHTS, folder / "new")
    (folder / "new").rename(folder / WEIGHTS)


def turn_a_link(folder: Path) -> None:
    (folder / "there").write_bytes((folder / WEIGHTS).read_bytes())
    (folder / "link").symlink_to("there")
    (folder / "link").rename(folder / WEIGHTS)


def cut(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size - 2)


def remove(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def configure(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))


def lora(folder: Path) -> Path:
    """Make an adapter of one matrix, as PEFT saves it."""
    folder.mkdir()
    module = "base_model.model.model.layers.1.self_attn.o_proj"
    width = 32
    factors = {"lora_A": torch.ones(2, width), "lora_B": torch.ones(width, 2)}
    save_file(
        {f"{module}.{name}.weight": tensor for name, tensor in factors.items()},
        folder / "adapter_model.safetensors",
    )
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["o_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


CHANGES = [
    save_again,
    write_in_place,
    write_through_a_map,
    write_and_turn_the_clock_back,
    replace,
    turn_a_link,
    cut,
    remove,
    configure,
]


def during(patch: pytest.MonkeyPatch, method: str, change: Callable[[], object], *, after: bool):
    """Call an action once, before or after the first call of a method of the writer."""
    real, todo = getattr(ShardWriter, method), [change]

    def call(self, *args, **kwargs):
        if not after and todo:
            todo.pop()()
        result = real(self, *args, **kwargs)
        if after and todo:
            todo.pop()()
        return result

    patch.setattr(ShardWriter, method, call)
    return todo


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", ["in", "rl"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_merge_of_moved_tensors_refuses_it(models, tmp_path, monkeypatch, change, name, after):
    todo = during(monkeypatch, "copy_run", partial(change, models[name]), after=after)
    entries = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=r"was truncated|changed while it was being read"):
        merge(recipe_text(models, MOVED), tmp_path / "out", workers=1)
    assert not todo
    assert sorted(tmp_path.iterdir()) == entries


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_a_merge_that_computes_refuses_it(models, tmp_path, monkeypatch, method):
    todo = during(monkeypatch, "write", partial(write_in_place, models["rl"]), after=True)
    with pytest.raises(CheckpointError, match=r"rl/model.safetensors: changed while"):
        merge(recipe_text(models, COMPUTED.format(method)), tmp_path / "out")
    assert not todo
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "file", ["tokenizer.json", "generation_config.json", "chat_template.jinja"]
)
def test_files_that_follow_the_base_are_inputs_too(models, tmp_path, monkeypatch, file):
    text = recipe_text(models, MOVED)
    other = '{"model": {"vocab": {}}, "version": "2"}'
    todo = during(
        monkeypatch, "copy_run", lambda: (models["in"] / file).write_text(other), after=False
    )
    with pytest.raises(CheckpointError, match=f"in/{file}: changed while"):
        merge(text, tmp_path / "out")
    assert not todo
    # What does not follow into the output is no input.
    (models["rl"] / file).write_text(other)
    during(monkeypatch, "copy_run", (models["rl"] / file).unlink, after=False)
    merge(text, tmp_path / "out")
    assert verify(tmp_path / "out").ok


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json"])
def test_an_adapter_is_an_input_too(models, tmp_path, monkeypatch, file):
    adapter = lora(tmp_path / "adapter")

    def change() -> None:
        if file.endswith(".json"):
            config = json.loads((adapter / file).read_text())
            (adapter / file).write_text(json.dumps(config | {"lora_alpha": 99}))
        else:
            save_file({n: t + 1 for n, t in load_file(adapter / file).items()}, adapter / file)

    text = recipe_text(models, MOVED).replace(
        f"rl: {models['rl']}", f"rl: {{base: {models['in']}, adapter: {adapter}}}"
    )
    todo = during(monkeypatch, "write", change, after=True)
    with pytest.raises(CheckpointError, match=f"{file}: changed while"):
        merge(text, tmp_path / "out", workers=1)
    assert not todo
    assert not (tmp_path / "out").exists()


def test_the_ledger_has_the_hashes_of_what_was_written(models, tmp_path, monkeypatch):
    """Though nothing shows that the input changed: not its times, and not what was remembered."""
    text = recipe_text(models, MOVED)
    monkeypatch.setattr(digest, "_SETTLED_NS", -(10**12))
    merge(text, tmp_path / "first")
    monkeypatch.setattr(run, "_check_unchanged", lambda *_: None)
    monkeypatch.setattr("surgery.checkpoint.weights.WeightFile.stamp", lambda _: "")
    for name in models:
        write_and_turn_the_clock_back(models[name])
    for after in (False, True):
        with monkeypatch.context() as patch:
            during(patch, "copy_run", partial(write_through_a_map, models["in"]), after=after)
            merge(text, tmp_path / f"out{after}")
        assert verify(tmp_path / f"out{after}", inputs=False).ok


def test_remembered_hashes_are_of_what_the_source_held(models, tmp_path, monkeypatch):
    monkeypatch.setattr(digest, "_SETTLED_NS", -(10**12))
    monkeypatch.setenv(digest.CACHE_VARIABLE, str(tmp_path / "cache"))
    during(monkeypatch, "copy_run", partial(write_in_place, models["in"]), after=True)
    with pytest.raises(CheckpointError):
        merge(recipe_text(models, MOVED), tmp_path / "out", workers=1)
    assert not (tmp_path / "cache").exists()
    merge(recipe_text(models, MOVED), tmp_path / "out")
    ledger = {entry.name: entry.sha256 for entry in read_ledger(tmp_path / "out").tensors}
    recall = digest.DigestCache()
    with open_checkpoint(str(models["in"])) as checkpoint:
        known_names = {name: recall.lookup(checkpoint, name) for name in checkpoint.info.tensors}
    moved = {name: result for name, result in known_names.items() if ".layers.1." not in name}
    assert moved == {name: ledger[name] for name in moved}


@pytest.mark.parametrize("inputs", [True, False])
def test_verify_statistics_and_fingerprints_refuse_it(models, tmp_path, monkeypatch, inputs):
    text = recipe_text(models, MOVED)
    merge(text, tmp_path / "out")
    spoil = partial(write_in_place, models["rl"] if inputs else tmp_path / "out")

    def changing(position: int) -> Callable[[int], None]:
        calls = iter(range(position, -1, -1))

        def progress(_: int) -> None:
            if next(calls, -1) == 0:
                spoil()

        return progress

    tensors = len(read_ledger(tmp_path / "out").tensors)  # each is hashed in one call
    with pytest.raises(CheckpointError, match="changed while it was being read"):
        verify(tmp_path / "out", inputs=inputs, progress=changing(tensors if inputs else 0))
    if not inputs:
        return
    recipe = parse_recipe(text)
    with opened(recipe) as checkpoints:
        study = Study(checkpoints)
        with pytest.raises(CheckpointError, match="changed while it was being read"):
            study.run(changing(0))
    with opened(recipe) as checkpoints:
        plan = make_plan(recipe, checkpoints)
        spoil()
        with pytest.raises(CheckpointError, match="changed while it was being read"):
            fingerprint(plan, checkpoints)


def moves_times(path: Path) -> bool:
    """Tell whether a file system moves a file's times when a map writes to a synced page."""
    path.write_bytes(bytes(8192))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[0] = 1
        view.flush()
        before = path.stat().st_mtime_ns
        time.sleep(0.02)
        view[0] = 2
        return path.stat().st_mtime_ns != before


def test_a_link_that_is_turned_is_seen_though_no_file_changed(models, tmp_path, monkeypatch):
    """Another engine opens files by their names, and would read the other one."""
    path = models["rl"] / WEIGHTS
    path.rename(models["rl"] / "first")
    shutil.copy(models["rl"] / "first", models["rl"] / "second")
    path.symlink_to("first")

    def turn() -> None:
        (models["rl"] / "link").symlink_to("second")
        (models["rl"] / "link").rename(path)

    todo = during(monkeypatch, "copy_run", turn, after=True)
    with pytest.raises(CheckpointError, match=r"rl/model.safetensors: changed while"):
        merge(recipe_text(models, MOVED), tmp_path / "out")
    assert not todo


def test_writes_through_a_map_that_stays_open_show(tmp_path):
    """The kernel moves the times with a page's first write alone, until the disk has the page."""
    folder = single(tmp_path / "m")
    path = folder / WEIGHTS
    if not moves_times(tmp_path / "probe"):
        pytest.skip("this file system never moves times for a map")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[-1] ^= 1
        time.sleep(0.02)
        with LocalCheckpoint(folder) as checkpoint:
            checkpoint.prefetch(list(checkpoint.info.tensors))
            checkpoint.check_unchanged()
            view[-1] ^= 1
            with pytest.raises(CheckpointError, match="changed while"):
                checkpoint.check_unchanged()


@pytest.mark.parametrize(
    ("age", "fraction", "waits"),
    [
        (0.004, 5, 0.006),  # in the tick of a clock of 100 Hz
        (0.5, 5, 0),
        (0.5, 0, 1.5),  # no fractions of a second: FAT keeps every second one
        (3.0, 0, 0),
        (-60.0, 5, 0),  # another machine's clock
    ],
)
def test_a_file_of_this_tick_is_waited_for(monkeypatch, age, fraction, waits):
    slept = []
    second = 10**9
    now = 1_700_000_001 * second + fraction
    monkeypatch.setattr(weights.time, "time_ns", lambda: now + round(age * second))
    monkeypatch.setattr(weights.time, "sleep", slept.append)
    stat = os.stat_result((0o100644, 1, 1, 1, 0, 0, 9, *[now // second] * 3), {
        "st_mtime_ns": now, "st_ctime_ns": now,
    })  # fmt: skip
    weights._outlast_tick(stat)
    assert sum(slept) == pytest.approx(waits)
