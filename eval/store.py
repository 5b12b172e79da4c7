"""Responses as they come, kept so that an interrupted run goes on where it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eval.records import Failure, Response
from surgery.runs.lines import append_lines, read_lines, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from eval.asks import Ask

RESPONSES: Final = "responses.jsonl"


@dataclass(frozen=True)
class Kept:
    """A response with what it answers.

    Attributes:
        key: sha256 of all that it depends on.
        variant: Content fingerprint of the model.
        sample: Fingerprint of the sample.
        condition: What was shown.
        repeat: Which of several answers it is.
        outcome: The response, or why there is none.
    """

    key: str
    variant: str
    sample: str
    condition: str
    repeat: int
    outcome: Response | Failure

    @classmethod
    def of(cls, ask: Ask, variant: str, outcome: Response | Failure) -> Kept:
        """What to keep of an answered question."""
        return cls(ask.key, variant, ask.sample.fingerprint, ask.condition, ask.repeat, outcome)

    def line(self) -> dict[str, Any]:
        """The record as it stands in the file."""
        record: dict[str, Any] = {
            "key": self.key,
            "variant": self.variant,
            "sample": self.sample,
            "condition": str(self.condition),
            "repeat": self.repeat,
        }
        if isinstance(self.outcome, Failure):
            return {**record, "failure": self.outcome.reason}
        response = self.outcome
        return {
            **record,
            "text": response.text,
            "tokens": response.tokens,
            "truncated": response.truncated,
        }


class Store:
    """The responses of one run, in an append-only file.

    Args:
        folder: The run's folder; made when absent.

    Raises:
        ExecutionError: If a line of the file cannot be read, or the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / RESPONSES
        self.responses: dict[str, Response] = {}
        self.failures: dict[str, Failure] = {}
        for number, line in read_lines(self.path):
            try:
                self._take([_record(line)])
            except (ValueError, KeyError, TypeError):
                raise unreadable(self.path, number) from None

    def append(self, records: Iterable[Kept]) -> None:
        """Keep records; they are on the disk when this returns.

        Safe among several processes. What is kept already is not written again.

        Raises:
            ExecutionError: If the disk fails.
        """
        new = [record for record in records if record.key not in self.responses]
        if new:
            append_lines(self.path, (record.line() for record in new))
            self._take(new)

    def _take(self, records: Iterable[Kept]) -> None:
        """The first response counts; a failure only until there is one."""
        for record in records:
            if isinstance(record.outcome, Response):
                self.responses.setdefault(record.key, record.outcome)
                self.failures.pop(record.key, None)
            elif record.key not in self.responses:
                self.failures[record.key] = record.outcome


def _record(found: dict[str, Any]) -> Kept:
    place = [str(found[name]) for name in ("key", "variant", "sample", "condition")]
    outcome: Response | Failure
    if "failure" in found:
        outcome = Failure(str(found["failure"]))
    else:
        outcome = Response(str(found["text"]), int(found["tokens"]), bool(found["truncated"]))
    return Kept(place[0], place[1], place[2], place[3], int(found["repeat"]), outcome)
