"""A model behind an OpenAI-compatible endpoint: many questions under way at once."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from eval.asks import Ask
    from eval.endpoint import Endpoint
    from eval.records import Failure, Response


@dataclass(frozen=True)
class ServerEngine:
    """Asks an endpoint.

    Attributes:
        endpoint: The model.
        concurrency: Questions that are under way at once.
    """

    endpoint: Endpoint
    concurrency: int = 16

    @property
    def how(self) -> dict[str, Any]:
        """What a response depends on besides question and settings."""
        place = self.endpoint.address.rstrip("/")
        return {"engine": "server", "url": place, "model": self.endpoint.model}

    def answer(self, asks: Sequence[Ask]) -> Iterator[tuple[Ask, Response | Failure]]:
        """Answers as they come; closing the iterator leaves what was not begun yet unasked.

        Raises:
            ExecutionError: If there is no such server or model.
        """
        waiting = iter(asks)
        with ThreadPoolExecutor(self.concurrency) as pool:
            under_way: dict[Future[Response | Failure], Ask] = {}
            try:
                while True:
                    for ask in islice(waiting, self.concurrency - len(under_way)):
                        under_way[pool.submit(self._ask, ask)] = ask
                    if not under_way:
                        return
                    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield under_way.pop(future), future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, ask: Ask) -> Response | Failure:
        generation = ask.question.generation
        settings: dict[str, Any] = {
            "max_tokens": generation.max_new_tokens,
            "temperature": generation.temperature,
        }
        if not generation.greedy:
            settings |= {"top_p": generation.top_p, "seed": int(ask.key[:7], 16)}
        return self.endpoint.complete(ask.question.messages, **settings)
