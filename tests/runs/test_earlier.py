"""Folders that version 0.1.0 wrote: read, resumed without a question, and rewritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import surgery
from eval import evaluate, run_probe
from surgery.errors import ExecutionError
from surgery.runs import RunKind, claimed, read_run
from surgery.train.folder import RunFolder

EARLIER = Path(__file__).parent / "earlier" / "0.1.0"
KINDS = {
    "evaluation": (RunKind.EVALUATION, {"scores": 378, "pairs": 18, "recovery": 0, "power": 9}),
    "ablation": (RunKind.ABLATION, {"layers": 40}),
    "likelihood": (RunKind.ABLATION, {"layers": 40}),
    "vision-swap": (RunKind.SWAP, {"layers": 80}),
    "attention": (RunKind.ATTENTION, {"layers": 119, "heads": 59}),
    "statistics": (RunKind.STATISTICS, {"layers": 61, "tensors": 39, "regions": 45}),
    "profile": (RunKind.PROFILE, {"layers": 9, "correlations": 36}),
    "training": (RunKind.TRAINING, {"log": 2}),
}
"""Kind, and rows of each table."""


def copied(name: str, tmp_path: Path) -> Path:
    folder = tmp_path / name
    shutil.copytree(EARLIER / name, folder)
    (folder / "lock").rename(folder / ".lock")
    if name == "training":
        (folder / "model").mkdir()  # too large to be kept here
    return folder


def header(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_read(name: str, tmp_path: Path) -> None:
    kind, rows = KINDS[name]
    run = surgery.load_run(copied(name, tmp_path))
    assert run.kind is kind
    assert {table: len(frame) for table, frame in run.tables.items()} == rows
    assert not run.df.isna().all(axis=None)
    assert repr(run).startswith(f"RunResult: {kind.label}")
    if kind is not RunKind.TRAINING:
        assert run.plot() is not None


def test_a_training_without_its_model_has_not_ended(tmp_path: Path) -> None:
    folder = copied("training", tmp_path)
    (folder / "model").rmdir()
    with pytest.raises(ExecutionError, match=r"has not ended\. Run 'surgery train' again"):
        read_run(folder)


def test_an_evaluation_resumes(tmp_path: Path) -> None:
    folder = copied("evaluation", tmp_path)
    before = {name: (folder / name).read_bytes() for name in ("responses.jsonl", "records.jsonl")}
    reports: list[tuple[str, int, int]] = []
    scores = evaluate(
        ["specimen:in", "specimen:rl", "specimen/in-rl-in"], "specimen", samples=3, against="in",
        out=folder, progress=lambda *report: reports.append(report),
    )  # fmt: skip
    assert len(reports) == 3 and all(count == total for _, count, total in reports)
    for name, data in before.items():
        assert (folder / name).read_bytes() == data
    assert (header(folder)["kind"], header(folder)["status"]) == ("evaluation", "ended")
    added = scores.scores["measure"].str.startswith("unanswered[")  # unknown to 0.1.0
    assert len(scores.scores[~added]) == KINDS["evaluation"][1]["scores"]
    assert len(surgery.load_run(folder).scores) == len(scores.scores)


@pytest.mark.parametrize(
    ("name", "probe", "model", "options"),
    [
        ("ablation", "ablation", "specimen:in", {"suite": "specimen"}),
        ("likelihood", "ablation", "specimen:in", {"suite": "specimen", "score_by": "logprob"}),
        ("vision-swap", "vision-swap", "specimen:rl", {"pairs": "specimen"}),
    ],
)
def test_a_probe_resumes(
    name: str, probe: str, model: str, options: dict[str, Any], tmp_path: Path
) -> None:
    folder = copied(name, tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}
    reports: list[tuple[str, int, int]] = []
    run_probe(
        probe, model, samples=1, layers="0,4", out=folder,
        progress=lambda *report: reports.append(report), **options,
    )  # fmt: skip
    assert reports and all(count == total for _, count, total in reports)
    for file, data in before.items():
        assert (folder / file).read_bytes() == data, file
    assert not (folder / "probe.json").exists()
    assert (header(folder)["format"], header(folder)["status"]) == (1, "ended")


def test_a_training_resumes_where_nothing_changed(tmp_path: Path) -> None:
    folder = copied("training", tmp_path)
    (folder / "model").rmdir()
    (folder / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    record = header(folder)
    other = record | {"config": record["config"] | {"lr": 1.0}}
    with (
        pytest.raises(ExecutionError, match=r"another run: config\.lr was 0\.0001 and is 1\.0"),
        RunFolder(folder).claimed(other),
    ):
        pass
    with RunFolder(folder).claimed(record):
        RunFolder(folder).end(record)
    assert (header(folder)["kind"], header(folder)["method"]) == ("training", "sft")
    with RunFolder(folder).claimed(record):
        assert header(folder)["status"] == "ended"


def test_statistics_are_measured_into_the_same_folder(tmp_path: Path) -> None:
    folder = copied("statistics", tmp_path)
    surgery.weight_stats(
        {"base": "specimen:base", "in": "specimen:in"}, spectrum="none", out=folder
    )
    assert not (folder / "summary.json").exists()
    assert header(folder)["kind"] == "statistics"
    assert len(surgery.load_run(folder).tensors) == 164


@pytest.mark.parametrize(
    ("name", "version"),
    [
        *((name, 2) for name in KINDS),
        *(("training", version) for version in (0, -1, "1", True, None, 1.0, [1])),
    ],
)
def test_other_formats_are_refused(name: str, version: object, tmp_path: Path) -> None:
    folder = copied(name, tmp_path)
    (path,) = [path for path in folder.iterdir() if path.suffix == ".json"]
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": version}))
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    refused = r"this version reads format 1\. Read the run with"
    with pytest.raises(ExecutionError, match=refused):
        surgery.load_run(folder)
    with pytest.raises(ExecutionError, match=refused), claimed(folder, KINDS[name][0]):
        pass
    assert before == {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_nothing_is_saved_over_responses(tmp_path: Path) -> None:
    """`cp -r run/* copy` leaves the lock behind; the copy still holds a run."""
    folder = copied("evaluation", tmp_path)
    (folder / ".lock").unlink()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(ExecutionError, match="with its inputs"):
        surgery.load_run(folder).save(folder)
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}


def test_another_kind_is_refused(tmp_path: Path) -> None:
    folder = copied("evaluation", tmp_path)
    with pytest.raises(ExecutionError, match="holds the results of 'surgery eval or sweep'"):
        run_probe("ablation", "specimen:in", suite="specimen", samples=1, out=folder)
    with pytest.raises(ExecutionError, match="not of 'surgery stats'"):
        read_run(folder, RunKind.STATISTICS)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("spectra.npz", b"PK\x03\x04 no archive"),
        ("spectra.npz", b""),
        ("layers.csv", b"component,layer\nlanguage,first\n"),
        ("layers.csv", b""),
        ("layers.csv", b"\xff\xfe\x00"),
    ],
)
def test_damaged_files_cost_one_sentence(file: str, damage: bytes, tmp_path: Path) -> None:
    folder = copied("statistics", tmp_path)
    (folder / file).write_bytes(damage)
    with pytest.raises(ExecutionError, match="cannot be read") as caught:
        surgery.load_run(folder)
    assert "\n" not in str(caught.value)
