"""Metrics by their definitions, and what is missing, split and pooled."""

from __future__ import annotations

import json
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.generation import Generation
from eval.graded import RECORDS, Graded, graded, judged, read_records
from eval.metrics import Score, correct_under, scores
from eval.prompts import STYLES
from eval.questions import questions
from eval.records import Condition, Failure, Metric, Response
from eval.statistics.intervals import proportion, wilson
from surgery.errors import ExecutionError
from tests.eval.made import paired, record, texts
from tests.eval.samples import picture, question, suite

COUNTS = st.integers(0, 6)


def table(records: list[Graded]) -> dict[tuple[str, str, str], Score]:
    return {(s.task, s.split, s.measure): s for s in scores(records)}


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_vision_is_right_with_the_image_and_wrong_without(tt, tf, ft, ff) -> None:
    n = tt + tf + ft + ff
    if n == 0:
        return
    cells = {(True, True): tt, (True, False): tf, (False, True): ft, (False, False): ff}
    result = table(paired("v", Metric.VISION, cells))
    vision = result["t", "", "m_vis"]
    assert vision.value == pytest.approx(tf / n)
    assert (vision.low, vision.high) == pytest.approx((wilson(tf, n).low, wilson(tf, n).high))
    assert (vision.n, vision.clusters, vision.missing) == (n, n, 0)
    counts = {"tt": tt, "tf": tf, "ft": ft, "ff": ff}
    for name, count in counts.items():
        assert result["t", "", name].value == pytest.approx(count / n)
    assert result["t", "", "right[image]"].value == pytest.approx((tt + tf) / n)
    assert result["t", "", "right[blank]"].value == pytest.approx((tt + ft) / n)
    aligned = table(paired("v", Metric.ALIGNMENT, cells))
    assert aligned["t", "", "m_v2r"].value == pytest.approx(tt / n)


def test_what_counts_as_right() -> None:
    image, blank = Condition.IMAGE, Condition.BLANK
    assert correct_under(Metric.VISION, {image: True, blank: False})
    assert not correct_under(Metric.VISION, {image: True, blank: True})
    assert correct_under(Metric.ALIGNMENT, {image: True, Condition.DESCRIBED: True})
    assert correct_under(Metric.ACCURACY, {image: True})
    assert correct_under(Metric.ACCURACY, {Condition.TEXT: True})


def test_what_is_missing_is_left_out_and_told() -> None:
    records = paired("v", Metric.VISION, {(True, False): 3, (False, False): 2})
    records[0] = record("v", "q0", None, metric=Metric.VISION, condition=Condition.IMAGE)
    result = table(records)["t", "", "m_vis"]
    assert (result.value, result.n, result.missing) == (2 / 4, 4, 1)
    nothing = table(texts("v", [None, None]))["t", "", "m_rea"]
    assert isnan(nothing.value)
    assert (nothing.low, nothing.high, nothing.n, nothing.missing) == (0, 1, 0, 2)


def test_shared_images_widen_the_interval() -> None:
    alone = texts("v", [True] * 10 + [False] * 10)
    shared = [record("v", f"q{i}", i < 10, cluster=f"image{i // 5}") for i in range(20)]
    item, other = table(alone)["t", "", "m_rea"], table(shared)["t", "", "m_rea"]
    assert item.value == other.value
    assert other.clusters == 4
    assert other.high - other.low > item.high - item.low
    expected = proportion([1.0] * 10 + [0.0] * 10, [f"{i // 5}" for i in range(20)])
    assert (other.low, other.high) == (expected.low, expected.high)


def test_repeats_are_averaged_within_a_sample() -> None:
    records = [
        record("v", f"q{i}", right, repeat=k)
        for i, rights in enumerate([(True, True), (True, False), (False, False)])
        for k, right in enumerate(rights)
    ]
    result = table(records)["t", "", "m_rea"]
    assert (result.value, result.n) == (0.5, 3)


def test_rates_lengths_and_the_commonest_answer() -> None:
    records = [
        record("v", "a", True, tokens=10, truncated=True, guessed=True, gold="1",
               well_formed=False),
        record("v", "b", False, tokens=20, gold="1"),
        record("v", "c", False, tokens=60, gold="2", answer=None),
        record("v", "d", None, gold="2"),
    ]  # fmt: skip
    result = table(records)
    assert result["t", "", "tokens[text]"].value == 30
    assert result["t", "", "truncated[text]"].value == pytest.approx(1 / 3)
    assert result["t", "", "guessed[text]"].value == pytest.approx(1 / 3)
    assert result["t", "", "unanswered[text]"].value == pytest.approx(1 / 3)
    assert result["t", "", "format[text]"].value == pytest.approx(2 / 3)
    assert result["t", "", "right[text]"].majority == 0.5
    assert result["t", "", "m_rea"].guessed == 1


def test_categories_and_tasks_taken_together() -> None:
    records = [
        *(record("v", f"a{i}", i < 3, categories={"level": str(i % 2)}) for i in range(4)),
        *(record("v", f"b{i}", False, task="u") for i in range(4)),
    ]
    result = table(records)
    assert result["t", "level=0", "m_rea"].value == 1.0
    assert result["t", "level=1", "m_rea"].value == 0.5
    assert result["t", "level=1", "right[text]"].value == 0.5
    assert result["all m_rea", "", "m_rea"].value == 3 / 8
    assert result["all m_rea", "", "m_rea"].n == 8
    assert not any(task == "u" and split for task, split, _ in result)


def test_a_task_may_be_called_as_pooled_ones_are() -> None:
    """`all cats` is one task: it has categories and a commonest answer."""
    records = [record("v", f"q{i}", True, task="all cats") for i in range(3)]
    result = table(records)
    assert not result["all cats", "", "m_rea"].pooled
    assert result["all cats", "", "right[text]"].majority == 1
    both = table([*records, record("v", "b", False, task="dogs")])
    assert both["all m_rea", "", "m_rea"].pooled
    assert not both["all cats", "", "m_rea"].pooled


def test_grading_what_was_said_and_what_was_not() -> None:
    sample = question("q", picture(), description="d")
    whole = suite(Metric.ALIGNMENT, sample, question("lost", picture("blue")))
    style = STYLES["think-answer"]
    requests = [(q, q.key("v", {})) for q in questions([whole], style, Generation())]
    output = {requests[0][1]: Response("<answer>7</answer>", 4, truncated=False)}
    failed = {requests[1][1]: Failure("no answer within 3 s")}
    result = list(graded("v", requests, output, failed, style=style))
    right, timeout, unasked, undescribed = result
    assert (right.correct, right.well_formed, right.rule, right.answer) == (
        True, True, "answer-tag", "7",
    )  # fmt: skip
    assert (timeout.correct, timeout.failure) == (None, "no answer within 3 s")
    assert unasked.failure == "not answered yet"
    assert undescribed.failure == "the sample has no description"
    verdicts = judged(result, [whole], lambda pairs: [text == "x" for _, text in pairs])
    assert [record.judged for record in verdicts] == [False, None, None, None]


def test_records_come_back(tmp_path) -> None:
    records = texts("v", [True, None, False], categories={"a": "b"})
    (tmp_path / RECORDS).write_text("".join(record.line() + "\n" for record in records))
    assert read_records(tmp_path) == records
    (tmp_path / RECORDS).write_text(json.dumps({"variant": "v"}) + "\n")
    with pytest.raises(ExecutionError, match=r"records\.jsonl:1 is not a record"):
        read_records(tmp_path)
    with pytest.raises(ExecutionError, match="not the folder of a finished run"):
        read_records(tmp_path / "absent")
