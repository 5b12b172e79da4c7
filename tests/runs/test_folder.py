"""A run folder belongs to one kind of run; nothing else in the world is touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import product
from typing import TYPE_CHECKING

import pytest

from surgery.errors import ExecutionError
from surgery.runs import LOCK, RunKind, check_folder, claimed, kinds_of

if TYPE_CHECKING:
    from pathlib import Path

EARLIER = {
    RunKind.EVALUATION: {"responses.jsonl": "{}", "run.json": '{"variants": [], "suites": []}'},
    RunKind.ABLATION: {"responses.jsonl": "", "probe.json": '{"probe": "ablation"}'},
    RunKind.SWAP: {"probe.json": '{"probe": "vision-swap"}'},
    RunKind.ATTENTION: {"probe.json": '{"probe": "attention"}'},
    RunKind.STATISTICS: {".parts/a/b.npz": "", "summary.json": "{}"},
    RunKind.TRAINING: {"run.json": '{"kind": "sft"}', "log.csv": ""},
    RunKind.PROFILE: {"profile.json": '{"layers": 1, "regions": 2, "runs": 3}', "profile.csv": ""},
    RunKind.DEMO: {"scores/.lock": "", "stats/.parts/a": "", "in-rl-in/config.json": ""},
}
"""Files of finished runs of versions whose lock is empty."""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return times and bytes of everything below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            b"" if path.is_dir() else path.read_bytes(),
        )
        for path in [folder, *sorted(folder.rglob("*"))]
    }


@pytest.mark.parametrize(("existing_kind", "kind"), list(product(RunKind, RunKind)))
@pytest.mark.parametrize("earlier", [True, False])
def test_a_folder_belongs_to_one_kind(
    tmp_path: Path, existing_kind: RunKind, kind: RunKind, earlier: bool
) -> None:
    folder = tmp_path / "run"
    if earlier:
        write(folder, EARLIER[existing_kind])
    else:
        with claimed(folder, existing_kind):
            (folder / "responses.jsonl").touch()
    before = state(folder)
    if existing_kind is kind:
        with claimed(folder, kind):
            assert kinds_of(folder) == {kind}
        assert (folder / LOCK).read_text() == f"{kind.label}\n"
        return
    with pytest.raises(ExecutionError, match=f"holds the results of '{existing_kind.command}'"):
        check_folder(folder, kind)
    with pytest.raises(ExecutionError, match=kind.command), claimed(folder, kind):
        pass
    assert state(folder) == before


@pytest.mark.parametrize(
    ("name", "text", "kinds"),
    [
        ("responses.jsonl", "", {"evaluation", "ablation", "vision-swap", "attention"}),
        ("likelihoods.jsonl", "", {"ablation"}),
        ("run.json", '{"vari', {"evaluation"}),
        ("run.json", "[" * 100_000, {"evaluation"}),
        ("probe.json", '{"probe": 3}', {"ablation", "vision-swap", "attention"}),
        ("descriptions.jsonl", "", set()),
        ("notes.txt", "mine", set()),
    ],
)
def test_what_an_interrupted_run_of_an_earlier_version_may_be(
    tmp_path: Path, name: str, text: str, kinds: set[str]
) -> None:
    write(tmp_path, {name: text})
    assert kinds_of(tmp_path) == set()
    write(tmp_path, {LOCK: ""})
    assert {kind.label for kind in kinds_of(tmp_path)} == kinds


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("responses.jsonl", {"evaluation", "ablation", "vision-swap", "attention"}),
        ("likelihoods.jsonl", {"ablation"}),
    ],
)
def test_what_a_run_kept_is_recognised_without_its_lock(
    tmp_path: Path, name: str, kinds: set[str]
) -> None:
    write(tmp_path, {name: '{"key": "a", "text": "b"}\n{"ke'})
    assert {kind.label for kind in kinds_of(tmp_path)} == kinds


FOREIGN = {
    "a model": {"config.json": "{}", "model.safetensors": ""},
    "a merge": {"config.json": "{}", "surgery.json": "{}"},
    "a checkout": {".git/HEAD": "ref: refs/heads/main", "pyproject.toml": ""},
    "another's lock": {LOCK: "1234\n"},
    "files of the same names": {"records.jsonl": "", "layers.csv": "", "model/config.json": ""},
    "inputs of the same names": {"descriptions.jsonl": "", "responses.jsonl": "", "scores.csv": ""},
    "a user's own training": {"checkpoints/a.pt": "", "run.json": "{}", "log.csv": ""},
    "a user's own profile": {"profile.json": "{}", "profile.csv": "", "run.json": '{"kind": 1}'},
    "a file like a draft": {".notes.tmp": ""},
}


@pytest.mark.parametrize("kind", RunKind)
@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_what_no_run_wrote_is_left_alone(
    tmp_path: Path, kind: RunKind, files: dict[str, str]
) -> None:
    before = state(write(tmp_path / "theirs", files))
    with pytest.raises(ExecutionError, match="is not empty"), claimed(tmp_path / "theirs", kind):
        pass
    assert state(tmp_path / "theirs") == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    write(tmp_path, {"file": "mine"})
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ExecutionError), claimed(place, RunKind.STATISTICS):
            pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, {"precious": "", "run/responses.jsonl": ""})
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(ExecutionError), claimed(tmp_path / "run", RunKind.EVALUATION):
        pass
    assert (tmp_path / "precious").read_text() == ""


@pytest.mark.parametrize("kind", RunKind)
def test_leftovers_of_a_killed_run_claim_nothing(tmp_path: Path, kind: RunKind) -> None:
    write(tmp_path, {".run.json.0a1b2c3d.tmp": '{"ki', LOCK: ""})
    with claimed(tmp_path, kind):
        pass
    assert {entry.name for entry in tmp_path.iterdir()} == {LOCK, "run.json"}


def test_a_run_that_fails_before_it_writes_was_never_there(tmp_path: Path) -> None:
    (tmp_path / "made before").mkdir()
    for place in ("new/below/run", "made before"):
        with pytest.raises(KeyboardInterrupt), claimed(tmp_path / place, RunKind.SWAP):
            raise KeyboardInterrupt
    assert list(state(tmp_path)) == [".", "made before"]
    with pytest.raises(ValueError, match="late"), claimed(tmp_path / "run", RunKind.SWAP):
        write(tmp_path, {"run/responses.jsonl": "an answer"})
        raise ValueError("late")
    assert kinds_of(tmp_path / "run") == {RunKind.SWAP}


HOLD = """
import sys, time
from pathlib import Path
from surgery.runs import RunKind, claimed
with claimed(Path(sys.argv[1]), RunKind.ABLATION):
    print("held", flush=True)
    sys.stdin.read()
"""


def refused_in(folder: Path) -> None:
    refused = pytest.raises(ExecutionError, match="another run is writing")
    with refused, claimed(folder, RunKind.ABLATION):
        pass


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with claimed(tmp_path, RunKind.ABLATION):
        before = state(tmp_path)
        refused_in(tmp_path)
        assert state(tmp_path) == before
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    refused_in(tmp_path)
    other.kill()
    other.communicate()
    with claimed(tmp_path, RunKind.ABLATION):
        pass


def test_a_run_is_beside_a_model_and_never_in_it(tmp_path: Path) -> None:
    model = write(tmp_path / "m", {"config.json": "{}", "surgery.json": "{}"})
    before = state(model)
    beside = re.escape(f"--out {model}-statistics.")
    for folder in (model, model / "a", model / "a" / "b"):
        with pytest.raises(ExecutionError, match=beside), claimed(folder, RunKind.STATISTICS):
            pass
    assert state(model) == before
