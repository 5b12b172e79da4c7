"""A model at a server that answers."""

from __future__ import annotations

from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING

from eval.asking.session import Timing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eval.asking.loop import Answer, Pending
    from eval.engines.server import ServerEngine
    from eval.questions import Question
    from eval.records import Response


class ServedModel:
    """A model behind a server.

    What a server holds cannot be fingerprinted: its responses are stored under the server's address
    and the model's name. Use another folder if the model behind a name changes.

    Args:
        engine: The server's endpoint.

    Attributes:
        fingerprint: sha256 of the server's address and the model's name.
        timing: Seconds so far.
    """

    changes: Sequence[None] = (None,)

    def __init__(self, engine: ServerEngine) -> None:
        self._engine = engine
        self.fingerprint = sha256(repr(sorted(engine.facts.items())).encode()).hexdigest()
        self.timing = Timing()

    def group(self, question: Question) -> tuple[object, ...]:
        """Return a value that is equal for questions with equal prompts."""
        return question.answer_key

    def variant(self, question: Question, change: None) -> str:
        """Return `fingerprint`: nothing is changed."""
        return self.fingerprint

    def key(self, question: Question, change: None) -> str:
        """Return the key of a response."""
        return question.key(self.fingerprint, self._engine.facts)

    def answers(
        self, questions: Sequence[Question], pending: Pending
    ) -> Iterator[Sequence[Answer[Response]]]:
        """Yield every outcome as it arrives."""
        start = perf_counter()
        waiting = [question for question in questions if pending([question], (0,))]
        keys = [self.key(question, None) for question in waiting]
        for question, outcome in self._engine.answer(waiting, keys):
            self.timing.answer = perf_counter() - start
            yield [(question, 0, outcome)]
