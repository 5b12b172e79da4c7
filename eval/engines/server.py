"""A model behind an OpenAI-compatible endpoint, with many concurrent questions."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from eval.endpoint import Endpoint
    from eval.questions import Question
    from eval.records import Failure, Response


@dataclass(frozen=True)
class ServerEngine:
    """An engine that asks an endpoint.

    Attributes:
        endpoint: The model.
        concurrency: Maximum number of concurrent questions.
    """

    endpoint: Endpoint
    concurrency: int = 16

    @property
    def facts(self) -> dict[str, Any]:
        """Return the facts about the engine that are part of a response's key."""
        place = self.endpoint.address.rstrip("/")
        return {"engine": "server", "url": place, "model": self.endpoint.model}

    def answer(
        self, questions: Sequence[Question], keys: Sequence[str]
    ) -> Iterator[tuple[Question, Response | Failure]]:
        """Yield outcomes as they arrive; closing the iterator leaves the other questions unasked.

        Args:
            questions: The questions.
            keys: Keys of their responses, which seed sampled responses.

        Raises:
            ExecutionError: If there is no such server or model.
        """
        waiting = iter(zip(questions, keys, strict=True))
        with ThreadPoolExecutor(self.concurrency) as pool:
            under_way: dict[Future[Response | Failure], Question] = {}
            try:
                while True:
                    for question, key in islice(waiting, self.concurrency - len(under_way)):
                        under_way[pool.submit(self._ask, question, key)] = question
                    if not under_way:
                        return
                    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield under_way.pop(future), future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, question: Question, key: str) -> Response | Failure:
        generation = question.generation
        settings: dict[str, Any] = {
            "max_tokens": generation.max_new_tokens,
            "temperature": generation.temperature,
        }
        if not generation.greedy:
            settings |= {"top_p": generation.top_p, "seed": int(key[:7], 16)}
        return self.endpoint.complete(question.messages, **settings)
