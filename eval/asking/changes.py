"""A model in memory that answers, intact or with many changes in one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import perf_counter
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from eval.engines.batching import longest_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eval.asking.loop import Answer, Pending
    from eval.asking.session import Subject
    from eval.engines.transformers import TransformersEngine
    from eval.questions import Question
    from eval.records import Response
    from surgery.intervene import Blocks

ItemT = TypeVar("ItemT")
OutcomeT = TypeVar("OutcomeT")


class Changes(Protocol[ItemT]):
    """Changes of a model, one block of rows each."""

    @property
    def items(self) -> Sequence[ItemT]:
        """Return the changes, in the order of reports."""
        ...

    def label(self, question: Question, item: ItemT) -> str:
        """Return the change's part of a response's key; "" without a change."""
        ...

    def blocks(
        self, engine: TransformersEngine, questions: Sequence[Question], items: Sequence[ItemT]
    ) -> Blocks | None:
        """Return hooks for one block of rows per change, a row for each question; None for none."""
        ...


class Unchanged:
    """The model as it is."""

    items: Sequence[None] = (None,)

    def label(self, question: Question, item: None) -> str:
        """Return the empty label."""
        return ""

    def blocks(
        self, engine: TransformersEngine, questions: Sequence[Question], items: Sequence[None]
    ) -> None:
        """Change nothing."""


class ResidentModel(ABC, Generic[ItemT, OutcomeT]):
    """A subject asked under changes; subclasses define the outcome.

    Args:
        subject: The model; it is loaded when the first question is pending.
        changes: The changes.
        sequential: Whether questions and changes go one at a time: slow; the reference for all
            else. Such outcomes are stored separately.
    """

    def __init__(
        self, subject: Subject, changes: Changes[ItemT], *, sequential: bool = False
    ) -> None:
        self.changes = changes.items
        self._subject = subject
        self._change = changes
        self._sequential = sequential
        self._facts = dict(subject.facts) | ({"rows": "one at a time"} if sequential else {})

    @property
    def engine(self) -> TransformersEngine:
        """Return the engine, loaded on first use."""
        return self._subject.engine

    def group(self, question: Question) -> tuple[object, ...]:
        """Return a value that is equal for questions with equal prompts and changes."""
        return (*question.answer_key, *(self.variant(question, change) for change in self.changes))

    def variant(self, question: Question, change: ItemT) -> str:
        """Return the model's fingerprint, with the change's label after a slash."""
        label = self._change.label(question, change)
        return f"{self._subject.content}/{label}" if label else self._subject.content

    def key(self, question: Question, change: ItemT) -> str:
        """Return the key of an outcome."""
        return question.key(self.variant(question, change), self._facts)

    def answers(
        self, questions: Sequence[Question], pending: Pending
    ) -> Iterator[Sequence[Answer[OutcomeT]]]:
        """Yield the outcomes of every batch in which something is pending."""
        timing = self._subject.timing
        for batch, places in self.divide(questions):
            if pending(batch, places):
                start, generated = perf_counter(), self.engine.generating
                answers = list(self.compute(batch, places))
                timing.answer += perf_counter() - start
                timing.generate += self.engine.generating - generated
                yield answers

    def divide(
        self, questions: Sequence[Question]
    ) -> Iterator[tuple[tuple[Question, ...], list[int]]]:
        """Yield batches that fit into memory, each with the places of its changes."""
        count = len(self.changes)
        if self._sequential:
            for question in questions:
                yield from (((question,), [place]) for place in range(count))
            return
        groups = -(-count // self.engine.most_copies(questions, self.room))
        size = -(-count // groups)
        for batch in self.engine.batches(questions, size, self.room):
            for start in range(0, count, size):
                yield batch, list(range(start, min(start + size, count)))

    def room(self, question: Question) -> int:
        """Return the number of tokens that a row needs in addition to its question."""
        return longest_answer(question)

    @abstractmethod
    def compute(
        self, batch: Sequence[Question], places: Sequence[int]
    ) -> Iterator[Answer[OutcomeT]]:
        """Yield the outcome of every question of a batch under every change."""


class AnsweringModel(ResidentModel[ItemT, "Response"]):
    """A subject that answers questions."""

    def compute(
        self, batch: Sequence[Question], places: Sequence[int]
    ) -> Iterator[Answer[Response]]:
        """Yield the response to every question of a batch under every change."""
        keys = [self.key(question, self.changes[places[0]]) for question in batch]

        def change(questions: Sequence[Question], places: Sequence[int]) -> Blocks | None:
            items = [self.changes[place] for place in places]
            return self._change.blocks(self.engine, questions, items)

        return self.engine.answer(batch, keys, places, change)
