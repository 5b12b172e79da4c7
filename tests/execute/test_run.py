"""Output of a merge: the right bytes, complete or absent, the same every time."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

import pytest
import torch

from surgery.errors import ExecutionError, PlanError
from surgery.execute.verify import verify
from tests.execute.merging import merge, recipe_text, tensors
from tests.waiting import PATIENCE, until

MIXED = """\
  - transplant: language[mid]
    from: rl
  - interpolate: language[late].mlp
    from: rl
    method: slerp
    t: [0.2, 0.8]
  - add: language[early].attention
    plus: rl
    minus: base
    weight: 0.5
  - merge: vision
    method: dare_ties
    models: {rl: {weight: 0.5, density: 0.8}, base: {weight: 0.5, density: 0.8}}
    seed: 3
"""


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_inputs_same_bytes(pair, tmp_path):
    text = recipe_text(pair("qwen2_5_vl"), MIXED)
    for name, workers in (("one", 1), ("two", 2), ("four", 4)):
        merge(text, tmp_path / name, workers=workers)
    item = contents(tmp_path / "one")
    assert item == contents(tmp_path / "two") == contents(tmp_path / "four")
    assert {"config.json", "generation_config.json", "surgery.json", "README.md"} <= item.keys()


def test_verify_proves_and_finds_one_changed_bit(pair, tmp_path):
    merge(recipe_text(pair("qwen2_5_vl"), MIXED), tmp_path / "out")
    verification = verify(tmp_path / "out")
    assert verification.ok, verification.faults
    assert verification.copies + verification.recomputed == verification.tensors
    assert verification.recomputed > 0
    weights = tmp_path / "out" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    faults = verify(tmp_path / "out").faults
    assert len(faults) == 1
    last = json.loads((tmp_path / "out" / "surgery.json").read_text())["tensors"][-1]["name"]
    assert faults[0].where == last


def test_verify_finds_a_changed_input_and_file(tmp_path):
    from tests.families import save_tiny

    models = {n: save_tiny("llama", tmp_path / n, seed=i) for i, n in enumerate(("in", "rl"))}
    text = recipe_text(models, "  - transplant: language[1]\n    from: rl")
    merge(text, tmp_path / "out")
    (tmp_path / "out" / "config.json").write_text("{}\n" + " ")
    assert [fault.where for fault in verify(tmp_path / "out").faults] == ["config.json"]
    (tmp_path / "out" / "config.json").write_bytes((models["in"] / "config.json").read_bytes())
    assert verify(tmp_path / "out").ok
    save_tiny("llama", models["rl"], seed=9)
    faults = verify(tmp_path / "out").faults
    assert faults
    assert all(".layers.1." in fault.where for fault in faults)
    assert verify(tmp_path / "out", inputs=False).ok


def test_shards_names_and_order_follow_the_base(pair, tmp_path):
    from transformers import AutoModelForImageTextToText

    models = pair("qwen2_5_vl")
    sharded = {}
    for name in ("in", "rl"):
        model = AutoModelForImageTextToText.from_pretrained(models[name])
        model.save_pretrained(tmp_path / name, max_shard_size="60KB")
        sharded[name] = tmp_path / name
    merge(recipe_text(sharded, "  - transplant: language[mid]\n    from: rl"), tmp_path / "out")
    base_index = json.loads((sharded["in"] / "model.safetensors.index.json").read_text())
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == base_index["weight_map"]
    assert index["metadata"]["total_size"] == base_index["metadata"]["total_size"]
    assert len(set(index["weight_map"].values())) > 2
    AutoModelForImageTextToText.from_pretrained(tmp_path / "out")


def test_repacked_and_cast(pair, tmp_path):
    text = recipe_text(
        pair("llama"),
        "  - transplant: language[1]\n    from: rl",
        rest="output: {dtype: float32, max_shard_size: 40KB}",
    )
    merge(text, tmp_path / "out")
    base, rl = tensors(pair("llama")["in"]), tensors(pair("llama")["rl"])
    for name, tensor in tensors(tmp_path / "out").items():
        assert tensor.dtype == torch.float32
        source = rl if ".layers.1." in name else base
        assert torch.equal(tensor, source[name].float())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float32"
    assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 1
    assert verify(tmp_path / "out").ok


def test_overflow_is_refused_without_output(tmp_path):
    from tests.families import save_tiny

    models = {
        name: save_tiny("llama", tmp_path / name, seed=i, dtype=torch.float32)
        for i, name in enumerate(("in", "rl"))
    }
    steps = "  - add: language[1].mlp\n    plus: rl\n    minus: in\n    weight: 1.0e+9"
    text = recipe_text(models, steps, rest="output: {dtype: float16}")
    with pytest.raises(ExecutionError, match="float16 cannot hold"):
        merge(text, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "rl"]


def test_memory_is_refused_before_anything_is_written(pair, tmp_path, monkeypatch):
    monkeypatch.setattr("surgery.plan.validate.available_memory", lambda: 1 << 20)
    with pytest.raises(PlanError, match="dare_ties of"):
        merge(recipe_text(pair("qwen2_5_vl"), MIXED), tmp_path / "out")
    assert not list(tmp_path.iterdir())


MERGES = """
import os, resource, signal, sys
from pathlib import Path
import mergekit.merge_methods
import surgery.execute.tensor
from tests.execute.merging import merge

def spent():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

def attempt(out, part):
    child = os.fork()
    if not child:
        # A timer of processor time: the kernel ends the process there, however loaded the machine.
        signal.setitimer(signal.ITIMER_PROF, part * whole)
        merge(recipe, out)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

recipe, whole = Path(sys.argv[1]).read_text(), 0.0
assert attempt(Path(sys.argv[2]), 0.0) == 0
whole = spent()
for number, part in enumerate(sys.argv[4:]):
    print(attempt(Path(f"{sys.argv[3]}{number}"), float(part)))
"""


def start(recipe, out):
    return subprocess.Popen(
        [sys.executable, "-c", MERGE, str(recipe), str(out)], stdout=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Recipes over checkpoints large enough to be caught in the act: moved, and computed."""
    from tests.families import save_tiny

    root = tmp_path_factory.mktemp("large")
    models = {}
    for seed, name in enumerate(("in", "rl")):
        models[name] = save_tiny("llama", root / name, seed=seed, vocab_size=200_000)
    linear = "  - interpolate: '*'\n    from: rl\n    method: linear\n    t: 0.5"
    steps = {"moved": "  - transplant: embedding\n    from: rl", "computed": linear}
    for name, text in steps.items():
        (root / f"{name}.yaml").write_text(recipe_text(models, text))
    return {name: root / f"{name}.yaml" for name in steps}


@pytest.mark.parametrize(("kind", "times"), [("moved", 14), ("computed", 6)])
def test_kill_at_any_moment_never_leaves_a_model(large, tmp_path, kind, times):
    draw = random.Random(0)
    parts = [str(draw.uniform(0.02, 0.9)) for _ in range(times)]
    whole, out = tmp_path / "whole", tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", MERGES, str(large[kind]), str(whole), str(out), *parts],
        capture_output=True, text=True, check=True, env=os.environ | {"VLM_SURGERY_CACHE": ""},
    )  # fmt: skip
    codes = [int(line) for line in done.stdout.split()]
    assert codes.count(-signal.SIGPROF) >= times // 2
    assert set(codes) <= {-signal.SIGPROF, 0}
    expected = contents(whole)
    for number, code in enumerate(codes):
        output = tmp_path / f"out{number}"
        assert output.exists() or code
        if output.exists():
            assert contents(output) == expected
    for remaining in tmp_path.glob(".out*"):
        assert not (remaining / "config.json").exists() or (remaining / "surgery.json").exists()
    # the next run sweeps up what the killed ones left of its target
    first = codes.index(-signal.SIGPROF)
    assert list(tmp_path.glob(f".out{first}.*"))
    merge(large[kind].read_text(), tmp_path / f"out{first}")
    assert contents(tmp_path / f"out{first}") == expected
    assert not list(tmp_path.glob(f".out{first}.*"))


MERGE = """
import sys
from pathlib import Path
from tests.execute.merging import merge
merge(Path(sys.argv[1]).read_text(), Path(sys.argv[2]))
"""


def test_interrupt_cleans_up(large, tmp_path):
    command = [sys.executable, "-c", MERGE, str(large["computed"]), str(tmp_path / "out")]
    process = subprocess.Popen(command)
    try:
        # The lock alone is no output yet: the next merge clears a lock without a holder.
        until(lambda: any(entry.is_dir() for entry in tmp_path.iterdir()), process)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert not list(tmp_path.iterdir()) or (tmp_path / "out" / "config.json").exists()


LIMITED = """
import resource, sys
from pathlib import Path
from surgery.errors import ExecutionError
from tests.execute.merging import merge
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    merge(Path(sys.argv[1]).read_text(), Path(sys.argv[2]))
except ExecutionError as error:
    print(error)
    sys.exit(2)
"""


def test_full_disk_is_a_clear_error(large, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(large["moved"]), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"VLM_SURGERY_CACHE": ""},
    )
    assert done.returncode == 2, done.stderr
    assert "model.safetensors" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_really_full_disk(large, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("this system mounts nothing")
    try:
        with pytest.raises(PlanError, match=r"has .* free"):
            merge(large["moved"].read_text(), disk / "out")
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)
