"""Responses as they arrive, stored so that an interrupted run resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eval.records import Failure, Response
from surgery.runs.lines import append_lines, read_lines, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from eval.questions import Question

RESPONSES: Final = "responses.jsonl"


class Store:
    """The responses of one run by their keys, in an append-only file.

    Args:
        folder: The run's folder; made when absent.

    Attributes:
        path: The file.
        responses: Response of every answered question, by `Question.key`.
        failures: Reason of every question that has no response so far, by key.

    Raises:
        ExecutionError: If a line of the file cannot be read, or the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / RESPONSES
        self.responses: dict[str, Response] = {}
        self.failures: dict[str, Failure] = {}
        for number, line in read_lines(self.path):
            try:
                self._add(str(line["key"]), _outcome(line))
            except (ValueError, KeyError, TypeError):
                raise unreadable(self.path, number) from None

    def append(self, answers: Iterable[tuple[str, str, Question, Response | Failure]]) -> None:
        """Store answers; they are on the disk when this returns.

        Safe among several processes. A response that is stored already is not written again.

        Args:
            answers: Key, the model's fingerprint with its change, question and outcome.

        Raises:
            ExecutionError: If the disk fails.
        """
        new = [answer for answer in answers if answer[0] not in self.responses]
        if new:
            append_lines(self.path, (_line(*answer) for answer in new))
            for key, _, _, outcome in new:
                self._add(key, outcome)

    def _add(self, key: str, outcome: Response | Failure) -> None:
        """Take the first response of a key; a failure only until there is one."""
        if isinstance(outcome, Response):
            self.responses.setdefault(key, outcome)
            self.failures.pop(key, None)
        elif key not in self.responses:
            self.failures[key] = outcome


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


def _outcome(line: dict[str, Any]) -> Response | Failure:
    if "failure" in line:
        return Failure(str(line["failure"]))
    return Response(str(line["text"]), int(line["tokens"]), bool(line["truncated"]))
