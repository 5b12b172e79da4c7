"""The engine in memory against plain `generate`, one question at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from eval.engines.batching import length, make_batches
from eval.engines.transformers import TransformersEngine, check_template
from eval.generation import Generation
from eval.prompts import STYLES
from eval.records import Failure, Metric, Suite
from eval.suites.specimen import load
from surgery.errors import ExecutionError
from surgery.specimen import path
from tests.eval.engines.plainly import alone, answered, key, outcomes, questions_of
from tests.eval.samples import picture, question, suite

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = STYLES["plain"]


@pytest.fixture(scope="module")
def trained() -> TransformersEngine:
    return TransformersEngine.load(path("rl"), device="cpu")


def test_batched_is_one_at_a_time(trained: TransformersEngine) -> None:
    """Every task and condition of the specimen, with the trained model."""
    questions = questions_of(load(6, 5))
    result = answered(trained, questions)
    assert len(result) == len(questions)
    for item in questions:
        assert result[key(item)].text == alone(trained, item), (item.sample.id, item.condition)


def test_batched_is_one_at_a_time_for_odd_questions(untrained: Path) -> None:
    """Images of many sizes, two images, none, very different lengths, in one batch of a kind."""
    engine = TransformersEngine.load(untrained, device="cpu")
    sizes = [(28, 28), (56, 140), (112, 56), (200, 90)]
    samples = [
        question(f"q{i}", picture("red", size), prompt="tell " * (1 + 7 * i))
        for i, size in enumerate(sizes)
    ]
    samples.append(
        question("two", picture("red"), picture("blue", (84, 84)), prompt="a <image 2> b")
    )
    questions = questions_of(suite(Metric.ACCURACY, *samples, question("none"), limit=6))
    result = answered(engine, questions)
    for item in questions:
        assert result[key(item)].text == alone(engine, item), item.sample.id
        assert result[key(item)].truncated == (result[key(item)].tokens == 6)


def test_truncation_and_length(trained: TransformersEngine) -> None:
    arithmetic = Suite("s", (load(4, 1).tasks[-1],), 48)
    whole, short = questions_of(arithmetic), questions_of(arithmetic, Generation(max_new_tokens=2))
    result, cut = answered(trained, whole), answered(trained, short)
    for item, other in zip(whole, short, strict=True):
        response, start = result[key(item)], cut[key(other)]
        assert not response.truncated
        assert response.tokens > 2
        assert start.truncated
        assert start.tokens == 2
        assert response.text.startswith(start.text)


def test_features_are_computed_once_per_image(trained: TransformersEngine, monkeypatch) -> None:
    calls = []
    engine = TransformersEngine(trained.model, trained.processor)
    compute = engine._features._compute
    monkeypatch.setattr(
        engine._features, "_compute", lambda image: calls.append(1) or compute(image)
    )
    item = picture("red")
    questions = questions_of(
        suite(Metric.ALIGNMENT, *(question(f"q{i}", item, description="d") for i in range(4)))
    )
    first = answered(engine, questions)
    assert len(calls) == 2  # the image, and the blank one that all of them share
    assert answered(engine, questions) == first
    assert len(calls) == 2
    engine._features.seeing = "another vision tower"
    answered(engine, questions)
    assert len(calls) == 4


def test_out_of_memory_halves_the_batch(trained: TransformersEngine, monkeypatch) -> None:
    questions = questions_of(Suite("s", (load(8, 2).tasks[-1],), 48))
    expected = {key(item): outcome for item, outcome in outcomes(trained, questions)}
    sizes = []
    generate = trained.model.generate

    def little_memory(**inputs):
        rows = len(inputs["input_ids"])
        sizes.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return generate(**inputs)

    monkeypatch.setattr(trained.model, "generate", little_memory)
    assert {key(item): outcome for item, outcome in outcomes(trained, questions)} == expected
    assert sizes == [8, 4, 2, 2, 4, 2, 2]


def test_out_of_memory_with_one_question_is_a_failure(trained, monkeypatch) -> None:
    def no_memory(**_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(trained.model, "generate", no_memory)
    questions = questions_of(suite(Metric.REASONING, question("a"), question("b")))
    results = [outcome for _, outcome in outcomes(trained, questions)]
    assert all(isinstance(outcome, Failure) for outcome in results)
    assert "out of memory" in results[0].reason


def test_what_cannot_be_asked_is_told(trained: TransformersEngine, monkeypatch) -> None:
    marked = questions_of(suite(Metric.REASONING, question("a", prompt="<|image_pad|>?")))
    ((_, outcome),) = outcomes(trained, marked)
    assert isinstance(outcome, Failure)
    assert outcome.reason.startswith("the model's processor refuses a question: ")
    for holder in (trained.processor, trained.processor.tokenizer):
        monkeypatch.setattr(holder, "chat_template", None)
    with pytest.raises(ExecutionError, match="no chat template"):
        check_template(trained.processor, path("rl"))


def test_a_processor_s_own_fault_is_told(trained: TransformersEngine, monkeypatch) -> None:
    """With any type of error that a family's processor raises."""
    questions = questions_of(suite(Metric.REASONING, question("a")))
    for fault in (TypeError("Incorrect format used for image"), KeyError("num_crops"),
                  AttributeError("no 'boi_token'\nsecond line")):  # fmt: skip

        def broken(*_: object, fault: Exception = fault, **__: object) -> None:
            raise fault

        monkeypatch.setattr(type(trained.processor), "__call__", broken)
        ((_, outcome),) = outcomes(TransformersEngine(trained.model, trained.processor), questions)
        assert isinstance(outcome, Failure)
        assert f"refuses a question: {type(fault).__name__}" in outcome.reason
        assert "second line" not in outcome.reason


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('no \x1b[2J') }}", "{% for %}", "{{ messages.x.y }}", "{{ nothing() }}",
     "{{ ''.__class__.__mro__ }}", "{% for i in range(10**9) %}x{% endfor %}", "{{ 1 / 0 }}",
     "{{ messages[9].content }}", "{% include 'x' %}", "{{ '\ud800' }}", "{{ 'x' * 10**7 }}",
     "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "{{ 'x' | int(base=99) + none }}"],
)  # fmt: skip
def test_a_template_that_fails_is_one_sentence(
    trained: TransformersEngine, monkeypatch, template: str
) -> None:
    for holder in (trained.processor, trained.processor.tokenizer):
        monkeypatch.setattr(holder, "chat_template", template)
    with pytest.raises(ExecutionError, match="chat template that fails for a plain question: "):
        check_template(trained.processor, path("rl"))


def test_a_template_that_refuses_one_question_costs_no_other(
    trained: TransformersEngine, monkeypatch
) -> None:
    template = trained.processor.chat_template or trained.processor.tokenizer.chat_template
    refusing = "{% if 'b?' in messages | string %}{{ raise_exception('not b') }}{% endif %}"
    for holder in (trained.processor, trained.processor.tokenizer):
        monkeypatch.setattr(holder, "chat_template", refusing + template)
    fresh = TransformersEngine(trained.model, trained.processor)
    questions = questions_of(suite(Metric.REASONING, *map(question, "abc")))
    result = {item.sample.id: outcome for item, outcome in outcomes(fresh, questions)}
    assert [isinstance(result[name], Failure) for name in "abc"] == [False, True, False]
    assert result["b"].reason.endswith("refuses a question: TemplateError, not b")


def test_other_errors_are_bugs_and_stop(trained, monkeypatch) -> None:
    def broken(**_):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(trained.model, "generate", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        outcomes(trained, questions_of(suite(Metric.REASONING, question("a"))))


def test_sampling_is_seeded_and_does_not_hang_on_the_batch(trained: TransformersEngine) -> None:
    warm = Generation(temperature=1.5, repeats=3, seed=4)
    questions = questions_of(Suite("s", (load(4, 3).tasks[-1],), 48), warm)
    together = answered(trained, questions)
    single = {key(item): outcomes(trained, [item])[0][1] for item in questions}
    assert together == single
    assert len({response.text for response in together.values()}) > 4  # hot enough to differ
    other = questions_of(
        Suite("s", (load(4, 3).tasks[-1],), 48), Generation(temperature=1.5, repeats=3, seed=5)
    )
    assert [r.text for r in answered(trained, other).values()] != [
        r.text for r in together.values()
    ]


def test_sampling_draws_from_the_models_distribution(trained: TransformersEngine) -> None:
    """First tokens of one question, drawn 600 times, against the softmax."""
    item, *_ = questions_of(Suite("s", (load(1, 3).tasks[-1],), 48))
    inputs = trained.inputs([item])
    with torch.inference_mode():
        logits = trained.model(**inputs).logits[0, -1].float()
    expected = (logits / 3).softmax(-1)
    warm = Generation(temperature=3, repeats=600, seed=1, max_new_tokens=1)
    task = load(1, 3).tasks[-1]
    result = answered(trained, questions_of(Suite("s", (task,), 48), warm))
    top = int(expected.argmax())
    share = sum(
        response.text == trained.processor.tokenizer.decode([top]) for response in result.values()
    ) / len(result)
    p = float(expected[top])
    assert abs(share - p) < 4 * (p * (1 - p) / 600) ** 0.5


def test_batches_fit_into_memory_and_hold_everything_once(trained: TransformersEngine) -> None:
    questions = questions_of(load(20, 1))
    counted = partial(length, processor=trained.processor)
    for memory, most in ((10**9, 128), (10**7, 128), (10**9, 3), (1, 128)):
        batches = make_batches(questions, counted, per_token=10_000, memory=memory, most=most)
        assert sorted(id(q) for batch in batches for q in batch) == sorted(map(id, questions))
        assert max(map(len, batches)) <= most
        for batch in batches:
            assert len({q.condition for q in batch}) == 1
            tokens = max(len(q.messages[-1].parts[-1]) for q in batch) // 8 + 48
            assert len(batch) == 1 or len(batch) * tokens * 10_000 <= memory
    assert max(map(len, make_batches(
        questions, counted, per_token=10_000, memory=1, most=9
    ))) == 1  # fmt: skip


def test_division_does_not_hang_on_order(trained: TransformersEngine) -> None:
    questions = questions_of(load(10, 1))
    counted = partial(length, processor=trained.processor)

    def divided(order):
        batches = make_batches(order, counted, per_token=1000, memory=10**7, most=16)
        return {frozenset((q.sample.id, q.condition) for q in batch) for batch in batches}

    assert divided(questions) == divided(questions[::-1])
