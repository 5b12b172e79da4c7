"""Replacing a model: the old one or the new one is there at any moment, and whole."""

from __future__ import annotations

import os
import shutil
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pytest

from surgery.checkpoint import sibling, write
from surgery.checkpoint.local import LocalCheckpoint
from surgery.errors import ExecutionError
from tests.checkpoint.test_write import BYTES, fill, traces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEW = bytes(24)
POLLS = 20_000


def content(folder: Path) -> bytes:
    with LocalCheckpoint(folder) as checkpoint:
        buffer = bytearray(checkpoint.info.tensors["a"].nbytes)
        checkpoint.read_into("a", 0, memoryview(buffer))
    return bytes(buffer)


def no_exchange(*_: object) -> bool:
    return False


def poll(folder: str, done: Any, polls: Any, missing: Any) -> None:
    """Look for the model until the event, and count."""
    path = os.path.join(folder, "config.json")  # noqa: PTH118 - as fast as can be
    while not done.is_set():
        polls.value += 1
        missing.value += not os.path.exists(path)  # noqa: PTH110


def test_a_reader_that_looks_all_the_time_never_misses_it(tmp_path: Path) -> None:
    fill(tmp_path / "m")
    process = get_context("fork")
    done, polls, missing = process.Event(), process.Value("q"), process.Value("q")
    reader = process.Process(target=poll, args=(str(tmp_path / "m"), done, polls, missing))
    reader.start()
    try:
        replaced = 0
        while polls.value < POLLS or replaced < 20:
            assert reader.is_alive()
            fill(tmp_path / "m", overwrite=True, first=(NEW, BYTES["a"])[replaced % 2])
            replaced += 1
    finally:
        done.set()
        reader.join()
    assert missing.value == 0
    assert traces(tmp_path) == ["m"]


def before(patch: pytest.MonkeyPatch, module: Any, name: str, call: int = 0) -> None:
    """Die at the beginning of a call, as of a kill."""
    real, calls = getattr(module, name), []

    def die(*args: Any, **kwargs: Any) -> Any:
        if len(calls) == call:
            os._exit(9)
        calls.append(1)
        return real(*args, **kwargs)

    patch.setattr(module, name, die)


def after(patch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Die at the end of a call."""
    real = getattr(module, name)

    def die(*args: Any, **kwargs: Any) -> None:
        real(*args, **kwargs)
        os._exit(9)

    patch.setattr(module, name, die)


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "before the exchange": lambda patch: before(patch, sibling, "exchange"),
    "after the exchange": lambda patch: after(patch, sibling, "exchange"),
    "before the old one goes": lambda patch: before(patch, sibling, "remove"),
    "while the old one goes": lambda patch: before(patch, os, "unlink", 1),
    "when the old one is gone": lambda patch: after(patch, sibling, "remove"),
}


def killed(tmp_path: Path, step: Callable[[pytest.MonkeyPatch], None]) -> None:
    """Replace the model in a process of its own, which dies at that step."""
    pid = os.fork()
    if pid == 0:
        patch = pytest.MonkeyPatch()
        try:
            step(patch)
            fill(tmp_path / "m", overwrite=True, first=NEW)
        finally:
            os._exit(1)  # it lived
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize("step", STEPS)
def test_death_at_any_step_leaves_one_whole(tmp_path: Path, step: str) -> None:
    fill(tmp_path / "m")
    killed(tmp_path, STEPS[step])
    assert content(tmp_path / "m") == (BYTES["a"] if step == "before the exchange" else NEW)
    fill(tmp_path / "m", overwrite=True, first=bytes(range(1, 25)))
    assert content(tmp_path / "m") == bytes(range(1, 25))
    assert traces(tmp_path) == ["m"]


class TestWithoutExchange:
    @pytest.fixture(autouse=True)
    def _without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sibling, "exchange", no_exchange)

    def test_it_is_told(self, tmp_path: Path) -> None:
        fill(tmp_path / "m")
        with pytest.warns(UserWarning, match="for a moment there was no model"):
            fill(tmp_path / "m", overwrite=True, first=NEW)
        assert content(tmp_path / "m") == NEW
        assert traces(tmp_path) == ["m"]

    @pytest.mark.filterwarnings("ignore:.*exchange two names")
    def test_death_between_the_steps_is_put_right_by_the_next_merge(self, tmp_path: Path) -> None:
        fill(tmp_path / "m")
        killed(tmp_path, lambda patch: before(patch, write.FolderWriter, "_rename"))
        assert not (tmp_path / "m").exists()
        with pytest.raises(ExecutionError, match="say --overwrite"):
            fill(tmp_path / "m")
        assert content(tmp_path / "m") == BYTES["a"]
        fill(tmp_path / "m", overwrite=True, first=NEW)
        assert content(tmp_path / "m") == NEW
        assert traces(tmp_path) == ["m"]


@pytest.mark.parametrize("code", sorted(sibling._NO_EXCHANGE))
def test_systems_without_exchange_say_so(tmp_path, monkeypatch, code):
    class Refusing:
        def __init__(self, *_: object, **__: object) -> None: ...

        def renameat2(self, *_: object) -> int:
            return -1

    monkeypatch.setattr(sibling.ctypes, "CDLL", Refusing)
    monkeypatch.setattr(sibling.ctypes, "get_errno", lambda: code)
    assert not sibling.exchange(tmp_path / "a", tmp_path / "b")


def test_other_faults_of_an_exchange_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError):
        sibling.exchange(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "one").write_text("")
    if not sibling.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system has no exchange")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["one"]
    assert not list((tmp_path / "a").iterdir())


def test_what_somebody_put_there_meanwhile_stays(tmp_path: Path) -> None:
    fill(tmp_path / "m")
    with (
        pytest.raises(ExecutionError, match=r"no surgery\.json, so it was not written by"),
        write.FolderWriter(tmp_path / "m", overwrite=True) as writer,
    ):
        writer.file("config.json", b"{}")
        shutil.rmtree(tmp_path / "m")
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "thesis.tex").write_text("mine")
    assert (tmp_path / "m" / "thesis.tex").read_text() == "mine"
    assert traces(tmp_path) == ["m"]
