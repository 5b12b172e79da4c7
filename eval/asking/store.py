"""Responses as they arrive, stored so that an interrupted run resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eval.records import Failure, Response
from surgery.runs.lines import KeyedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from eval.questions import Question

RESPONSES: Final = "responses.jsonl"


class Store:
    """The responses of one run by their keys, in an append-only file.

    Args:
        folder: The run's folder; made when absent.

    Attributes:
        responses: Response of every answered question, by `Question.key`.
        failures: Reason of every question that has no response so far, by key.

    Raises:
        ExecutionError: If a line of the file cannot be read, or the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.failures: dict[str, Failure] = {}
        self._file = KeyedFile[Response](folder / RESPONSES, self._parse)
        self.responses = self._file.values

    def append(self, answers: Iterable[tuple[str, str, Question, Response | Failure]]) -> None:
        """Store answers; they are on the disk when this returns.

        Safe among several processes. A response that is stored already is not written again.

        Args:
            answers: Key, the model's fingerprint with its change, question and outcome.

        Raises:
            ExecutionError: If the disk fails.
        """
        self._file.append(_line(*answer) for answer in answers if answer[0] not in self.responses)

    def _parse(self, line: Mapping[str, Any]) -> tuple[str, Response] | None:
        """Store a response; a failure only counts until there is a response."""
        key = str(line["key"])
        if "failure" in line:
            self.failures[key] = Failure(str(line["failure"]))
            return None
        response = Response(str(line["text"]), int(line["tokens"]), bool(line["truncated"]))
        self.failures.pop(key, None)
        return key, response


def _line(
    key: str, variant: str, question: Question, outcome: Response | Failure
) -> dict[str, Any]:
    line: dict[str, Any] = {
        "key": key,
        "variant": variant,
        "sample": question.sample.fingerprint,
        "condition": str(question.condition),
        "repeat": question.repeat,
    }
    if isinstance(outcome, Failure):
        return {**line, "failure": outcome.reason}
    return {**line, **vars(outcome)}
