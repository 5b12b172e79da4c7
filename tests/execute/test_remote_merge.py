"""Merges of models on the Hub by ranges: equal to merges of folders, at the stated cost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import enumerate as threads
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from surgery.checkpoint import ranges, remote
from surgery.checkpoint.ledger import read_ledger
from surgery.checkpoint.open import open_checkpoint
from surgery.checkpoint.source import Remote
from surgery.errors import CheckpointError
from surgery.execute.fetch import fetches
from surgery.execute.run import execute
from surgery.execute.verify import verify
from surgery.plan import make_plan
from surgery.recipe import opened, parse_recipe, parse_selector
from surgery.stats.options import Options, SpectrumKind
from surgery.stats.study import Study
from tests.checkpoint.files import write_index
from tests.checkpoint.test_adapter import train
from tests.checkpoint.test_ranges import settled
from tests.cli.conftest import surgery
from tests.execute.merging import merge, recipe_text
from tests.execute.test_oracle import merge_step
from tests.families import save_tiny
from tests.hub import TOKEN
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from surgery.checkpoint.source import Fetch
    from surgery.runs import RunTables
    from tests.hub import Hub

    Pair = Callable[[str], dict[str, Path]]
    Surgery = Callable[..., subprocess.CompletedProcess[str]]

__all__ = ["surgery"]  # the command line's fixture

ROOT = Path(__file__).parents[2]
FAMILY = "qwen2_5_vl"
TRANSPLANT = "  - transplant: language[1:3]\n    from: rl"
MIX = "  - interpolate: language[2]\n    from: rl\n    method: {}\n    t: 0.3"
PIECE, FIRST = 4096, 2048


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Numbers that fit tiny models; and no thread or connection is left."""
    for module in (ranges, remote):
        monkeypatch.setattr(module, "PIECE", PIECE)
    monkeypatch.setattr(remote, "_FIRST", FIRST)
    monkeypatch.setattr(ranges, "_PAUSE", 0.002)
    if "hub" in request.fixturenames:
        request.getfixturevalue("hub")
    yield
    settled()


@pytest.fixture(scope="module")
def models(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Path]]:
    """Base, IN and RL in one file each, or in several."""
    root = tmp_path_factory.mktemp("sharded")

    def make(sharded: bool = False) -> dict[str, Path]:
        whole = pair(FAMILY)
        return {n: in_shards(p, root / n) for n, p in whole.items()} if sharded else whole

    return make


def in_shards(folder: Path, out: Path, count: int = 3) -> Path:
    """The same model, its tensors dealt out to several files."""
    if out.exists():
        return out
    tensors = sorted(load_file(folder / "model.safetensors").items())
    out.mkdir()
    index = {}
    for number in range(count):
        name = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        part = dict(tensors[number * len(tensors) // count : (number + 1) * len(tensors) // count])
        save_file(part, out / name, {"format": "pt"})
        index |= dict.fromkeys(part, name)
    write_index(out, index)
    for extra in folder.glob("*.json"):
        shutil.copy(extra, out)
    return out


def publish(hub: Hub, folders: dict[str, Path]) -> dict[str, Any]:
    for name, folder in folders.items():
        hub.add(f"org/{name}", folder)
    hub.forget()
    return {name: f"org/{name}" for name in folders}


def ranged(
    text: str, out: Path, way: Remote = Remote.RANGES, **mode: Any
) -> tuple[dict[str, Fetch], int]:
    """Merge with models by range; return the stated cost and the number of fetched bytes."""
    recipe = parse_recipe(text)
    with opened(recipe, way) as checkpoints:
        plan = make_plan(recipe, checkpoints)
        messages = fetches(plan, checkpoints)
        execute(plan, checkpoints, out, workers=2, **mode)
        return messages, sum(checkpoint.fetched for checkpoint in checkpoints.values())


def content(folder: Path) -> dict[str, bytes]:
    """All of a merged folder but what names its models."""
    result = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert {"surgery.json", "README.md"} <= result.keys()
    return {n: data for n, data in result.items() if n not in ("surgery.json", "README.md")}


def same(path: Path, expected: Path) -> None:
    assert content(path) == content(expected)
    ledger, right = read_ledger(path), read_ledger(expected)
    assert ledger.tensors == right.tensors
    assert [(f.name, f.sha256) for f in ledger.files if f.name != "README.md"] == [
        (f.name, f.sha256) for f in right.files if f.name != "README.md"
    ]


def sent(hub: Hub, repo: str = "") -> int:
    result = {name: n for name, n in hub.sent.items() if name.startswith(repo)}
    return sum(n for name, n in result.items() if "model" in name and name.endswith("tensors"))


def cost(messages: dict[str, Fetch]) -> int:
    return sum(
        item.headers + (item.ranges if item.way is Remote.RANGES else item.whole)
        for item in messages.values()
    )


STEPS = {
    "copies": (TRANSPLANT, ""),
    "casts": (TRANSPLANT, "output: {dtype: float32}"),
    "linear": (MIX.format("linear"), ""),
    "slerp": (MIX.format("slerp"), ""),
    "ties": (merge_step("ties"), ""),
    "add": ("  - add: language[:2]\n    plus: rl\n    minus: base\n    weight: 0.5", ""),
}


@pytest.mark.parametrize("sharded", [False, True], ids=["single", "sharded"])
@pytest.mark.parametrize("kind", STEPS)
def test_by_range_is_byte_for_byte_what_it_is_from_folders(
    kind: str, sharded: bool, hub: Hub, models: Callable[..., dict[str, Path]], tmp_path: Path
) -> None:
    folders = models(sharded)
    steps, rest = STEPS[kind]
    merge(recipe_text(folders, steps, rest=rest), tmp_path / "wanted")
    names = publish(hub, folders)
    text, fetched = ranged(recipe_text(names, steps, rest=rest), tmp_path / "made")
    same(tmp_path / "made", tmp_path / "wanted")
    headers = 0 if "base" in text else unused_headers(folders["base"])
    assert sent(hub) == fetched == cost(text) + headers
    assert hub.unknown == []


def unused_headers(folder: Path) -> int:
    """The cost of a model of which nothing is read."""
    files = [path.read_bytes() for path in folder.glob("*.safetensors")]
    return sum(max(FIRST, 8 + int.from_bytes(data[:8], "little")) for data in files)


def test_an_adapter_on_a_base_on_the_hub(
    hub: Hub, models: Callable[..., dict[str, Path]], tmp_path: Path
) -> None:
    base = models(True)["base"]
    adapter = train(base, tmp_path / "lora", target_modules=["q_proj", "down_proj"], use_dora=True)
    shutil.rmtree(adapter / "merged")
    steps = "  - transplant: language[1:3]\n    from: tuned"
    local = {"in": base, "tuned": f"{{base: {base}, adapter: {adapter}}}"}
    merge(recipe_text(local, steps), tmp_path / "wanted")  # type: ignore[arg-type]
    publish(hub, {"base": base, "lora": adapter})
    entries = {"in": "org/base", "tuned": "{base: org/base, adapter: org/lora}"}
    text, fetched = ranged(recipe_text(entries, steps), tmp_path / "made")  # type: ignore[arg-type]
    same(tmp_path / "made", tmp_path / "wanted")
    shards = sum(n for name, n in hub.sent.items() if name.startswith("org/base/model-"))
    assert shards == fetched == cost(text)
    assert verify(tmp_path / "made", remote=Remote.RANGES).ok


def test_auto_takes_ranges_where_little_is_needed_and_all_where_most_is(
    hub: Hub, models: Callable[..., dict[str, Path]], tmp_path: Path
) -> None:
    folders = models()
    merge(recipe_text(folders, TRANSPLANT), tmp_path / "wanted")
    text = recipe_text(publish(hub, folders), TRANSPLANT)
    messages, _ = ranged(text, tmp_path / "made", Remote.AUTO)
    assert {name: item.way for name, item in messages.items()} == {
        "in": Remote.CACHE,
        "rl": Remote.RANGES,
    }
    same(tmp_path / "made", tmp_path / "wanted")
    whole = (folders["in"] / "model.safetensors").stat().st_size
    assert (
        hub.sent["org/in/model.safetensors"]
        == messages["in"].headers + whole
        == cost({"in": messages["in"]})
    )
    assert hub.sent["org/rl/model.safetensors"] == messages["rl"].headers + messages["rl"].ranges
    assert messages["rl"].ranges < whole / 2
    # What is in the cache is read from there, and not asked for again; nor are ranges.
    hub.forget()
    messages, fetched = ranged(text, tmp_path / "again", Remote.RANGES)
    assert (messages, fetched, sent(hub)) == ({}, 0, 0)
    assert not [selected for selected in hub.requests if "/cdn/" in selected]
    same(tmp_path / "again", tmp_path / "wanted")


def test_whole_when_told(hub: Hub, models: Callable[..., dict[str, Path]], tmp_path: Path) -> None:
    folders = models(True)
    merge(recipe_text(folders, TRANSPLANT), tmp_path / "wanted")
    text, _ = ranged(
        recipe_text(publish(hub, folders), TRANSPLANT), tmp_path / "made", Remote.CACHE
    )
    assert {item.way for item in text.values()} == {Remote.CACHE}
    same(tmp_path / "made", tmp_path / "wanted")
    assert sent(hub) == cost(text) + unused_headers(folders["base"])
    with open_checkpoint("org/rl", Remote.RANGES) as cached:
        assert cached.fetched == 0
        assert cached.fetch_cost(list(cached.info.tensors)) is None


def test_the_command_line_tells_and_does_the_same(
    hub: Hub, models: Callable[..., dict[str, Path]], tmp_path: Path, surgery: Surgery
) -> None:
    folders = models(True)
    merge(recipe_text(folders, TRANSPLANT), tmp_path / "wanted")
    names = publish(hub, folders)
    del names["base"]
    (tmp_path / "r.yaml").write_text(recipe_text(names, TRANSPLANT))
    done = surgery("plan", "r.yaml", "--json", "--remote", "ranges")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)["fetch"]
    assert {item["way"] for item in record.values()} == {"ranges"}
    headers = sent(hub)
    assert headers == sum(item["headers"] for item in record.values())
    hub.forget()
    assert "by range in" in surgery("plan", "r.yaml", "--remote", "ranges").stdout
    assert sent(hub) == 0  # headers are here
    done = surgery("merge", "r.yaml", "made", "--json", "--remote", "ranges")
    assert done.returncode == 0
    summary = json.loads(done.stdout)
    assert sent(hub) == sum(item["ranges"] for item in record.values())
    assert summary["fetched_bytes"] == sent(hub)
    assert {n: e["ranges"] for n, e in summary["fetch"].items()} == {
        n: e["ranges"] for n, e in record.items()
    }
    same(tmp_path / "made", tmp_path / "wanted")
    assert surgery("verify", "made", "--remote", "ranges").returncode == 0
    assert sent(hub) == summary["fetched_bytes"]
    assert TOKEN not in done.stdout + done.stderr


def test_verify_fetches_what_it_reads_and_no_more(
    hub: Hub, models: Callable[..., dict[str, Path]], tmp_path: Path
) -> None:
    text = recipe_text(publish(hub, models(True)), MIX.format("slerp"))
    messages, _ = ranged(text, tmp_path / "made")
    once = sent(hub)
    hub.forget()
    assert verify(tmp_path / "made", remote=Remote.RANGES).ok
    assert sent(hub) == 0
    shutil.rmtree(tmp_path / "assets")
    verification = verify(tmp_path / "made", remote=Remote.RANGES)
    assert verification.ok
    assert verification.recomputed > 0
    assert sent(hub) == once == cost(messages) + unused_headers(models(True)["base"])


def study(references: dict[str, Any], out: Path | None = None, **options: Any) -> RunTables:
    checkpoints = {n: open_checkpoint(str(r), Remote.RANGES) for n, r in references.items()}
    try:
        return Study(checkpoints, Options(**options), out).run()
    finally:
        for checkpoint in checkpoints.values():
            checkpoint.close()


def test_stats_of_a_selection(
    hub: Hub, models: Callable[..., dict[str, Path]], tmp_path: Path
) -> None:
    folders = {name: models(True)[name] for name in ("in", "rl")}
    mode = {"selector": parse_selector("language[1]"), "spectrum": SpectrumKind.TOP}
    local = study(folders, **mode)
    names = publish(hub, folders)
    hub.fail("GET /cdn/", times=None, delay=0.02)  # numbers do not come before the bytes
    entries = study(names, **mode)
    pd.testing.assert_frame_equal(local.tensors, entries.tensors)
    pd.testing.assert_frame_equal(local.layers, entries.layers)
    read = int(local.tensors.numel.sum()) * 2 * 2 if "numel" in local.tensors else 0
    headers = sum(unused_headers(folder) for folder in folders.values())
    whole = sum(p.stat().st_size for f in folders.values() for p in f.glob("*.safetensors"))
    assert read <= sent(hub) <= headers + max(read, whole // 3)


def test_stats_that_broke_off_go_on(
    hub: Hub, models: Callable[..., dict[str, Path]], tmp_path: Path
) -> None:
    folders = {name: models(True)[name] for name in ("in", "rl")}
    mode = {"spectrum": SpectrumKind.NONE, "workers": 2}
    local = study(folders, **mode)
    names = publish(hub, folders)
    broken = hub.fail("GET /cdn/models/org/rl/", times=None, after_bytes=25_000, status=403)
    with pytest.raises(CheckpointError, match="status 403"):
        study(names, tmp_path / "out", **mode)
    broken.times = 0
    first = sent(hub)
    whole = sum(p.stat().st_size for f in folders.values() for p in f.glob("*.safetensors"))
    assert 0 < first < whole
    entries = study(names, tmp_path / "out", **mode)
    pd.testing.assert_frame_equal(local.tensors, entries.tensors)
    assert sent(hub) <= whole + 8 * PIECE


CODE = f"""
import sys
from surgery.checkpoint import ranges, remote
ranges.PIECE = remote.PIECE = {PIECE}
remote._FIRST = {FIRST}
from surgery.cli.main import main
main()
"""


def environment(hub: Hub, folder: Path) -> dict[str, str]:
    stored = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    return {
        **stored,
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": TOKEN,
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_ASSETS_CACHE": str(folder / "assets"),
        "HF_HUB_DISABLE_XET": "1",
    }


def started(hub: Hub, folder: Path, *arguments: str, code: str = CODE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment(hub, folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def merging(hub: Hub, folder: Path, out: str = "made") -> subprocess.Popen[str]:
    return started(hub, folder, "merge", "r.yaml", out, "--remote", "ranges", "-q")


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    text = "".join(process.communicate(timeout=PATIENCE))
    return process.returncode, text


@pytest.fixture
def ready(hub: Hub, models: Callable[..., dict[str, Path]], tmp_path: Path) -> int:
    """A recipe over models on the Hub in a folder, and what it should give; bytes to fetch."""
    folders = {name: models(True)[name] for name in ("in", "rl")}
    plan, _ = merge(recipe_text(folders, TRANSPLANT), tmp_path / "wanted")
    (tmp_path / "r.yaml").write_text(recipe_text(publish(hub, folders), TRANSPLANT))
    read = sum(op.nbytes for op in plan.ops)
    return read + sum(unused_headers(folder) for folder in folders.values())


@pytest.mark.parametrize("trouble_kind", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=str)
def test_interrupted_anywhere_it_goes_on(
    trouble_kind: signal.Signals, hub: Hub, ready: int, tmp_path: Path
) -> None:
    draw = random.Random()
    drip = hub.fail("GET /cdn/", times=None, drip=(1024, 0.01))
    points = sorted(draw.sample(range(8_000, ready * 3 // 4), 2))
    for point in points:
        process = merging(hub, tmp_path)
        until(lambda point=point: sent(hub) >= point, process)
        process.send_signal(trouble_kind)
        code, text = finished(process)
        assert code in (-trouble_kind, 128 + trouble_kind), (code, text)
        assert "Traceback" not in text
        assert not (tmp_path / "made").exists()
        settled()
    drip.times = 0
    assert finished(merging(hub, tmp_path)) == (0, "")
    same(tmp_path / "made", tmp_path / "wanted")
    lost = sent(hub) - ready
    # A kill loses what was under way; an end in order keeps what came, but for what was on the
    # wire.
    assert lost <= len(points) * 8 * PIECE, (points, lost)


def test_two_commands_at_once(hub: Hub, ready: int, tmp_path: Path) -> None:
    hub.fail("GET /cdn/", times=None, drip=(1024, 0.002))
    both = [merging(hub, tmp_path, out) for out in ("one", "two")]
    assert [finished(process) for process in both] == [(0, ""), (0, "")]
    for out in ("one", "two"):
        same(tmp_path / out, tmp_path / "wanted")
    assert sent(hub) <= 2 * ready
    hub.forget()
    assert finished(merging(hub, tmp_path, "three")) == (0, "")
    same(tmp_path / "three", tmp_path / "wanted")
    assert sent(hub) == 0


@pytest.mark.parametrize("trouble_kind", ["reset_after", "short", "status"])
def test_trouble_on_the_way_changes_nothing(
    trouble_kind: str, hub: Hub, ready: int, tmp_path: Path
) -> None:
    draw = random.Random()
    for _ in range(5 if trouble_kind == "status" else 20):  # six in a row would be one too many
        value = 503 if trouble_kind == "status" else draw.randrange(PIECE)
        hub.fail("GET /cdn/", skip=draw.randrange(6), **{trouble_kind: value})
    text = (tmp_path / "r.yaml").read_text()
    _, fetched = ranged(text, tmp_path / "made")
    same(tmp_path / "made", tmp_path / "wanted")
    assert fetched == ready
    assert sent(hub) <= ready + 20 * PIECE


def test_a_hub_that_goes_away_is_told_and_leaves_nothing(
    hub: Hub, ready: int, tmp_path: Path
) -> None:
    broken = hub.fail("GET /cdn/", times=None, after_bytes=20_000, status=500)
    text = (tmp_path / "r.yaml").read_text()
    with pytest.raises(CheckpointError, match=r"status 500 6 times in a row .* stay cached"):
        ranged(text, tmp_path / "made")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["assets", "cache", "wanted"]
    assert not [thread for thread in threads() if thread.name.startswith("surgery")]
    broken.times = 0
    ranged(text, tmp_path / "made")
    same(tmp_path / "made", tmp_path / "wanted")
    assert sent(hub) == ready


def test_interrupted_while_it_waits_it_ends_soon(hub: Hub, ready: int, tmp_path: Path) -> None:
    """Ctrl-C does not wait for slow bytes that are no longer needed."""
    slow = hub.fail("GET /cdn/", times=None, skip=12, drip=(100, 0.5))
    process = merging(hub, tmp_path)
    until(lambda: slow.hits >= 2, process)
    process.send_signal(signal.SIGINT)
    try:
        code, text = finished(process)
    finally:
        process.kill()
    assert (code, "Traceback" in text) == (130, False)
    assert slow.sent < slow.hits * PIECE // 2
    assert not (tmp_path / "made").exists()


def test_a_worker_that_fails_does_not_wait_for_the_hub(
    hub: Hub, ready: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread fails while another waits for bytes that are slow to come."""
    slow = hub.fail("GET /cdn/models/org/in", times=None, skip=12, drip=(100, 0.1))
    text = (tmp_path / "r.yaml").read_text()

    before: list[int] = []

    def fail(*_: Any) -> None:
        until(lambda: slow.hits)
        before.append(slow.sent)
        raise CheckpointError("the other one")

    monkeypatch.setattr("surgery.checkpoint.shard.ShardWriter.digest", fail)
    with pytest.raises(CheckpointError, match="the other one"):
        ranged(text, tmp_path / "made")
    assert slow.sent - before[0] < slow.hits * PIECE // 2


def test_local_models_need_no_network(
    hub: Hub,
    models: Callable[..., dict[str, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    text = recipe_text(models(), TRANSPLANT)
    merge(text, tmp_path / "wanted")
    assert ranged(text, tmp_path / "made", Remote.RANGES) == ({}, 0)
    same(tmp_path / "made", tmp_path / "wanted")
    assert hub.requests == []


MEASURE = """
import json, sys
from pathlib import Path
from surgery.checkpoint.source import Remote
from surgery.execute.run import execute
from surgery.plan import make_plan
from surgery.plan.memory import projected_memory
from surgery.recipe import opened, parse_recipe
import surgery.cli.main
recipe = parse_recipe(Path(sys.argv[1]).read_text())
with opened(recipe, Remote.RANGES) as models:
    plan = make_plan(recipe, models)
    execute(plan, models, Path(sys.argv[2]), workers=2)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak = int(status["VmHWM"].split()[0]) * 1024
print(json.dumps([peak, projected_memory(plan, 2), "torch" in sys.modules]))
"""


def test_memory_stays_within_the_projection(hub: Hub, tmp_path: Path) -> None:
    wide = {"num_hidden_layers": 2, "hidden_size": 512, "intermediate_size": 8000}
    folders = {
        name: save_tiny("qwen2", tmp_path / "models" / name, seed=seed, **wide)
        for seed, name in enumerate(("in", "rl"))
    }
    size = (folders["in"] / "model.safetensors").stat().st_size
    assert size > 40e6
    names = publish(hub, folders)
    for steps in ("  - transplant: language[1]\n    from: rl",
                  "  - interpolate: language[1]\n    from: rl\n    t: 0.3"):  # fmt: skip
        (tmp_path / "r.yaml").write_text(recipe_text(names, steps))
        out = tmp_path / f"out{len(steps)}"
        shutil.rmtree(tmp_path / "assets", ignore_errors=True)
        process = started(hub, tmp_path, "r.yaml", str(out), code=MEASURE)
        code, text = finished(process)
        assert code == 0, text
        peak, projected, torch = json.loads(text)
        print(f"peak {peak:,} projected {projected:,} torch {torch}")
        assert torch == ("interpolate" in steps)
        assert peak <= projected
