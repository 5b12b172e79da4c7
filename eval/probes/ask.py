"""Questions to a model that is changed in many ways, all of them in one batch, resumably."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from eval.asks import Ask, addressed
from eval.engines.batching import in_halves, longest_answer
from eval.store import Kept
from surgery.intervene import Intact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eval.asks import Question
    from eval.engines.transformers import TransformersEngine
    from eval.probes.subject import Subject
    from eval.records import Response
    from eval.store import Store
    from surgery.intervene import Blocks

    Told = Callable[[int, int], None]
    """Told how many responses came in, and how many there will be."""

ItemT = TypeVar("ItemT")


class Changes(Protocol[ItemT]):
    """Ways in which a model is changed, one block of rows each."""

    @property
    def items(self) -> Sequence[ItemT]:
        """The ways, in the order of reports."""
        ...

    def named(self, question: Question, item: ItemT) -> str:
        """What a response depends on besides model and question; "" where nothing is changed."""
        ...

    def blocks(
        self, engine: TransformersEngine, asks: Sequence[Ask], items: Sequence[ItemT]
    ) -> Blocks:
        """Change the model: one block of rows for each item, of which each row is a question."""
        ...


class Unchanged:
    """The model as it is."""

    items: Sequence[None] = (None,)

    def named(self, question: Question, item: None) -> str:
        """Nothing."""
        return ""

    def blocks(
        self, engine: TransformersEngine, asks: Sequence[Ask], items: Sequence[None]
    ) -> Blocks:
        """One block."""
        return Intact(len(items))


class Asking(Generic[ItemT]):
    """Puts questions to a changed model and keeps the responses.

    Args:
        subject: The model.
        changes: The ways in which it is changed.
        store: Where responses are kept.
        sequential: One question and one change at a time, which is slow and what all the rest must
            equal; its responses are kept apart.
    """

    def __init__(
        self, subject: Subject, changes: Changes[ItemT], store: Store, *, sequential: bool = False
    ) -> None:
        self._subject = subject
        self._changes = changes
        self._store = store
        self._sequential = sequential

    def address(self, question: Question, item: ItemT) -> Ask:
        """A question to the model, changed in one way, with the key of its response."""
        how = self._subject.how | ({"rows": "one at a time"} if self._sequential else {})
        name = self._changes.named(question, item)
        return addressed(question, self._subject.content + (f"/{name}" if name else ""), how)

    def ask(self, questions: Sequence[Question], told: Told) -> None:
        """Ask what was not asked yet; every batch is kept as it comes.

        The whole is divided, not what is left of it, so that after an interruption every question
        meets the same neighbours again.
        """
        items = self._changes.items
        # Nothing is left to chance, so questions of one content are asked once.
        same: dict[tuple[object, ...], list[Question]] = {}
        for question in questions:
            same.setdefault(self._same(question), []).append(question)
        keys = {
            (id(question), place): self.address(question, item).key
            for question in questions
            for place, item in enumerate(items)
        }
        there = sum(key in self._store.responses for key in keys.values())
        told(there, len(keys))
        if there == len(keys):
            return
        engine = self._subject.engine
        for batch, places in self.divided([row[0] for row in same.values()]):
            rows = [same[self._same(question)] for question in batch]
            missing = {
                keys[id(question), place] for row in rows for question in row for place in places
            } - self._store.responses.keys()
            if not missing:
                continue
            asks = [self.address(question, items[places[0]]) for question in batch]
            kept = []
            for place, ask, outcome in in_halves(asks, places, self._answer, engine.free):
                for question in same[self._same(ask.question)]:
                    own = self.address(question, items[place])
                    if own.key in missing:
                        name = self._changes.named(question, items[place])
                        variant = "/".join(filter(None, (self._subject.content, name)))
                        kept.append(Kept.of(own, variant, outcome))
            self._store.append(kept)
            told(len(kept), len(keys))

    def divided(
        self, questions: Sequence[Question], more: Callable[[Question], int] = longest_answer
    ) -> Iterator[tuple[tuple[Question, ...], list[int]]]:
        """Batches that fit into memory, each with the places of the items it is asked with.

        Args:
            questions: In any order.
            more: How many tokens a row has room for besides its question.
        """
        engine, count = self._subject.engine, len(self._changes.items)
        if self._sequential:
            for question in questions:
                yield from (((question,), [place]) for place in range(count))
            return
        groups = -(-count // engine.most_copies(questions, more))
        size = -(-count // groups)
        for batch in engine.batches(questions, size, more):
            for start in range(0, count, size):
                yield batch, list(range(start, min(start + size, count)))

    def _same(self, question: Question) -> tuple[object, ...]:
        """Equal for questions that have equal answers: asked alike, and changed alike."""
        names = (self._changes.named(question, item) for item in self._changes.items)
        return (*question.answer_key, *names)

    def _answer(self, asks: Sequence[Ask], places: Sequence[int]) -> list[list[Response]]:
        """Responses of all asks, item by item."""
        engine, items = self._subject.engine, self._changes.items
        blocks = self._changes.blocks(engine, asks, [items[place] for place in places])
        return engine.answer_blocks(asks, blocks)
