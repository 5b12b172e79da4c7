"""Stored responses are never lost, even if the writer is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.asking.store import RESPONSES, Store
from eval.generation import Generation
from eval.prompts import STYLES
from eval.questions import Question, questions
from eval.records import Failure, Metric, Response
from surgery.errors import ExecutionError
from surgery.runs.lines import append_lines, read_lines
from tests.eval.samples import question, suite
from tests.waiting import until

(QUESTION,) = questions(
    [suite(Metric.REASONING, question("q"))], STYLES["plain"], Generation()
)  # fmt: skip


def entry(key: str, text: str = "said") -> tuple[str, str, Question, Response]:
    return key, "v", QUESTION, Response(text, 3, truncated=False)


@given(text=st.text())
def test_any_text_comes_back(text: str, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("store")
    Store(folder).append([entry("a", text)])
    assert Store(folder).responses["a"] == Response(text, 3, truncated=False)


def test_the_first_response_counts_and_is_kept_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append([entry("a", "one")])
    store.append([entry("a", "two"), entry("b")])
    assert Store(tmp_path).responses["a"].text == "one"
    assert len((tmp_path / RESPONSES).read_text().splitlines()) == 2


def test_of_two_writers_of_one_key_the_first_counts(tmp_path: Path) -> None:
    """Each read the file before the other wrote: both lines are there."""
    store, other = Store(tmp_path), Store(tmp_path)
    store.append([entry("a", "one")])
    other.append([entry("a", "two")])
    assert len((tmp_path / RESPONSES).read_text().splitlines()) == 2
    assert Store(tmp_path).responses["a"].text == "one"


def test_a_failure_lasts_until_there_is_a_response(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append([("a", "v", QUESTION, Failure("timeout"))])
    assert Store(tmp_path).failures["a"].reason == "timeout"
    assert "a" not in Store(tmp_path).responses
    store.append([entry("a")])
    again = Store(tmp_path)
    assert "a" in again.responses
    assert not again.failures


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    store = Store(tmp_path)
    store.append([entry("a"), entry("b")])
    path = tmp_path / RESPONSES
    os.truncate(path, path.stat().st_size - cut)
    result = Store(tmp_path)
    assert list(result.responses) == ["a"]
    result.append([entry("c")])
    assert list(Store(tmp_path).responses) == ["a", "c"]


def test_a_torn_line_among_others_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append([entry("a"), entry("b"), entry("c")])
    path = tmp_path / RESPONSES
    lines = path.read_text().splitlines()
    lines[1] = lines[1][:20]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ExecutionError, match=r"responses\.jsonl:2 is not a valid record"):
        Store(tmp_path)
    path.write_text('{"key": "a"}\n')
    with pytest.raises(ExecutionError, match=r"responses\.jsonl:1"):
        Store(tmp_path)


WRITER = """
import sys
from pathlib import Path
from surgery.runs.lines import append_lines
path, name = Path(sys.argv[1]), sys.argv[2]
for i in range(100000):
    append_lines(path, [{"writer": name, "number": i, "text": "x" * (i % 3000)}])
    print(i, flush=True)
"""


def test_kill_dash_nine_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Two concurrent writers, both killed; every acknowledged line is complete and stored once."""
    path = tmp_path / "lines.jsonl"
    for round_ in range(3):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(path), f"{round_}{name}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in "ab"
        ]
        begun = path.stat().st_size if path.exists() else 0
        until(lambda begun=begun: path.exists() and path.stat().st_size > begun + 200_000)
        acknowledged = []
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            output, _ = writer.communicate()
            acknowledged.append(output.count("\n"))
        results = [line for _, line in read_lines(path)]
        for name, count in zip("ab", acknowledged, strict=True):
            numbers = [line["number"] for line in results if line["writer"] == f"{round_}{name}"]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) >= count


def test_a_full_disk_is_one_sentence() -> None:
    with pytest.raises(ExecutionError, match="the disk is full"):
        append_lines(Path("/dev/full"), [{"a": 1}])


def test_lines_that_are_no_objects_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps([1]) + "\n")
    with pytest.raises(ExecutionError, match=r"x\.jsonl:1"):
        list(read_lines(path))
    assert list(read_lines(tmp_path / "absent.jsonl")) == []
