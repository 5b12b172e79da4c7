"""Many changes in one batch: nothing twice, nothing left out, whatever memory and interruptions."""

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
    """What an engine is asked, question by question and change by change."""

    def __init__(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.batches = 0
        answer = engine.answer_blocks

        def told(asked: Sequence[Any], blocks: Any, keys: Sequence[str]) -> Any:
            self.batches += 1
            self.asked += [(each.sample.id, off) for off in blocks.offs for each in asked]
            return answer(asked, blocks, keys)

        monkeypatch.setattr(engine, "answer_blocks", told)


def nobody(*_: int) -> None:
    """Is not told."""


@settings(max_examples=200)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 30), st.booleans())
def test_every_question_and_change_comes_once_wherever_memory_ends(
    asks: int, places: int, bound: int, by_type: bool
) -> None:
    freed, sizes = [], []

    def compute(some: Sequence[int], at: Sequence[int]) -> list[list[tuple[int, int]]]:
        sizes.append(len(some) * len(at))
        if sizes[-1] > bound:
            raise torch.OutOfMemoryError("x") if by_type else RuntimeError("CUDA out of memory. x")
        return [[(place, ask) for ask in some] for place in at]

    names = [f"q{i}" for i in range(asks)]
    where = [10 * i for i in range(places)]
    found = list(in_halves(names, where, compute, lambda: freed.append(1)))
    assert Counter((place, ask) for place, ask, _ in found) == Counter(
        (place, name) for place in where for name in names
    )
    for place, name, value in found:
        assert value == ((place, name) if bound else SHORT)
    assert len(freed) == sum(size > bound for size in sizes)
    # As few as halving allows: the whole is tried first, and what fits is not divided further.
    assert sizes[0] == asks * places
    if bound >= asks * places:
        assert len(sizes) == 1


def test_a_row_that_is_too_much_alone_takes_no_other_with_it() -> None:
    def compute(some: Sequence[str], at: Sequence[int]) -> list[list[str]]:
        if "b" in some and 1 in at:
            raise MemoryError
        return [[f"{ask}{place}" for ask in some] for place in at]

    found = {(p, a): value for p, a, value in in_halves("abc", [0, 1, 2], compute, lambda: None)}
    assert len(found) == 9
    assert {place for place, value in found.items() if value == SHORT} == {(1, "b")}
    assert all(value == f"{a}{p}" for (p, a), value in found.items() if value != SHORT)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory"),
                                   KeyboardInterrupt()])  # fmt: skip
def test_other_errors_are_no_lack_of_memory(error: BaseException) -> None:
    def compute(*_: Any) -> Any:
        raise error

    with pytest.raises(type(error)):
        list(in_halves(["a", "b"], [0], compute, lambda: pytest.fail("memory was freed")))


def test_an_error_of_whoever_takes_a_value_is_not_taken_for_lack_of_memory() -> None:
    calls = []

    def compute(some: Sequence[str], at: Sequence[int]) -> list[list[int]]:
        calls.append(1)
        return [[1] * len(some) for _ in at]

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
    about: Callable[..., Subject], drawn: Callable[..., Suite], room: Any,
    memory: int, most: int, layers: int, sequential: bool,
) -> None:  # fmt: skip
    room.memory, room.max_batch = memory, most
    its = about(drawn("read", "arithmetic", samples=3))
    changes = Switching(offs_of(list(Branch), range(layers)))
    model = AnsweringModel(its, changes, sequential=sequential)
    batches = list(model.divide(its.questions))
    found = Counter((id(q), place) for batch, places in batches for q in batch for place in places)
    every = range(3 * layers + 1)
    assert found == Counter((id(q), place) for q in its.questions for place in every)
    sizes = [len(batch) * len(places) for batch, places in batches]
    assert max(sizes) <= most
    if sequential:
        assert set(sizes) == {1}
    for batch, places in batches:
        assert len({question.condition for question in batch}) == 1
        assert places == list(range(places[0], places[-1] + 1))  # neighbours share a prefill


def test_much_memory_makes_one_batch_of_all_changes(its: Subject) -> None:
    batches = list(AnsweringModel(its, SOME).divide(its.questions))
    assert sorted(len(places) for _, places in batches) == [5, 5]  # with an image, and without


@pytest.fixture
def whole(
    about: Callable[..., Subject], drawn: Callable[..., Suite], room: Any, tmp_path: Path
) -> tuple[Subject, dict[str, Any]]:
    """A model in small batches, and what it says when nobody interrupts."""
    room.max_batch = 4
    its = about(drawn("read", "arithmetic", samples=2))
    store = Store(tmp_path / "whole")
    ask(AnsweringModel(its, SOME), its.questions, store, nobody)
    assert len(store.responses) == 20
    assert len({response.text for response in store.responses.values()}) > 5
    return its, store.responses


def test_interrupted_is_uninterrupted(
    whole: tuple[Subject, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    its, expected = whole
    watched, folder = Watched(its.engine, monkeypatch), tmp_path / "broken"

    def interrupt(came: int, total: int) -> None:
        if watched.batches:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(AnsweringModel(its, SOME), its.questions, Store(folder), interrupt)
    first = list(watched.asked)
    kept = Store(folder).responses
    assert watched.batches == 1
    assert 0 < len(kept) == len(first) < 20
    told: list[tuple[int, int]] = []
    again = Store(folder)
    ask(AnsweringModel(its, SOME), its.questions, again, lambda *seen: told.append(seen))
    assert again.responses == Store(folder).responses == expected
    assert not set(first) & set(watched.asked[len(first) :])
    assert len(watched.asked) == 20
    assert told[0] == (len(kept), 20)
    assert sum(came for came, _ in told) == 20
    keys = [json.loads(line)["key"] for line in (folder / RESPONSES).read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 20


def test_a_batch_of_which_a_part_was_lost_is_asked_again_whole(
    whole: tuple[Subject, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same neighbours; what was kept of it stays as it was."""
    its, expected = whole
    lines = (tmp_path / "whole" / RESPONSES).read_text().splitlines(keepends=True)
    (tmp_path / "part").mkdir()
    path = tmp_path / "part" / RESPONSES
    path.write_text("".join(lines[:-1]))
    watched, told = Watched(its.engine, monkeypatch), []
    store = Store(tmp_path / "part")
    ask(AnsweringModel(its, SOME), its.questions, store, lambda *seen: told.append(seen))
    assert watched.batches == 1
    assert len(watched.asked) > 1
    assert path.read_text() == "".join(lines)
    assert told == [(19, 20), (1, 20)]
    assert store.responses == expected


def test_when_all_is_kept_no_model_is_loaded(
    whole: tuple[Subject, dict[str, Any]], tmp_path: Path
) -> None:
    its, _ = whole
    cold = replace(its)  # its engine is not there yet
    told: list[tuple[int, int]] = []
    ask(
        AnsweringModel(cold, SOME), cold.questions, Store(tmp_path / "whole"),
        lambda *seen: told.append(seen),
    )  # fmt: skip
    assert told == [(20, 20)]
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
    its = about(suite(Metric.ACCURACY, *samples))
    watched, store = Watched(its.engine, monkeypatch), Store(tmp_path)
    model = AnsweringModel(its, SOME)
    ask(model, its.questions, store, nobody)
    assert Counter(watched.asked) == Counter((n, off) for n in "ac" for off in SOME.items)
    for item in SOME.items:
        a, b, c = (store.responses[model.key(q, item)] for q in its.questions)
        assert a == b
    assert c is not None


def test_a_change_that_hangs_on_the_question_parts_equal_questions(
    about: Callable[..., Subject], tmp_path: Path
) -> None:
    """Equal questions that are changed differently are different ones."""

    class ByName(Switching):
        def label(self, question: Any, item: Any) -> str:
            name = super().label(question, item)
            return f"{name}.{question.sample.id}" if name else ""

    red = picture("red", (84, 84))
    samples = [question(name, red, prompt="read the number") for name in "ab"]
    its = about(suite(Metric.ACCURACY, *samples))
    rows = []
    blocks = ByName.blocks

    def counted(self: Any, engine: Any, asked: Sequence[Any], items: Sequence[Any]) -> Any:
        rows.extend((each.sample.id, item) for each in asked for item in items if item)
        return blocks(self, engine, asked, items)

    ByName.blocks = counted
    ask(AnsweringModel(its, ByName(SOME.offs)), its.questions, Store(tmp_path), nobody)
    assert Counter(rows) == Counter((name, off) for name in "ab" for off in SOME.offs)


def test_a_row_that_does_not_fit_is_a_failure_until_it_does(
    its: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, store = its.engine.answer_blocks, Store(tmp_path)
    large = SOME.items[3]

    def little_memory(asked: Sequence[Any], blocks: Any, keys: Sequence[str]) -> Any:
        if large in blocks.offs:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return answer(asked, blocks, keys)

    with monkeypatch.context() as patched:
        patched.setattr(its.engine, "answer_blocks", little_memory)
        model = AnsweringModel(its, SOME)
        ask(model, its.questions, store, nobody)
    assert len(store.responses) == 8
    assert set(store.failures) == {model.key(q, large) for q in its.questions}
    assert {one.reason for one in store.failures.values()} == {
        "out of memory with one row at a time"
    }
    ask(model, its.questions, store, nobody)
    assert len(store.responses) == 10
    assert not Store(tmp_path).failures


def test_addresses_tell_changes_and_ways_apart(its: Subject) -> None:
    fast, slow = (AnsweringModel(its, SOME, sequential=slow) for slow in (False, True))
    keys = [
        model.key(q, item)
        for model in (fast, slow) for q in its.questions for item in SOME.items
    ]  # fmt: skip
    assert len(set(keys)) == 20
    plain = AnsweringModel(its, Unchanged())
    for one in its.questions:
        # What is unchanged is what a sweep keeps, so that one may be read with the other's eyes.
        assert plain.key(one, None) == fast.key(one, None)
        assert plain.key(one, None) == one.key(its.content, its.settings.engine_facts())
