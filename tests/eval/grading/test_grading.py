"""Extraction and comparison: a corpus that a person marked, laws, and what would take for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.grading.boxes import find_boxes, last_box
from eval.grading.compare import compare
from eval.grading.extract import extract
from eval.grading.grade import FORMS, GRADERS, format_ok, grade
from eval.records import AnswerKind
from surgery.errors import SurgeryError
from tests.eval.grading.corpus import CASES, NUMBERS, Case, maths, number, option, words
from tests.waiting import cpu_limit


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.sample.answer}: {case.text!r}"[:70]
)
def test_corpus(case: Case) -> None:
    grade_result = grade(case.sample, case.text)
    assert grade_result.correct == case.right, grade_result
    assert grade_result.extraction.guessed == case.guessed, grade_result


def test_the_corpus_is_large_and_has_both_kinds() -> None:
    assert len(CASES) >= 190
    assert sum(case.right for case in CASES) >= 100
    assert sum(not case.right for case in CASES) >= 40
    assert sum(case.guessed for case in CASES) >= 10


SAMPLES = (number("42"), option("B", *NUMBERS), maths("\\frac{3}{4}"), words("Eiffel Tower"))
FRAGMENTS = st.sampled_from(
    ["<answer>", "</answer>", "<think>", "</think>", "\\boxed{", "}", "{", "$", "$$", "answer is ",
     "not ", "B", "(C)", "14", "-3.5", "\\frac", "**", "\n", " ", "option ", "=", "^", "\\text{",
     "1,234", "%", "The ", "答案是", "."]
)  # fmt: skip


@pytest.mark.parametrize("grader", list(GRADERS))
@given(st.lists(st.one_of(FRAGMENTS, st.text(max_size=8)), max_size=25).map("".join))
def test_no_response_breaks_a_grader(grader: str, text: str) -> None:
    for sample in SAMPLES:
        grade_result = grade(sample, text, grader)
        assert grade_result.correct in (True, False)
        if grade_result.extraction.answer is None:
            assert not grade_result.correct


@given(st.lists(st.one_of(FRAGMENTS, st.text(max_size=8)), max_size=25).map("".join))
def test_extraction_does_not_look_at_the_right_answer(text: str) -> None:
    for sample, other in zip(SAMPLES, ("7", "D", "x+1", "Big Ben"), strict=True):
        assert extract(sample, text) == extract(replace(sample, answer=other), text)


@given(st.integers(-(10**9), 10**9))
def test_every_form_of_a_whole_number(n: int) -> None:
    sample = number(str(n))
    for text in (f"{n}", f"{n:,}", f"{n}.0", f"\\boxed{{{n}}}", f"<answer>{n}</answer>",
                 f"The answer is {n}.", f"${n}$"):  # fmt: skip
        assert grade(sample, text).correct, text
        assert not grade(number(str(n + 1)), text).correct, text


@given(st.fractions(min_value=-50, max_value=50, max_denominator=40))
def test_a_fraction_is_its_own_latex(value) -> None:
    sample = maths(str(value))
    top, bottom = abs(value.numerator), value.denominator
    sign = "-" if value < 0 else ""
    assert grade(sample, f"\\boxed{{{sign}\\frac{{{top}}}{{{bottom}}}}}").correct
    assert not grade(sample, f"\\boxed{{{sign}\\frac{{{top + 1}}}{{{bottom}}}}}").correct


BRACED = st.recursive(
    st.text("ab^_\\,", max_size=3).map(lambda text: text.replace("\\", "\\,")),
    lambda inner: st.lists(
        st.one_of(inner, inner.map(lambda inner_text: f"{{{inner_text}}}")), max_size=3
    ).map("".join),
    max_leaves=6,
)


@given(BRACED, BRACED)
def test_a_box_holds_what_was_put_in(content: str, before: str) -> None:
    text = f"{before} \\boxed{{{content}}} and so on"
    assert last_box(text) == content


def test_unclosed_boxes_are_none() -> None:
    assert last_box("\\boxed{1") is None
    assert [box.content for box in find_boxes("\\boxed{a} \\boxed{b \\boxed{c}}")] == [
        "a", "c", "b \\boxed{c}",
    ]  # fmt: skip


HOSTILE = (
    "\\boxed{" * 20_000,
    "<answer>" * 20_000,
    "the answer is " * 10_000,
    "9" * 100_000,
    "(" * 50_000,
    "A or B or " * 10_000,
    "\\boxed{9^{9^{9^{9}}}}",
    "\\boxed{99999!}",
    "\\boxed{2^{2000000000}}",
    "\\boxed{\\sum_{k=1}^{10000000} \\sqrt{k}}",
    "\\boxed{1e999999999}",
    "1" + "\\frac{1}{1+" * 60,
    "not " * 20_000,
    "$" * 30_000,
)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:18])
def test_nothing_takes_for_ever(text: str) -> None:
    for sample in SAMPLES:
        for grader in GRADERS:
            with cpu_limit(20):
                grade(sample, text, grader)


def test_further_right_answers() -> None:
    sample = replace(number("1.06"), also=("1.07", "1.08"))
    assert [grade(sample, text).correct for text in ("1.06", "1.08", "1.09")] == [True, True, False]


def test_exact_is_character_for_character() -> None:
    sample = replace(words("7B"), kind=AnswerKind.EXACT)
    assert compare(sample, "7B") == (True, "exact")
    assert compare(sample, "7b") == (False, "exact")
    assert compare(sample, "7B ") == (False, "exact")


def test_the_rule_is_recorded() -> None:
    grade_result = grade(number("7"), "<answer>7</answer>")
    assert (grade_result.extraction.answer, grade_result.extraction.rule) == ("7", "answer-tag")
    assert grade_result.comparison == "numeric"
    assert grade(maths("x"), "\\boxed{9^{9^{9}}}").comparison == "refused"
    assert grade(number("7"), "I think 7 it is, is it").extraction.guessed


def test_unknown_graders_are_named() -> None:
    with pytest.raises(SurgeryError, match="Did you mean 'strict'"):
        grade(number("1"), "1", "stric")


FORMED = [
    ("any", "whatever", True),
    ("answer-tag", "<think>a</think><answer>b</answer>", True),
    ("answer-tag", "<answer>b</answer>", True),
    ("answer-tag", "b", False),
    ("answer-tag", "<answer>a</answer><answer>b</answer>", False),
    ("answer-tag", "<answer>b</answer> by the way", False),
    ("answer-tag", "<think>a<answer>b</answer></think>", False),
    ("boxed", "so \\boxed{3}.", True),
    ("boxed", "\\boxed{3} or so", False),
    ("boxed", "3", False),
]


@pytest.mark.parametrize(("form", "text", "ok"), FORMED)
def test_forms(form: str, text: str, ok: bool) -> None:
    assert form in FORMS
    assert format_ok(text, form) == ok
