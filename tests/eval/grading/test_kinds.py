"""Responses by kind, in both directions, and what must not change a verdict."""

# ruff: noqa: E501 -- tables of responses

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.grading.grade import grade
from eval.records import AnswerKind, Sample
from tests.eval.grading import kinds

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_reported_case(case: dict) -> None:
    sample = Sample(
        "s", "t", "?", case["gold"], AnswerKind(case["kind"]), tuple(case["choices"]),
        tolerance=case["tolerance"], also=tuple(case["also"]),
    )  # fmt: skip
    verdict = grade(sample, case["response"], case["grader"])
    assert verdict.correct is case["expected"], verdict


OPTIONS = [(kind, *row) for kind, rows in kinds.OPTIONS.items() for row in rows]


@pytest.mark.parametrize(("kind", "choices", "letter", "response"), OPTIONS)
def test_option(kind: str, choices: tuple[str, ...], letter: str | None, response: str) -> None:
    for gold in ascii_uppercase[: len(choices)]:
        verdict = grade(kinds.option_sample(choices, gold), response)
        assert verdict.correct is (gold == letter), (gold, verdict)


VALUES = [
    (answer_kind, kind, *row)
    for answer_kind, table in (
        (AnswerKind.NUMBER, kinds.NUMBERS),
        (AnswerKind.MATH, kinds.FORMULAS),
        (AnswerKind.TEXT, kinds.WORDS),
    )
    for kind, rows in table.items()
    for row in rows
]


@pytest.mark.parametrize(("answer_kind", "kind", "gold", "response"), VALUES)
def test_value(answer_kind: AnswerKind, kind: str, gold: str | None, response: str) -> None:
    golds = {row[0] for kind_, _, *row in VALUES if kind_ is answer_kind and row[0]}
    if kind == "yes or no":
        golds = {"Yes", "No"}
    for other in golds:
        verdict = grade(kinds.sample(answer_kind, other), response)
        assert verdict.correct is (other == gold), (other, verdict)


def test_there_are_many_responses_and_both_directions() -> None:
    letters = sum(len(choices) for choices in (kinds.POINTS, kinds.FIGURES, kinds.ROCKS))
    assert len(OPTIONS) + len(VALUES) + letters * len(PHRASES) >= 400


PHRASES = (
    "{}", "({})", "{}.", "**{}**", "({}) {text}", "The answer is {}.", "The answer is ({}).",
    "The correct option is {}.", "\\boxed{{{}}}", "<answer>{}</answer>", "I choose {}.",
    "Option {} is correct.", "({})\n\nThe others do not fit.", "So it must be {}.",
    "Final answer: {}", "**Answer:** {}", "$\\boxed{{\\text{{{}}}}}$", "I would go with option {}.",
    "{}) {text}", "{}: {text}", "Choose {}.", "The best choice is **{}**.", "#### Answer\n{}",
    "Therefore, the answer should be ({}).", "<s> {}</s>", "因此选{}。", "Answer: {}", "Point {} is the one that fits.", "It is labeled {}.",
)  # fmt: skip


@pytest.mark.parametrize("phrase", PHRASES)
@pytest.mark.parametrize("choices", [kinds.POINTS, kinds.FIGURES, kinds.ROCKS], ids=lambda c: c[0])
def test_no_letter_is_read_better_than_another(phrase: str, choices: tuple[str, ...]) -> None:
    answers = []
    for letter, text in zip(ascii_uppercase, choices, strict=False):
        response = phrase.format(letter, text=text)
        answers.append(grade(kinds.option_sample(choices, "A"), response).extraction.answer)
    assert answers == list(ascii_uppercase[: len(choices)])


TEXTUAL = st.sampled_from(
    [(choices, letter, response) for _, choices, letter, response in OPTIONS
     if choices in (kinds.PICTURES, kinds.ROCKS, kinds.TURN, kinds.PHOTOS) and letter
     and not any(mark in response for mark in ("(A)", "(B)", "(C)", "B\n", "A\n", " A.", " B.",
                                               " C.", " D.", "option"))]
)  # fmt: skip


@given(TEXTUAL, st.randoms(use_true_random=False))
def test_the_order_of_the_options_does_not_matter(row, random) -> None:
    """A response that names an option by its text gets the letter that the text has then."""
    choices, letter, response = row
    if letter in response.split():
        return
    order = random.sample(choices, len(choices))
    text = choices[ascii_uppercase.index(letter)]
    gold = ascii_uppercase[order.index(text)]
    assert grade(kinds.option_sample(tuple(order), gold), response).correct


ASIDES = st.sampled_from(
    ["\n\nI looked at the whole scene before deciding.", "\n\nLet me know if you want to hear more.",
     "\n\nThe light comes from above.", " This follows from the shadows.",
     "\n\nThe colours are alike in both."]
)  # fmt: skip
MARKED = st.sampled_from(
    [(choices, letter, response) for kind, choices, letter, response in OPTIONS
     if letter and kind in ("first line", "first sentence with a letter", "conclusion after weighing",
                            "first sentence with a text", "other languages")]
)  # fmt: skip


@given(MARKED, ASIDES)
def test_an_explanation_that_names_no_option_changes_nothing(row, aside: str) -> None:
    choices, letter, response = row
    sample = kinds.option_sample(choices, letter)
    assert grade(sample, response + aside).correct, grade(sample, response + aside)
    other = replace(sample, answer="A" if letter != "A" else "B")
    assert not grade(other, response + aside).correct
