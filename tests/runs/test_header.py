"""A header says what a folder holds, and whether the run has ended."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from surgery.errors import ExecutionError
from surgery.runs import HEADER, RunKind, RunTables, claimed, read_run, write_run

if TYPE_CHECKING:
    from pathlib import Path

TABLE = pd.DataFrame({"layer": [0, 1], "name": ["1", "NA"], "value": [0.5, 1e-300]})


def profile(**summary: Any) -> RunTables:
    tables = {"layers": TABLE, "correlations": TABLE.iloc[:0]}
    return RunTables(RunKind.PROFILE, {"runs": ["a\ud800"], **summary}, tables)


def header(folder: Path) -> dict[str, Any]:
    return json.loads((folder / HEADER).read_text("utf-8"))


def test_a_run_is_running_until_it_ends(tmp_path: Path) -> None:
    with claimed(tmp_path, RunKind.PROFILE):
        assert header(tmp_path)["status"] == "running"
        started = header(tmp_path)["started"]
        with pytest.raises(ExecutionError, match="has not ended"):
            read_run(tmp_path)
        files = write_run(profile(), tmp_path)
    assert {path.name for path in files} == {"profile.csv", "correlations.csv", HEADER}
    result = header(tmp_path)
    assert list(result)[:5] == ["kind", "format", "status", "started", "ended"]
    assert (result["kind"], result["format"], result["status"]) == ("profile", 1, "ended")
    assert result["started"] == started <= result["ended"]
    read = read_run(tmp_path)
    pd.testing.assert_frame_equal(read.layers, TABLE, check_dtype=False)
    assert list(read.correlations.columns) == list(TABLE.columns)


def test_a_run_that_fails_half_way_has_not_ended(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claimed(tmp_path / "run", RunKind.PROFILE):
        (tmp_path / "run" / "profile.csv").write_text("layer\n0\n")
        raise KeyboardInterrupt
    with pytest.raises(ExecutionError, match="has not ended"):
        read_run(tmp_path / "run")


def test_results_stay_readable_while_a_run_is_repeated(tmp_path: Path) -> None:
    """An evaluation that is asked for more models keeps its old tables until it ends again."""
    with claimed(tmp_path, RunKind.PROFILE):
        write_run(profile(turn=1), tmp_path)
    first = header(tmp_path)
    with pytest.raises(KeyboardInterrupt), claimed(tmp_path, RunKind.PROFILE):
        assert read_run(tmp_path).summary["turn"] == 1
        raise KeyboardInterrupt
    assert header(tmp_path) == first
    with claimed(tmp_path, RunKind.PROFILE):
        write_run(profile(turn=2), tmp_path)
    assert header(tmp_path)["turn"] == 2
    assert header(tmp_path)["started"] == first["started"]


def test_what_a_kind_says_of_itself_never_replaces_the_headers_own_keys(tmp_path: Path) -> None:
    write_run(profile(kind="evaluation", format=7, status="running"), tmp_path)
    assert read_run(tmp_path).kind is RunKind.PROFILE


def test_a_folder_that_cannot_be_locked_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with (
        pytest.raises(ExecutionError, match="No locks available"),
        claimed(tmp_path / "run", RunKind.PROFILE),
    ):
        pass


def test_a_failed_write_leaves_the_run_unfinished(tmp_path: Path) -> None:
    with claimed(tmp_path, RunKind.PROFILE), pytest.raises(TypeError):
        write_run(profile(odd=object()), tmp_path)
    assert header(tmp_path)["status"] == "running"
    with pytest.raises(ExecutionError, match="has not ended"):
        read_run(tmp_path)
