"""What a trainer is handed: questions, demonstrations and rewards."""

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
        demonstration: The assistant's turn; "" where nobody gave one.
    """

    name: str
    messages: tuple[dict[str, Any], ...]
    images: tuple[bytes, ...]
    demonstration: str


@dataclass(frozen=True)
class Said:
    """One sampled response, to be rewarded.

    Attributes:
        example: Which of the examples it answers.
        text: What the model said.
        tokens: How long that is, its end token included.
        limit: The most tokens there may be.
        chance: A number from 0 to 1, drawn anew for every response from the run's seed.
    """

    example: int
    text: str
    tokens: int
    limit: int
    chance: float


Reward: TypeAlias = "Callable[[Said], float]"
"""What a response is worth."""


def columns(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """Examples as the columns of TRL's prompt-completion format.

    The column of images is left out where no example has one: TRL takes its presence for a data
    set of images.
    """
    found: dict[str, list[Any]] = {
        "prompt": [list(one.messages) for one in examples],
        "completion": [_assistant(one.demonstration) for one in examples],
        "example": list(range(len(examples))),
    }
    if any(one.images for one in examples):
        found["images"] = [[{"bytes": data} for data in one.images] for one in examples]
    return found


def _assistant(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
