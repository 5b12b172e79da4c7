"""The inputs of a trainer: questions, demonstrations and rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias


@dataclass(frozen=True)
class Example:
    """One question.

    Attributes:
        name: What to call it in an error.
        messages: Turns as chat templates take them: a role, and content of texts and of places
            for images, `{"type": "text", "text": ...}` and `{"type": "image"}`.
        images: Encoded files, one per place, in order.
        demonstration: The assistant's turn; "" without one.
    """

    name: str
    messages: tuple[dict[str, Any], ...]
    images: tuple[bytes, ...]
    demonstration: str


@dataclass(frozen=True)
class SampledResponse:
    """One sampled response, to be rewarded.

    Attributes:
        example: Which of the examples it answers.
        text: The model's response.
        tokens: How long that is, its end token included.
        limit: The most tokens there may be.
        chance: A number from 0 to 1, drawn for every response from the run's seed.
    """

    example: int
    text: str
    tokens: int
    limit: int
    chance: float


Reward: TypeAlias = "Callable[[SampledResponse], float]"
"""A function that scores a response."""


def columns(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """Examples as the columns of TRL's prompt-completion format.

    The column of images is omitted if no example has one: TRL treats its presence as a data
    set of images.
    """
    table: dict[str, list[Any]] = {
        "prompt": [list(example.messages) for example in examples],
        "completion": [_assistant(example.demonstration) for example in examples],
        "example": list(range(len(examples))),
    }
    if any(example.images for example in examples):
        table["images"] = [[{"bytes": data} for data in example.images] for example in examples]
    return table


def _assistant(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
