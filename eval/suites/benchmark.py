"""What a benchmark is, and how a suite draws samples from one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np

from eval.records import Task
from eval.suites.rows import Rows, hub_rows, local_rows
from surgery.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eval.records import Metric, Picture, Sample
    from eval.suites.rows import Row


@dataclass(frozen=True)
class Benchmark:
    """One published data set: where it is and how a row becomes a sample.

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
    """A task of a suite: which rows of a benchmark, and what is made of the outcomes.

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
            seed: Which ones.

        Raises:
            ExecutionError: If no row belongs to it, or a row cannot be used.
        """
        there = [index for index, row in enumerate(rows.light) if self.keep(row)]
        if not there:
            raise ExecutionError(f"no row of {self.benchmark.name} belongs to {self.name}.")
        chosen = [there[place] for place in drawn(len(there), samples, seed)]
        found = [self.benchmark.sample(rows.whole(index)) for index in chosen]
        made = tuple(replace(one, task=self.name) for one in found)
        return Task(self.name, self.metric, unique_ids(made))


def drawn(count: int, samples: int | None, seed: int) -> list[int]:
    """Which of `count` samples are asked, in order; all of them where `samples` is None or more.

    The reference implementation of arXiv 2602.12395 draws with `numpy.random.RandomState(seed)
    .choice`, without replacement, and so do we.
    """
    if samples is None or samples >= count:
        return list(range(count))
    return sorted(np.random.RandomState(seed).choice(count, samples, replace=False).tolist())


def unique_ids(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples; those whose id is another one's, too, have a number added."""
    seen: dict[str, int] = {}
    found = []
    for sample in samples:
        count = seen[sample.id] = seen.get(sample.id, 0) + 1
        found.append(sample if count == 1 else replace(sample, id=f"{sample.id}#{count}"))
    return tuple(found)


def with_options(question: str, choices: Sequence[str]) -> str:
    """A question with its options, each after its letter."""
    if not choices:
        return question
    lines = [f"{letter}. {text}" for letter, text in zip(ascii_uppercase, choices, strict=False)]
    return "\n".join([f"{question}\n\nChoices:", *lines])


def letter_of(answer: str, choices: Sequence[str], where: str) -> str:
    """The letter of a right answer that is given as a letter, as (letter), or as a text.

    Raises:
        ExecutionError: If it is none of them.
    """
    if answer in choices:
        return ascii_uppercase[choices.index(answer)]
    bare = answer.strip().strip("().").upper()
    if len(bare) == 1 and bare in (ascii_uppercase[: len(choices)] or ascii_uppercase):
        return bare
    raise ExecutionError(f"{where}: the answer {answer!r} is none of the options {list(choices)}.")


def picture_group(pictures: Sequence[Picture]) -> str:
    """What samples about the same images have in common."""
    return sha256("".join(picture.digest for picture in pictures).encode()).hexdigest()[:16]


def known(**categories: object) -> Mapping[str, str]:
    """Categories as text, those without a value left out."""
    return {name: str(value) for name, value in categories.items() if value not in (None, "")}
