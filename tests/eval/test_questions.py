"""A response's key changes with all that it depends on, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from eval.generation import Generation
from eval.prompts import STYLES
from eval.questions import questions
from eval.records import Condition, Metric, Suite, Task
from tests.eval.samples import picture, question, suite

PLAIN, ENGINE = STYLES["plain"], {"engine": "x", "dtype": "float32"}
GREEDY = Generation()
RED = picture("red")


def keys(given_suite: Suite, generation=GREEDY, style=PLAIN, variant="v", mode=ENGINE):
    return [q.key(variant, mode) for q in questions([given_suite], style, generation) if q.askable]


def test_each_thing_counts() -> None:
    base = question("q", RED, description="red")
    plain = keys(suite(Metric.ALIGNMENT, base))
    assert len(set(plain)) == 2
    rest = [
        keys(suite(Metric.ALIGNMENT, replace(base, prompt="Question q!"))),
        keys(suite(Metric.ALIGNMENT, replace(base, images=(picture("blue"),)))),
        keys(suite(Metric.ALIGNMENT, base), variant="w"),
        keys(suite(Metric.ALIGNMENT, base), mode={**ENGINE, "dtype": "bfloat16"}),
        keys(suite(Metric.ALIGNMENT, base), style=STYLES["think-answer"]),
        keys(suite(Metric.ALIGNMENT, base), Generation(max_new_tokens=9)),
        keys(suite(Metric.ALIGNMENT, base), Generation(temperature=0.5)),
        keys(suite(Metric.ALIGNMENT, base, limit=9)),
    ]
    for right_text in rest:
        assert not set(plain) & set(right_text)
    described = keys(suite(Metric.ALIGNMENT, replace(base, description="blue")))
    assert described[0] == plain[0]  # the image alone is asked as before
    assert described[1] != plain[1]


def test_what_does_not_count() -> None:
    base = question("q", RED)
    plain = keys(suite(Metric.ACCURACY, base))
    corrected = replace(base, answer="8", categories={"level": "5"}, group="g")
    assert keys(suite(Metric.ACCURACY, corrected)) == plain
    assert keys(suite(Metric.ACCURACY, base, name="other")) == plain
    assert keys(suite(Metric.ACCURACY, base), Generation(seed=5)) == plain  # greedy uses no seed
    assert keys(suite(Metric.ACCURACY, base), Generation(repeats=4)) == plain
    assert keys(suite(Metric.ACCURACY, base), Generation(max_new_tokens=8)) == plain


def test_repeats_and_seeds_of_sampling_count() -> None:
    result = keys(suite(Metric.ACCURACY, question("q", RED)), Generation(temperature=1, repeats=3))
    assert len(set(result)) == 3
    right_text = Generation(temperature=1, repeats=3, seed=1)
    assert not set(result) & set(keys(suite(Metric.ACCURACY, question("q", RED)), right_text))


def test_one_answer_serves_several_tasks() -> None:
    sample = question("q", RED)
    tasks = (Task("a", Metric.VISION, (sample,)), Task("b", Metric.ACCURACY, (sample,)))
    both = Suite("s", tasks, max_new_tokens=8)
    requests = list(questions([both], PLAIN, Generation()))
    assert [(q.task, q.condition) for q in requests] == [
        ("a", Condition.IMAGE), ("a", Condition.BLANK), ("b", Condition.IMAGE),
    ]  # fmt: skip
    first, blank, again = (q.key("v", ENGINE) for q in requests)
    assert first == again != blank
    assert requests[0].messages is requests[2].messages


def test_what_has_no_description_is_not_asked() -> None:
    requests = list(questions([suite(Metric.ALIGNMENT, question("q", RED))], PLAIN, Generation()))
    assert [(q.condition, q.askable) for q in requests] == [
        (Condition.IMAGE, True), (Condition.DESCRIBED, False),
    ]  # fmt: skip


@given(st.text(max_size=20), st.text(max_size=20))
def test_texts_do_not_run_together(left_text: str, right_text: str) -> None:
    first = question("q", prompt=left_text)
    second = question("q", prompt=right_text)
    same = keys(suite(Metric.REASONING, first)) == keys(suite(Metric.REASONING, second))
    assert same == (left_text == right_text)
