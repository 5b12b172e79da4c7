"""Rows in published columns that failed or got a wrong answer, and rows of their kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.grading.grade import grade
from eval.records import AnswerKind, Sample
from eval.suites.benchmark import options_in
from eval.suites.rows import Row
from eval.suites.table import SUITES

IMAGES = ("image", "decoded_image", *(f"image_{number}" for number in range(1, 8)))
CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "reported.jsonl").read_text(encoding="utf-8").splitlines()
]


def sample(benchmark: str, row: dict[str, Any]) -> Sample:
    (part,) = SUITES[benchmark].parts
    return part.benchmark.sample(Row({**dict.fromkeys(IMAGES), **row}, "row 0"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_reported_row(case: dict[str, Any]) -> None:
    expected, result = case["expected"], sample(case["benchmark"], case["row"])
    for key in ("kind", "answer"):
        assert getattr(result, key) == expected.get(key, getattr(result, key))
    assert list(result.choices) == expected.get("choices", list(result.choices))
    for verdict, name in ((True, "right"), (False, "wrong")):
        for response in expected.get(name, ()):
            assert grade(result, response).correct is verdict, response


VERSE = next(case["row"] for case in CASES if case["benchmark"] == "mathverse")


@pytest.mark.parametrize(
    ("answer", "right", "wrong"),
    [("090^\\circ T", "\\boxed{090^\\circ T}", "\\boxed{180^\\circ T}"),
     ("False", "The answer is False", "The answer is True")],
)  # fmt: skip
def test_a_value_as_answer_where_the_options_stand_in_the_image(
    answer: str, right: str, wrong: str
) -> None:
    """All versions of a problem share its answer, those without a text of the question, too."""
    row = {**VERSE, "problem_version": "Vision Only", "question": "", "answer": answer}
    result = sample("mathverse", row)
    assert (result.kind, result.answer) == (AnswerKind.MATH, answer)
    assert grade(result, right).correct
    assert not grade(result, wrong).correct


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("How large?\nChoices:\nA:62°\nB:28°", ("62°", "28°")),
        ("How large? Choices: A:1 B:2 C:3", ("1", "2", "3")),
        ("Choose.\n(A) red\n(B) blue", ("red", "blue")),
        ("Point A. Point B lies on the line.", ()),
        ("Choices:\nB:2\nA:1", ()),
        ("", ()),
    ],
)
def test_options_in_a_question(question: str, options: tuple[str, ...]) -> None:
    assert options_in(question) == options
