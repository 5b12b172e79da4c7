"""Many changes in one batch: nothing twice, nothing omitted, in any memory, after interruptions."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.asking.changes import AnsweringModel, Unchanged
from eval.asking.loop import ask
from eval.asking.store import RESPONSES, Store
from eval.engines.batching import in_halves
from eval.probes.ablation import Switching, offs_of
from eval.records import Failure, Metric, Suite
from surgery.intervene import Branch
from tests.eval.samples import picture, question, suite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from eval.asking.session import Subject

SHORT = Failure("out of memory with one row at a time")
SOME = Switching(offs_of([Branch.LAYER, Branch.MLP], [2, 5]))


class Watched:
    """Record the requests to an engine, question by question and change by change."""

    def __init__(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.batches = 0
        answer = engine.answer_blocks

        def told(selected: Sequence[Any], blocks: Any, keys: Sequence[str]) -> Any:
            self.batches += 1
            self.asked += [(item.sample.id, off) for off in blocks.offs for item in selected]
            return answer(selected, blocks, keys)

        monkeypatch.setattr(engine, "answer_blocks", told)


def nobody(*_: int) -> None:
    """Ignore progress."""


@settings(max_examples=200)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 30), st.booleans())
def test_every_question_and_change_comes_once_wherever_memory_ends(
    asks: int, places: int, bound: int, by_type: bool
) -> None:
    freed, sizes = [], []

    def compute(some: Sequence[int], position: Sequence[int]) -> list[list[tuple[int, int]]]:
        sizes.append(len(some) * len(position))
        if sizes[-1] > bound:
            raise torch.OutOfMemoryError("x") if by_type else RuntimeError("CUDA out of memory. x")
        return [[(place, ask) for ask in some] for place in position]

    names = [f"q{i}" for i in range(asks)]
    location = [10 * i for i in range(places)]
    result = list(in_halves(names, location, compute, lambda: freed.append(1)))
    assert Counter((place, ask) for place, ask, _ in result) == Counter(
        (place, name) for place in location for name in names
    )
    for place, name, value in result:
        assert value == ((place, name) if bound else SHORT)
    assert len(freed) == sum(size > bound for size in sizes)
    # As few as halving allows: the whole is tried first, and what fits is not divided further.
    assert sizes[0] == asks * places
    if bound >= asks * places:
        assert len(sizes) == 1


def test_a_row_that_is_too_much_alone_takes_no_other_with_it() -> None:
    def compute(some: Sequence[str], position: Sequence[int]) -> list[list[str]]:
        if "b" in some and 1 in position:
            raise MemoryError
        return [[f"{ask}{place}" for ask in some] for place in position]

    result = {(p, a): value for p, a, value in in_halves("abc", [0, 1, 2], compute, lambda: None)}
    assert len(result) == 9
    assert {place for place, value in result.items() if value == SHORT} == {(1, "b")}
    assert all(value == f"{a}{p}" for (p, a), value in result.items() if value != SHORT)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory"),
                                   KeyboardInterrupt()])  # fmt: skip
def test_other_errors_are_no_lack_of_memory(error: BaseException) -> None:
    def compute(*_: Any) -> Any:
        raise error

    with pytest.raises(type(error)):
        list(in_halves(["a", "b"], [0], compute, lambda: pytest.fail("memory was freed")))


def test_an_error_of_whoever_takes_a_value_is_not_taken_for_lack_of_memory() -> None:
    calls = []

    def compute(some: Sequence[str], position: Sequence[int]) -> list[list[int]]:
        calls.append(1)
        return [[1] * len(some) for _ in position]

    rows = in_halves(["a", "b"], [0], compute, lambda: None)
    next(rows)
    with pytest.raises(RuntimeError, match="out of memory"):
        rows.throw(RuntimeError("out of memory"))
    assert calls == [1]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    memory=st.integers(1, 60_000_000), most=st.integers(1, 40), layers=st.integers(0, 9),
    sequential=st.booleans(),
)  # fmt: skip
def test_division_covers_everything_once(
    about: Callable[..., Subject], draw_suite: Callable[..., Suite], room: Any,
    memory: int, most: int, layers: int, sequential: bool,
) -> None:  # fmt: skip
    room.memory, room.max_batch = memory, most
    subject = about(draw_suite("read", "arithmetic", samples=3))
    changes = Switching(offs_of(list(Branch), range(layers)))
    model = AnsweringModel(subject, changes, sequential=sequential)
    batches = list(model.divide(subject.questions))
    counter = Counter(
        (id(q), place) for batch, places in batches for q in batch for place in places
    )
    every = range(3 * layers + 1)
    assert counter == Counter((id(q), place) for q in subject.questions for place in every)
    sizes = [len(batch) * len(places) for batch, places in batches]
    assert max(sizes) <= most
    if sequential:
        assert set(sizes) == {1}
    for batch, places in batches:
        assert len({question.condition for question in batch}) == 1
        assert places == list(range(places[0], places[-1] + 1))  # neighbours share a prefill


def test_much_memory_makes_one_batch_of_all_changes(rl_subject: Subject) -> None:
    batches = list(AnsweringModel(rl_subject, SOME).divide(rl_subject.questions))
    assert sorted(len(places) for _, places in batches) == [5, 5]  # with an image, and without


@pytest.fixture
def whole(
    about: Callable[..., Subject], draw_suite: Callable[..., Suite], room: Any, tmp_path: Path
) -> tuple[Subject, dict[str, Any]]:
    """A model in small batches, and its answers without an interruption."""
    room.max_batch = 4
    subject = about(draw_suite("read", "arithmetic", samples=2))
    store = Store(tmp_path / "whole")
    ask(AnsweringModel(subject, SOME), subject.questions, store, nobody)
    assert len(store.responses) == 20
    assert len({response.text for response in store.responses.values()}) > 5
    return subject, store.responses


def test_interrupted_is_uninterrupted(
    whole: tuple[Subject, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, expected = whole
    watched, folder = Watched(item.engine, monkeypatch), tmp_path / "broken"

    def interrupt(received: int, total: int) -> None:
        if watched.batches:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(AnsweringModel(item, SOME), item.questions, Store(folder), interrupt)
    first = list(watched.asked)
    responses = Store(folder).responses
    assert watched.batches == 1
    assert 0 < len(responses) == len(first) < 20
    lines: list[tuple[int, int]] = []
    again = Store(folder)
    ask(AnsweringModel(item, SOME), item.questions, again, lambda *call: lines.append(call))
    assert again.responses == Store(folder).responses == expected
    assert not set(first) & set(watched.asked[len(first) :])
    assert len(watched.asked) == 20
    assert lines[0] == (len(responses), 20)
    assert sum(received for received, _ in lines) == 20
    keys = [json.loads(line)["key"] for line in (folder / RESPONSES).read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 20


def test_a_batch_of_which_a_part_was_lost_is_asked_again_whole(
    whole: tuple[Subject, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same neighbours; what was kept of it stays as it was."""
    item, expected = whole
    lines = (tmp_path / "whole" / RESPONSES).read_text().splitlines(keepends=True)
    (tmp_path / "part").mkdir()
    path = tmp_path / "part" / RESPONSES
    path.write_text("".join(lines[:-1]))
    watched, messages = Watched(item.engine, monkeypatch), []
    store = Store(tmp_path / "part")
    ask(AnsweringModel(item, SOME), item.questions, store, lambda *call: messages.append(call))
    assert watched.batches == 1
    assert len(watched.asked) > 1
    assert path.read_text() == "".join(lines)
    assert messages == [(19, 20), (1, 20)]
    assert store.responses == expected


def test_when_all_is_kept_no_model_is_loaded(
    whole: tuple[Subject, dict[str, Any]], tmp_path: Path
) -> None:
    item, _ = whole
    cold = replace(item)  # its engine is not there yet
    lines: list[tuple[int, int]] = []
    ask(
        AnsweringModel(cold, SOME), cold.questions, Store(tmp_path / "whole"),
        lambda *call: lines.append(call),
    )  # fmt: skip
    assert lines == [(20, 20)]
    assert "engine" not in vars(cold)


def test_equal_questions_are_asked_once(
    about: Callable[..., Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    red, blue = picture("red", (84, 84)), picture("blue", (84, 84))
    samples = [
        question("a", red, prompt="read the number"),
        question("b", red, prompt="read the number", answer="8"),
        question("c", blue, prompt="read the number"),
    ]
    subject = about(suite(Metric.ACCURACY, *samples))
    watched, store = Watched(subject.engine, monkeypatch), Store(tmp_path)
    model = AnsweringModel(subject, SOME)
    ask(model, subject.questions, store, nobody)
    assert Counter(watched.asked) == Counter((n, off) for n in "ac" for off in SOME.items)
    for item in SOME.items:
        a, b, c = (store.responses[model.key(q, item)] for q in subject.questions)
        assert a == b
    assert c is not None


def test_a_change_that_hangs_on_the_question_parts_equal_questions(
    about: Callable[..., Subject], tmp_path: Path
) -> None:
    """Equal questions with different changes are different questions."""

    class ByName(Switching):
        def label(self, question: Any, item: Any) -> str:
            name = super().label(question, item)
            return f"{name}.{question.sample.id}" if name else ""

    red = picture("red", (84, 84))
    samples = [question(name, red, prompt="read the number") for name in "ab"]
    subject = about(suite(Metric.ACCURACY, *samples))
    rows = []
    blocks = ByName.blocks

    def counted(self: Any, engine: Any, selected: Sequence[Any], items: Sequence[Any]) -> Any:
        rows.extend((entry.sample.id, item) for entry in selected for item in items if item)
        return blocks(self, engine, selected, items)

    ByName.blocks = counted
    ask(AnsweringModel(subject, ByName(SOME.offs)), subject.questions, Store(tmp_path), nobody)
    assert Counter(rows) == Counter((name, off) for name in "ab" for off in SOME.offs)


def test_a_row_that_does_not_fit_is_a_failure_until_it_does(
    rl_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, store = rl_subject.engine.answer_blocks, Store(tmp_path)
    large = SOME.items[3]

    def little_memory(selected: Sequence[Any], blocks: Any, keys: Sequence[str]) -> Any:
        if large in blocks.offs:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return answer(selected, blocks, keys)

    with monkeypatch.context() as patched:
        patched.setattr(rl_subject.engine, "answer_blocks", little_memory)
        model = AnsweringModel(rl_subject, SOME)
        ask(model, rl_subject.questions, store, nobody)
    assert len(store.responses) == 8
    assert set(store.failures) == {model.key(q, large) for q in rl_subject.questions}
    assert {failure.reason for failure in store.failures.values()} == {
        "out of memory with one row at a time"
    }
    ask(model, rl_subject.questions, store, nobody)
    assert len(store.responses) == 10
    assert not Store(tmp_path).failures


def test_addresses_tell_changes_and_ways_apart(rl_subject: Subject) -> None:
    fast, slow = (AnsweringModel(rl_subject, SOME, sequential=slow) for slow in (False, True))
    keys = [
        model.key(q, item)
        for model in (fast, slow) for q in rl_subject.questions for item in SOME.items
    ]  # fmt: skip
    assert len(set(keys)) == 20
    plain = AnsweringModel(rl_subject, Unchanged())
    for item in rl_subject.questions:
        # Unchanged responses have the keys of a sweep's, so that either run can reuse them.
        assert plain.key(item, None) == fast.key(item, None)
        assert plain.key(item, None) == item.key(
            rl_subject.content, rl_subject.settings.engine_facts()
        )
