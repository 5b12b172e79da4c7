"""Sets of byte ranges, and a file that stores them: laws, torn lines, concurrent processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.checkpoint import spans
from surgery.checkpoint.spans import PartialFile, Spans
from surgery.errors import ExecutionError
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
SIZE = 60
PAIR = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE))


def bytes_of(pairs: object) -> set[int]:
    return {byte for start, end in pairs for byte in range(start, end)}  # type: ignore[attr-defined]


@given(st.lists(PAIR, max_size=20), PAIR)
def test_spans_are_a_set_of_bytes(added: list[tuple[int, int]], query: tuple[int, int]) -> None:
    spans = Spans()
    for start, end in added:
        spans.add(start, end)
    expected = bytes_of(added)
    stored = list(spans)
    assert bytes_of(stored) == expected
    assert spans.total == len(expected)
    assert all(start < end for start, end in stored)
    assert all(remaining[1] < right[0] for remaining, right in pairwise(stored))
    missing = list(spans.missing(*query))
    assert bytes_of(missing) == bytes_of([query]) - expected
    assert all(remaining[1] < right[0] for remaining, right in pairwise(missing))


@given(st.lists(PAIR, max_size=12))
def test_what_was_missing_and_is_added_is_not_missing(added: list[tuple[int, int]]) -> None:
    spans = Spans()
    for start, end in added:
        for gap in list(spans.missing(start, end)):
            spans.add(*gap)
        assert list(spans.missing(start, end)) == []


def valid_bytes(part: PartialFile) -> set[int]:
    return set(range(part.size)) - bytes_of(part.missing(0, part.size))


def put(part: PartialFile, start: int, data: bytes) -> None:
    part.write(start, data)
    part.keep(start, start + len(data))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "model.safetensors"


def test_what_was_kept_is_there_again(path: Path) -> None:
    part = PartialFile(path, 100, "abc")
    put(part, 10, b"ten")
    put(part, 97, b"end")
    part.write(50, b"never told")
    part.keep(20, 20)
    part.close()
    part.close()
    again = PartialFile(path, 100, "abc")
    assert valid_bytes(again) == {10, 11, 12, 97, 98, 99}
    assert path.stat().st_size == 100
    assert path.read_bytes()[10:13] + path.read_bytes()[97:] == b"tenend"
    again.close()


@given(cut=st.integers(0, 40), more=st.lists(PAIR, max_size=3))
def test_a_torn_list_never_says_too_much(
    cut: int, more: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("torn") / "m"
    lines = [(7, 20), (30, 44)]
    part = PartialFile(path, SIZE, "c")
    for start, end in lines:
        put(part, start, b"x" * (end - start))
    part.close()
    names = path.with_name("m.spans")
    names.write_bytes(names.read_bytes()[: max(5, len(names.read_bytes()) - cut)])
    other = PartialFile(path, SIZE, "c")  # another process goes on behind the torn line
    for start, end in more:
        if start < end:
            put(other, start, b"x" * (end - start))
    other.close()
    last = PartialFile(path, SIZE, "c")
    assert valid_bytes(last) <= bytes_of([*lines, *more])
    data = path.read_bytes()
    assert all(data[byte] == ord("x") for byte in valid_bytes(last))
    last.close()


@pytest.mark.parametrize(
    "line",
    [b"1 2 3", b"-5 9", b"a b", b"", b"5", b" ", b"\x00\x00 \x00", b"\xff\xfe 9", b"9 5", b"1e1 12",
     "٣ ٩".encode(), b"0x1 9", b"+1 9"],
    ids=repr,
)  # fmt: skip
def test_garbage_in_the_list_is_passed_over(path: Path, line: bytes) -> None:
    part = PartialFile(path, 100, "abc")
    put(part, 10, b"ten")
    part.close()
    with path.with_name(path.name + ".spans").open("ab") as file:
        file.write(line + b"\n20 22\n")
    again = PartialFile(path, 100, "abc")
    assert valid_bytes(again) == {10, 11, 12, 20, 21}
    again.close()


def test_the_list_cannot_reach_beyond_the_file(path: Path) -> None:
    PartialFile(path, 100, "abc").close()
    with path.with_name(path.name + ".spans").open("ab") as file:
        file.write(b"95 " + b"9" * 30 + b"\n300 400\n")
    again = PartialFile(path, 100, "abc")
    assert valid_bytes(again) == set(range(95, 100))
    again.close()


@pytest.mark.parametrize("harm", ["content", "size", "no file", "shorter", "longer", "no list"])
def test_what_does_not_belong_together_is_begun_anew(path: Path, harm: str) -> None:
    part = PartialFile(path, 100, "abc")
    put(part, 0, b"old bytes")
    part.close()
    size, content = 100, "abc"
    if harm == "content":
        content = "abd"
    elif harm == "size":
        size = 101
    elif harm == "no file":
        path.unlink()
    elif harm == "no list":
        path.with_name(path.name + ".spans").unlink()
    else:
        os.truncate(path, 99 if harm == "shorter" else 101)
    again = PartialFile(path, size, content)
    assert valid_bytes(again) == set()
    assert path.read_bytes() == bytes(size)
    put(again, 3, b"new")
    again.close()
    last = PartialFile(path, size, content)
    assert valid_bytes(last) == {3, 4, 5}
    last.close()


def test_two_at_once_on_one_path(path: Path) -> None:
    partial_file, two = PartialFile(path, 100, "abc"), PartialFile(path, 100, "abc")
    put(partial_file, 0, b"one")
    put(two, 50, b"two")
    put(two, 0, b"one")
    assert valid_bytes(partial_file) == {0, 1, 2}  # each knows its own, and fetches again at worst
    partial_file.close()
    two.close()
    both = PartialFile(path, 100, "abc")
    assert valid_bytes(both) == {0, 1, 2, 50, 51, 52}
    both.close()


def test_who_was_thrown_away_cannot_speak_for_the_new_file(path: Path) -> None:
    old = PartialFile(path, 100, "abc")
    new = PartialFile(path, 100, "abd")
    put(old, 0, b"old")
    put(new, 50, b"new")
    old.close()
    new.close()
    again = PartialFile(path, 100, "abd")
    assert valid_bytes(again) == {50, 51, 52}
    assert path.read_bytes()[:3] == bytes(3)
    again.close()


FILL = """
import random, sys
from pathlib import Path
from surgery.checkpoint.spans import PartialFile
draw = random.Random(sys.argv[2])
for _ in range(20):
    part = PartialFile(Path(sys.argv[1]), 4096, "abc")
    for _ in range(5):
        start = draw.randrange(4000)
        end = start + draw.randrange(96)
        part.write(start, bytes(at % 251 for at in range(start, end)))
        part.keep(start, end)
        print(start, end)
    part.close()
"""


def test_processes_fill_one_file(path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", FILL, str(path), str(seed)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for seed in range(3)
    ]  # fmt: skip
    text = "".join(process.communicate(timeout=PATIENCE)[0] for process in running)
    assert [process.returncode for process in running] == [0, 0, 0]
    both = PartialFile(path, 4096, "abc")
    assert valid_bytes(both) == bytes_of(
        [tuple(map(int, line.split())) for line in text.splitlines()]
    )
    data = path.read_bytes()
    assert all(data[position] == position % 251 for position in valid_bytes(both))
    both.close()


def test_a_full_disk_is_told_and_nothing_counts(path: Path) -> None:
    part = PartialFile(path, 100, "abc")
    os.close(part._descriptor)
    part._descriptor = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(ExecutionError, match=r"model.safetensors: cannot be written: the disk is"):
        part.write(0, b"more")
    assert valid_bytes(part) == set()
    part.close()


def test_a_disk_that_fails_when_it_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    part = PartialFile(path, 100, "abc")
    part.write(0, b"more")
    monkeypatch.setattr(spans.os, "fdatasync", fail)
    with pytest.raises(ExecutionError, match="the disk is full"):
        part.keep(0, 4)
    assert valid_bytes(part) == set()
    part.close()
    again = PartialFile(path, 100, "abc")
    assert valid_bytes(again) == set()
    again.close()


def test_a_limit_on_file_sizes_leaks_no_descriptor(path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(ExecutionError, match="ulimit -f"):
            PartialFile(path, 1 << 30, "abc")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExecutionError, match="a file of that name is in the way"):
        PartialFile(tmp_path / "file" / "m", 100, "abc")
    (tmp_path / "m").mkdir()
    with pytest.raises(ExecutionError, match="cannot be written"):
        PartialFile(tmp_path / "m", 100, "abc")
    with pytest.raises(ExecutionError, match="cannot be written"):
        PartialFile(Path("/proc/nowhere/m"), 100, "abc")
    assert not (tmp_path / "m" / "m").exists()
