"""Drafts: what a dead process left goes, what a living one makes stays."""

from __future__ import annotations

import errno
import fcntl
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from surgery.checkpoint.draft import Draft, clear_drafts
from tests.checkpoint.test_write import fill, start, stop, traces
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def leave(target: Path, token: str = "0123abcd") -> list[str]:
    """Leave what a killed process does."""
    stem = target.with_name(f".{target.name}.tmp-{token}")
    stem.mkdir()
    (stem / "model.safetensors").write_bytes(b"half")
    stem.with_name(f"{stem.name}.lock").touch()
    return traces(target.parent)


def test_a_process_that_stands_still_keeps_its_draft(tmp_path: Path) -> None:
    process = start(tmp_path / "m")
    until(lambda: list(tmp_path.glob(".m.tmp-*/tokenizer.json")), process)
    process.send_signal(signal.SIGSTOP)
    output = traces(tmp_path)
    fill(tmp_path / "m")
    assert traces(tmp_path) == sorted([*output, "m"])
    process.send_signal(signal.SIGCONT)
    assert stop(process, signal.SIGTERM) == -signal.SIGTERM
    assert traces(tmp_path) == ["m"]


def test_a_killed_process_leaves_what_the_next_one_clears(tmp_path: Path) -> None:
    process = start(tmp_path / "m")
    until(lambda: list(tmp_path.glob(".m.tmp-*/tokenizer.json")), process)
    stop(process, signal.SIGKILL)
    assert len(traces(tmp_path)) == 2
    other = leave(tmp_path / "other")
    fill(tmp_path / "m")
    assert traces(tmp_path) == sorted([*(n for n in other if "other" in n), "m"])


def test_makers_and_clearers_at_once(tmp_path: Path) -> None:
    def make(_: int) -> None:
        draft = Draft(tmp_path / "m")
        draft.make()
        (draft.folder / "a").touch()
        clear_drafts(tmp_path / "m")
        assert (draft.folder / "a").exists()
        draft.end()
        draft.end()
        assert not draft.folder.exists()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(400)))
    assert traces(tmp_path) == []


def test_nothing_is_cleared_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    remaining = leave(tmp_path / "m")
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", fail)
        fill(tmp_path / "m")
        assert traces(tmp_path) == sorted([*remaining, "m"])
    clear_drafts(tmp_path / "m")
    assert traces(tmp_path) == ["m"]


def test_a_lock_that_is_held_or_is_none_is_let_be(tmp_path: Path) -> None:
    remaining = leave(tmp_path / "m")
    (tmp_path / ".m.tmp-99999999.lock").symlink_to(tmp_path / "elsewhere")
    with (tmp_path / ".m.tmp-0123abcd.lock").open() as cached:
        fcntl.flock(cached, fcntl.LOCK_EX)
        fill(tmp_path / "m")
    assert traces(tmp_path) == sorted([*remaining, ".m.tmp-99999999.lock", "m"])
