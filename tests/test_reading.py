"""Reading of foreign files: accepted contents, and messages about the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from surgery.reading import (
    MAX_DEPTH,
    expand_home,
    is_file,
    is_folder,
    parse_json,
    read_bytes,
    read_text,
    resolve,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf\xc3\xa9")
    assert read_bytes(tmp_path / "x") == b"\xef\xbb\xbf\xc3\xa9"
    assert read_text(tmp_path / "x") == "é"
    (tmp_path / "link").symlink_to("x")
    assert read_text(tmp_path / "link") == "é"
    assert read_text(Path("/proc/self/comm"))  # its size is said to be 0


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "it is a folder, not a regular file"),
        (os.mkfifo, "it is a pipe, not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a regular file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: None, "No such file or directory"),
        (lambda path: path.write_bytes(b"x" * 1001), "it is larger than 0 MB"),
    ],
)
def test_all_else_is_an_error_with_a_reason(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError) as messages:
        read_bytes(tmp_path / "x", limit=1000)
    assert messages.value.strerror == reason


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "x" * 300])
def test_names_that_no_file_has(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError) as messages:
        read_bytes(tmp_path / name)
    assert messages.value.strerror in ("no file can have this name", "File name too long")
    assert not is_file(tmp_path / name)
    assert not is_folder(tmp_path / name)
    assert resolve(tmp_path / name) == tmp_path / name


def test_a_link_to_itself_stays(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("x")
    assert resolve(tmp_path / "x") == tmp_path / "x"


def test_a_user_nobody_knows_has_no_home() -> None:
    assert expand_home("~no-such-user-here/x") == Path("~no-such-user-here/x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff\xfe{\0}\0", "it is UTF-16 text; save it as UTF-8"),
        (b'"\xed\xa0\x80"', r"it is not UTF-8 text \(byte 1\)"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"\\uDc00x": 1}', "half a surrogate pair"),
        ('"\ud800"', "half a surrogate pair"),
        (b"[" * 101 + b"]" * 101, f"nests more than {MAX_DEPTH} levels deep"),
        (b'{"a":' * 9999 + b"1" + b"}" * 9999, f"nests more than {MAX_DEPTH} levels deep"),
        (b"9" * 5000, "digits"),
        (b"", "Expecting value"),
    ],
)
def test_what_json_is_not(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_what_json_is() -> None:
    assert parse_json(b"[" * 100 + b"]" * 100) == json.loads("[" * 100 + "]" * 100)
    assert parse_json(b'"\\ud83d\\udca5 \\\\ud800"') == "💥 \\ud800"
    assert parse_json('{"a": [1, Infinity]}') == {"a": [1, float("inf")]}


def test_nothing_else_parses_json() -> None:
    """Depth, surrogates and encodings are faults of json's own reader alone."""
    local = {"surgery/reading.py", "surgery/checkpoint/header.py", "surgery/runs/lines.py"}
    callers = {
        path.relative_to(ROOT).as_posix()
        for package in ("surgery", "eval")
        for path in (ROOT / package).rglob("*.py")
        for line in path.read_text().splitlines()
        if ("json.loads(" in line or "json.load(" in line) and "json.loads(json.dumps(" not in line
    }
    assert callers <= local
