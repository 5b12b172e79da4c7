"""The loop that asks: equal questions once, stored answers reused, every answer stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from eval.records import Failure

ChangeT = TypeVar("ChangeT")
OutcomeT = TypeVar("OutcomeT")
OutcomeT_co = TypeVar("OutcomeT_co", covariant=True)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from eval.questions import Question

    Answer: TypeAlias = tuple[Question, int, OutcomeT | Failure]
    """A question, the place of a change among `Respondent.changes`, and the outcome."""
    Entry: TypeAlias = tuple[str, str, Question, OutcomeT | Failure]
    """A key, the model with its change, a question and the outcome."""
    Pending: TypeAlias = Callable[[Sequence[Question], Sequence[int]], bool]
    """Check whether any question has no response yet, with any of the changes."""
    Report: TypeAlias = Callable[[int, int], object]
    """Called with the number of responses that arrived, and the number of all."""


class Answers(Protocol[OutcomeT]):
    """Outcomes that are stored as they arrive."""

    @property
    def responses(self) -> Mapping[str, OutcomeT]:
        """Return what is stored, by key."""
        ...

    def append(self, entries: Iterable[Entry[OutcomeT]]) -> None:
        """Store outcomes; they are on the disk when this returns."""
        ...


class Respondent(Protocol[ChangeT, OutcomeT_co]):
    """A model that answers: in memory, changed in several ways, or at a server."""

    @property
    def changes(self) -> Sequence[ChangeT]:
        """Return the changes under which every question is asked; `(None,)` for none."""
        ...

    def group(self, question: Question) -> tuple[object, ...]:
        """Return a value that is equal for questions with equal answers under every change."""
        ...

    def variant(self, question: Question, change: ChangeT) -> str:
        """Return the model's fingerprint with the change."""
        ...

    def key(self, question: Question, change: ChangeT) -> str:
        """Return the key of a response."""
        ...

    def answers(
        self, questions: Sequence[Question], pending: Pending
    ) -> Iterator[Sequence[Answer[OutcomeT_co]]]:
        """Yield the outcomes of pending questions, as many at a time as are stored together."""
        ...


def ask(
    respondent: Respondent[ChangeT, OutcomeT],
    questions: Sequence[Question],
    store: Answers[OutcomeT],
    report: Report,
    *,
    only_new: bool = False,
) -> int:
    """Ask all questions without a response, and store every outcome as it arrives.

    Equal questions are asked once. The respondent divides all questions into batches, not only
    the pending questions, so that after an interruption every question has the same neighbors
    again.

    Args:
        respondent: The model.
        questions: The questions; those that cannot be asked are omitted.
        store: The run's responses.
        report: Called with what is stored already, and after every batch with what arrived.
        only_new: Whether `report` is called only with what arrives.

    Returns:
        The number of responses that arrived.

    Raises:
        SurgeryError: If the model cannot be used, or the disk fails.
    """
    changes = respondent.changes
    equal: dict[tuple[object, ...], list[Question]] = {}
    keys: dict[tuple[int, int], str] = {}
    for question in questions:
        if question.askable:
            equal.setdefault(respondent.group(question), []).append(question)
            for place, change in enumerate(changes):
                keys[id(question), place] = respondent.key(question, change)
    groups = {id(group[0]): group for group in equal.values()}
    expected = set(keys.values())
    pending = expected - store.responses.keys()
    if not only_new:
        report(len(expected) - len(pending), len(expected))
    if not pending:
        return 0

    def is_pending(batch: Sequence[Question], places: Sequence[int]) -> bool:
        return any(
            keys[id(question), place] in pending
            for first in batch for question in groups[id(first)] for place in places
        )  # fmt: skip

    count = 0
    for answers in respondent.answers([group[0] for group in equal.values()], is_pending):
        new: dict[str, Entry[OutcomeT]] = {}
        for first, place, outcome in answers:
            for question in groups[id(first)]:
                key = keys[id(question), place]
                if key in pending and key not in new:
                    variant = respondent.variant(question, changes[place])
                    new[key] = (key, variant, question, outcome)
        store.append(new.values())
        answered = [key for key, *_, outcome in new.values() if not isinstance(outcome, Failure)]
        pending.difference_update(answered)
        count += len(answered)
        report(len(new), len(expected))
    return count
