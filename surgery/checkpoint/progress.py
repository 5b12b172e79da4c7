"""The callback through which long operations report progress."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A receiver of progress, such as a bar, called from any thread."""

    def __call__(self, nbytes: int, /) -> object:
        """Count bytes that are done since the last call."""


def no_progress(nbytes: int) -> None:
    """Count nothing."""
