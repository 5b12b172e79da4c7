from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.grade import extract_answer, grade_exact
from eval.metrics import accuracy, wilson
from eval.records import Grade, Response, Sample
from eval.suites.specimen import TASKS, samples
from surgery.errors import SurgeryError


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>5+1=6</think><answer>6</answer>", "6"),
        ("<answer> 6\n</answer>", "6"),
        ("<answer>1</answer> no, <answer>2</answer>", "2"),
        ("<answer>1<answer>2</answer>", "2"),
        ("<answer></answer>", ""),
        ("<answer>6", None),
        ("6", None),
        ("", None),
    ],
)
def test_the_last_complete_tag_counts(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


def _sample(answer: str) -> Sample:
    return Sample("a", "specimen", "read", "read the number", None, answer)


def _response(text: str, sample: str = "a") -> Response:
    return Response(sample, text, 5, truncated=False)


def test_grading_is_exact() -> None:
    assert grade_exact(_sample("07"), _response("<answer>07</answer>")).correct
    assert not grade_exact(_sample("07"), _response("<answer>7</answer>")).correct
    nothing = grade_exact(_sample(""), _response("07"))
    assert (nothing.answer, nothing.correct) == (None, False)
    with pytest.raises(ValueError, match="'b' graded against sample 'a'"):
        grade_exact(_sample("07"), _response("07", sample="b"))


def test_wilson_agrees_with_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    for correct, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_is_symmetric(case: tuple[int, int]) -> None:
    correct, n = case
    low, high = wilson(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert wilson(n - correct, n) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_proportion(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="is not a proportion"):
        wilson(correct, n)


def test_no_answer_is_wrong_and_counted() -> None:
    grades = [Grade("a", "1", True), Grade("b", "2", False), Grade("c", None, False)]
    score = accuracy("read", grades)
    assert (score.n, score.correct, score.answered) == (3, 1, 2)
    assert score.accuracy == pytest.approx(1 / 3)
    assert score.low < score.accuracy < score.high


@pytest.mark.parametrize("task", TASKS)
def test_samples_are_heldout_and_repeatable(task: str) -> None:
    first = samples(task, 3, 11)
    assert [s.id for s in first] == [f"{task}-heldout-11-{i:04d}" for i in range(3)]
    assert [s.answer for s in first] == [s.answer for s in samples(task, 3, 11)]
    assert all((s.image is None) is (task == "arithmetic") for s in first)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(SurgeryError, match="no task 'raed'"):
        samples("raed", 1, 0)
