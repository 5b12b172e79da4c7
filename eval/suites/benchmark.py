"""Benchmarks, and the selection of a suite's samples from one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Final

import numpy as np

from eval.grading.normalise import words
from eval.records import Task
from eval.suites.rows import Rows, hub_rows, local_rows
from surgery.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eval.records import Metric, Picture, Sample
    from eval.suites.rows import Row


_FEWEST: Final = 2


@dataclass(frozen=True)
class Benchmark:
    """One published data set: its location and the conversion of rows to samples.

    Attributes:
        name: What a local copy is called with `--data`.
        hub: Its id on the Hub.
        split: Which part is asked.
        files: Where a copy of the Hub's repository keeps that part, as globs.
        sample: A row to a sample, its images among it.
        configs: Configurations that are taken together.
        images: Columns that hold images.
        columns: Columns that a row must have.
    """

    name: str
    hub: str
    split: str
    files: tuple[str, ...]
    sample: Callable[[Row], Sample]
    columns: tuple[str, ...]
    configs: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    def rows(self, folder: str | None) -> Rows:
        """All rows, from the Hub or from a local folder.

        Raises:
            ExecutionError: If they cannot be loaded, or lack a column.
        """
        if folder is None:
            rows = hub_rows(self.hub, self.configs, self.split, self.images)
        else:
            rows = local_rows(Path(folder), self.files, self.configs, self.images)
        if not rows.light:
            raise ExecutionError(f"{folder or self.hub} holds no rows.")
        for column in self.columns:
            rows.light[0][column]
        return rows


@dataclass(frozen=True)
class BenchmarkTask:
    """A task of a suite: its rows of a benchmark, and its metric.

    Attributes:
        name: The task's name.
        benchmark: Where its samples come from.
        metric: What is made of them.
        keep: Whether a row belongs to it; images are not in the row.
    """

    name: str
    benchmark: Benchmark
    metric: Metric
    keep: Callable[[Row], bool] = field(default=lambda _: True)

    def task(self, rows: Rows, samples: int | None, seed: int) -> Task:
        """Draw the task's samples.

        Args:
            rows: The benchmark's.
            samples: How many; None takes all.
            seed: Seed of the selection.

        Raises:
            ExecutionError: If no row belongs to it, or a row cannot be used.
        """
        indexes = [index for index, row in enumerate(rows.light) if self.keep(row)]
        if not indexes:
            raise ExecutionError(f"no row of {self.benchmark.name} belongs to {self.name}.")
        selected = [indexes[place] for place in draw_indexes(len(indexes), samples, seed)]
        samples_read = [self.benchmark.sample(rows.whole(index)) for index in selected]
        renamed = tuple(replace(sample, task=self.name) for sample in samples_read)
        return Task(self.name, self.metric, unique_ids(renamed))


def draw_indexes(count: int, samples: int | None, seed: int) -> list[int]:
    """Return the selected of `count` samples, in order; all if `samples` is None or more.

    The reference implementation of arXiv 2602.12395 draws with `numpy.random.RandomState(seed)
    .choice`, without replacement, and so do we.
    """
    if samples is None or samples >= count:
        return list(range(count))
    return sorted(np.random.RandomState(seed).choice(count, samples, replace=False).tolist())


def unique_ids(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Yield the samples; a number is appended to repeated ids."""
    counts: dict[str, int] = {}
    unique = []
    for sample in samples:
        count = counts[sample.id] = counts.get(sample.id, 0) + 1
        unique.append(sample if count == 1 else replace(sample, id=f"{sample.id}#{count}"))
    return tuple(unique)


def with_options(question: str, choices: Sequence[str]) -> str:
    """Return a question with its options, each after its letter."""
    return f"{question}\n\nChoices:\n{listed(choices, '{}. {}')}" if choices else question


def listed(choices: Sequence[str], form: str) -> str:
    """Return a line for each option: its letter and its text in a format such as `({}) {}`."""
    return "\n".join(
        form.format(letter, text) for letter, text in zip(ascii_uppercase, choices, strict=False)
    )


_OPTION_LINE: Final = re.compile(r"^[ \t]*\(?([A-H])\)?[ \t]*[:.)][ \t]*(\S.*)$", re.MULTILINE)
_OPTION_HEADING: Final = re.compile(r"\b(?:Choices?|Options?) ?:", re.IGNORECASE)
_INLINE_OPTION: Final = re.compile(r"(?:^|\s)\(?([A-H])\)?\s?[:.)]\s?")


def options_in(question: str) -> tuple[str, ...]:
    r"""Return the texts of options in a question, after `Choices:` or in lines of their own.

    Args:
        question: For example `... Choices:\nA:62°\nB:28°`.

    Returns:
        The texts, A first; empty if the letters are not A, B, ... in order.
    """
    heading = list(_OPTION_HEADING.finditer(question))
    rest = question[heading[-1].end() :] if heading else question
    options = [(hit[1], hit[2].strip()) for hit in _OPTION_LINE.finditer(rest)]
    if heading and len(options) < _FEWEST:
        parts = _INLINE_OPTION.split(rest)
        options = [(a, b.strip()) for a, b in zip(parts[1::2], parts[2::2], strict=True)]
    letters = "".join(letter for letter, _ in options)
    in_order = len(letters) >= _FEWEST and ascii_uppercase.startswith(letters)
    return tuple(text for _, text in options) if in_order else ()


def letter_of(
    answer: str, choices: Sequence[str], location: str, *, letters_first: bool = False
) -> str:
    """Return the letter of a correct answer given as a letter, as (letter), or as a text.

    Args:
        answer: The answer as the data set has it.
        choices: Texts of the options; empty if they are unknown.
        location: The row, for an error.
        letters_first: Whether the data set gives letters. Then a letter is one even where an
            option's text is a letter, too: options E, B, C, A with answer A.

    Raises:
        ExecutionError: If it is none of them.
    """
    bare = answer.strip().strip("().").upper()
    is_letter = len(bare) == 1 and bare in (ascii_uppercase[: len(choices)] or ascii_uppercase)
    if is_letter and (letters_first or answer not in choices):
        return bare
    if answer in choices:
        return ascii_uppercase[choices.index(answer)]
    same = [index for index, choice in enumerate(choices) if words(choice) == words(answer)]
    if len(same) == 1:
        return ascii_uppercase[same[0]]
    raise ExecutionError(
        f"{location}: the answer {answer!r} is none of the options {list(choices)}."
    )


def picture_group(pictures: Sequence[Picture]) -> str:
    """Return the group of samples about the same images."""
    return sha256("".join(picture.digest for picture in pictures).encode()).hexdigest()[:16]


def known_categories(**categories: object) -> Mapping[str, str]:
    """Return categories as text, without those that have no value."""
    return {name: str(value) for name, value in categories.items() if value not in (None, "")}
