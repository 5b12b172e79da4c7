"""Descriptions from the data, a file, a cache or an endpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from eval.descriptions import described, describer, image_key, lacking, read_descriptions
from eval.endpoint import Endpoint
from eval.records import Metric
from surgery.errors import ExecutionError
from tests.eval.samples import picture, question, suite
from tests.eval.scripted import Script, said, serving

if TYPE_CHECKING:
    from pathlib import Path

RED, BLUE = picture("red"), picture("blue")
SUITE = suite(
    Metric.ALIGNMENT, question("a", RED), question("b", RED), question("c", BLUE),
    question("d", BLUE, description="given"),
)  # fmt: skip


def texts(result) -> list[str | None]:
    return [sample.description for sample in result.tasks[0].samples]


def test_an_endpoint_is_asked_once_per_image_and_cached(tmp_path: Path) -> None:
    cache = tmp_path / "descriptions.jsonl"
    script = Script(lambda number, _: (200, {}, said(f"told {number}")))
    with serving(script):
        point = Endpoint(script.url, "m")
        result = described(SUITE, cache, describer(point), model="m")
        again = described(SUITE, cache, describer(point), model="m")
        assert len(script.requests) == 2
        other = described(SUITE, cache, describer(point), model="another")
        assert len(script.requests) == 4  # another model's words are not taken for its own
    assert result == again != other
    a, b, c, d = texts(result)
    assert a == b != c
    assert d == "given"
    assert lacking(SUITE) == 3
    assert lacking(result) == 0
    # When nobody is asked, the last one counts, whoever made it.
    assert texts(described(SUITE, cache)) == texts(other)
    image = script.requests[0][0]["messages"][0]["content"][0]
    assert image["type"] == "image_url"


def test_a_file_goes_first_by_image_or_by_sample(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [
        {"image": image_key(question("a", RED)), "description": "by image"},
        {"id": "c", "description": "by id"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    descriptions = read_descriptions(file)
    result = described(SUITE, tmp_path / "cache.jsonl", existing=descriptions)
    assert texts(result) == ["by image", "by image", "by id", "given"]


def test_failures_leave_the_sample_without(tmp_path: Path) -> None:
    lines: list[str] = []
    with serving(Script(lambda *_: (400, {}, {"error": "too large"}))) as script:
        result = described(
            SUITE, tmp_path / "c.jsonl", describer(Endpoint(script.url, "m")), model="m",
            failed=lines.append,
        )  # fmt: skip
    assert lacking(result) == 3
    assert len(lines) == 2
    assert "too large" in lines[0]


def test_other_metrics_need_none(tmp_path: Path) -> None:
    result = suite(Metric.VISION, question("a", RED))
    assert lacking(result) == 0
    assert described(result, tmp_path / "c.jsonl") == result


@pytest.mark.parametrize(
    "line", ['{"id": "a"}', '{"description": "x"}', '{"id": 1, "description": 2}']
)
def test_lines_that_are_none_are_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(f"{line}\n")
    with pytest.raises(ExecutionError, match=r"mine\.jsonl:1 is not a description"):
        read_descriptions(file)
    with pytest.raises(ExecutionError, match="there is no file of descriptions"):
        read_descriptions(tmp_path / "absent.jsonl")
