"""Rewards of responses for reinforcement learning: plain functions in one table.

Each takes what is known of a response and gives a number; a configuration names them and weighs
them, and a run logs each for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from eval.grading.grade import format_ok, grade

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eval.records import Sample


@dataclass(frozen=True)
class Rewarded:
    """A response and what it answers.

    Attributes:
        sample: The question.
        text: The response.
        tokens: How long that is.
        limit: The most tokens there may be.
        chance: A number from 0 to 1, drawn for every response.
        form: What a well-formed response looks like, one of `eval.grading.grade.FORMS`.
        grader: How answers are read and compared, one of `eval.grading.grade.GRADERS`.
    """

    sample: Sample
    text: str
    tokens: int
    limit: int
    chance: float
    form: str = "any"
    grader: str = "strict"


def correct(response: Rewarded) -> float:
    """1 if the grader accepts the answer, otherwise 0."""
    return float(grade(response.sample, response.text, response.grader).correct)


def well_formed(response: Rewarded) -> float:
    """1 if the response has the form that was asked for, otherwise 0."""
    return float(format_ok(response.text, response.form))


def exact(response: Rewarded) -> float:
    """1 if the answer is right and the form as well: the product of the two above."""
    return well_formed(response) and correct(response)


def length(response: Rewarded) -> float:
    """0 for a response of up to four fifths of the limit, falling in a line to -1 at the limit.

    The soft overlong punishment of DAPO (arXiv 2503.14476, eq. 13), with a fifth of the limit as
    its L_cache, as there (4,096 of 20,480 tokens).
    """
    cache = response.limit / 5
    return -min(1.0, max(0.0, (response.tokens - (response.limit - cache)) / cache))


def random(response: Rewarded) -> float:
    """1 or 0 by the toss of a coin: a control, whose gain is no work of the reward.

    Shao et al., "Spurious Rewards", arXiv 2506.10947, with a probability of one half.
    """
    return float(response.chance < 0.5)


REWARDS: Final[Mapping[str, Callable[[Rewarded], float]]] = MappingProxyType(
    {
        "correct": correct,
        "format": well_formed,
        "exact": exact,
        "length": length,
        "random": random,
    }
)
"""Rewards by the name that a configuration uses."""

WATCHED: Final = ("correct", "format")
"""Logged by every run, with any reward."""
