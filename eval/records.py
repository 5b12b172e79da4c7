"""What the harness passes around: small frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Sample:
    """One question.

    Attributes:
        id: Unique in its suite.
        suite: Where it comes from.
        task: Which skill it asks for.
        prompt: The question, without chat template.
        image: What it is about, or None for a question in text alone.
        answer: The right answer.
    """

    id: str
    suite: str
    task: str
    prompt: str
    image: Image | None
    answer: str


@dataclass(frozen=True)
class Response:
    """What a model said to one sample.

    Attributes:
        sample: The sample's id.
        text: The new text, special tokens left out.
        tokens: Number of new tokens, the end of turn among them.
        truncated: Whether it was cut off at the token limit.
    """

    sample: str
    text: str
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class Grade:
    """Whether a response is right.

    Attributes:
        sample: The sample's id.
        answer: What was read out of the response, or None where it gave no answer.
        correct: Whether that is the right answer.
    """

    sample: str
    answer: str | None
    correct: bool


@dataclass(frozen=True)
class Score:
    """One model on one task.

    Attributes:
        task: The task.
        n: Number of samples.
        correct: How many were right.
        answered: How many responses held an answer at all.
        low: Lower end of the 95% interval of the accuracy.
        high: Its upper end.
    """

    task: str
    n: int
    correct: int
    answered: int
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.correct / self.n
