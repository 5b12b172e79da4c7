"""The exception tree.

Everything a user can cause is a `SurgeryError`; the command line prints it as one paragraph and
exits with 2. Anything else that escapes is a bug.

    SurgeryError
    ├── CheckpointError      a folder, file, header, adapter or Hub reference that cannot be used
    ├── ArchitectureError    tensors and configuration that do not fit together
    ├── RecipeError          a recipe or selector that says something impossible; knows its place
    ├── PlanError            recipe and checkpoints, each fine alone, that do not go together
    ├── ExecutionError       disk, memory or files that failed while a plan was carried out
    └── PublishError         a merge that may not go to the Hub, or a Hub that does not take it
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class SurgeryError(Exception):
    """An error in the input: states what was found, where, and what was expected."""


class CheckpointError(SurgeryError):
    """A checkpoint cannot be read or written safely."""


class ArchitectureError(SurgeryError):
    """The tensors of a checkpoint do not fit its configuration."""


@dataclass(frozen=True)
class Place:
    """A position in a text; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class RecipeError(SurgeryError):
    """A recipe or selector is not valid.

    Args:
        message: What was found and what was expected.
        place: Where it stands, when the text came from a file.
    """

    def __init__(self, message: str, place: Place | None = None) -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.message = message
        self.place = place


class PlanError(SurgeryError):
    """A recipe does not fit the checkpoints it is given."""


class ExecutionError(SurgeryError):
    """A plan could not be carried out; nothing was left behind."""


class PublishError(SurgeryError):
    """Something cannot be published; says what is on the Hub, if anything is."""


_SHORTAGES = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "start new thread",
    "failed to map segment",
    "unable to mmap",
    "bad_alloc",
)
"""Texts of out-of-memory errors that are no MemoryError; compared in lower case."""


def shortage(error: BaseException | None) -> BaseException | None:
    """Return the error in a chain that says that memory or threads ran out, if one does."""
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        visited.add(id(error))
        short = isinstance(error, MemoryError) or (
            isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN)
        )
        if short or says_shortage(str(error)):
            return error
        error = error.__cause__ or error.__context__
    return None


def says_shortage(text: str) -> bool:
    """Check that a library's message is about memory or threads that ran out."""
    return any(words in text.lower() for words in _SHORTAGES)


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, or its type if it has no text."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def check_choice(label: str, name: str, choices: Iterable[str]) -> None:
    """Refuse a name that is not among the choices.

    Args:
        label: The argument or option that takes the name.
        name: The name.
        choices: What it may be.

    Raises:
        SurgeryError: Names the nearest choice.
    """
    names = list(choices)
    if name not in names:
        raise SurgeryError(f"{label}: there is no {str(name)!r}.{did_you_mean(name, names)}")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Name the nearest valid word, or all of them when none is near.

    Args:
        word: What the user wrote.
        choices: What would have been valid.

    Returns:
        A sentence that starts with a space, ready to append to a message; empty without choices.
    """
    valid = [str(choice) for choice in choices]  # members of enums among them
    near = get_close_matches(word, valid, n=1, cutoff=0.6)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Expected one of: {', '.join(valid)}." if valid else ""
