"""Decoding options: the settings that a response depends on, besides model and question."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

PAPER_PIXELS: Final = 1280 * 720
"""Most pixels of an image in the reference implementation of arXiv 2602.12395."""


@dataclass(frozen=True)
class Generation:
    """Settings of generation.

    Attributes:
        max_new_tokens: Longest answer; None takes each suite's own limit.
        temperature: 0 takes the likeliest token every time; above 0 samples.
        top_p: Nucleus that is sampled from.
        repeats: Answers per question; more than 1 only makes sense when sampling.
        seed: Where sampling starts.
        max_pixels: Larger images are made smaller; None never does.
    """

    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    repeats: int = 1
    seed: int = 0
    max_pixels: int | None = PAPER_PIXELS

    @property
    def greedy(self) -> bool:
        """True if decoding is deterministic."""
        return self.temperature == 0

    @property
    def answers(self) -> int:
        """Number of different answers to a question."""
        return 1 if self.greedy else self.repeats

    def within(self, limit: int) -> Self:
        """Return the options with a suite's token limit if they have none."""
        return self if self.max_new_tokens is not None else replace(self, max_new_tokens=limit)

    def settings(self) -> dict[str, Any]:
        """Return the options that one response depends on; not repeats, nor an unused seed."""
        settings = asdict(self)
        for name in ("repeats", "max_pixels", *(("top_p", "seed") if self.greedy else ())):
            del settings[name]  # images are part of what is asked
        return settings
