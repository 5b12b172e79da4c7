"""Samples to learn from: a mixture of tasks, drawn from a seed, and never from a benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eval.suites import specimen
from eval.suites.custom import load_custom
from eval.suites.table import SUITES
from surgery.errors import SurgeryError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from eval.records import Sample


def lessons(
    suites: Sequence[str],
    tasks: Mapping[str, float],
    samples: int | None,
    seed: int,
    folder: Path,
) -> list[Sample]:
    """Draw samples to train on.

    The specimen's come without end from the part of its world that is never asked of anyone. Those
    of a file are taken in an order of their own, over again where more are wanted than there are.

    Args:
        suites: `specimen`, or YAML files of custom suites, relative to `folder`.
        tasks: Weights by task; by their number of samples when empty.
        samples: How many; None takes each sample of the files once.
        seed: Which, and in what order.
        folder: Where the files are.

    Raises:
        SurgeryError: If there is no such suite or task, the suite is a published benchmark, or the
            specimen is asked for without a number.
    """
    pools: dict[str, Iterator[Sample]] = {}
    sizes: dict[str, int] = {}
    for name in suites:
        _refuse_benchmark(name)
        if name == specimen.NAME:
            _refuse_twice(specimen.TRAINED, pools)
            if samples is None:
                raise SurgeryError(
                    "the specimen has unlimited questions; set their number with 'samples'."
                )
            pools |= {task: specimen.lessons(task, seed) for task in specimen.TRAINED}
            sizes |= dict.fromkeys(specimen.TRAINED, 1)
            continue
        for task in load_custom(folder / name, None, seed).tasks:
            _refuse_twice([task.name], pools)
            pools[task.name] = _endless(task.samples, seed)
            sizes[task.name] = len(task.samples)
    for weight in tasks:
        if weight not in pools:
            near = did_you_mean(weight, pools)
            raise SurgeryError(f"there is no task {weight!r} to train on.{near}")
    weights = tasks or sizes
    if samples is None and not tasks:
        task_names = [name for name, size in sizes.items() for _ in range(size)]
        np.random.default_rng([seed, 79]).shuffle(task_names)
    else:
        shares = np.array(list(weights.values()), dtype=np.float64)
        count = samples or sum(sizes[name] for name in weights)
        indexes = np.random.default_rng([seed, 79]).choice(
            len(shares), size=count, p=shares / shares.sum()
        )
        task_names = [list(weights)[index] for index in indexes]
    return [next(pools[name]) for name in task_names]


def _refuse_benchmark(name: str) -> None:
    if name in SUITES:
        raise SurgeryError(
            f"{name!r} is a benchmark: a model that has trained on it cannot be measured with it. "
            "Train on the YAML of a custom suite, or on the specimen's training questions."
        )
    if name != specimen.NAME and not name.endswith((".yaml", ".yml")):
        near = did_you_mean(name, [specimen.NAME])
        raise SurgeryError(f"there is no suite {name!r} to train on.{near} A custom suite is a "
                           ".yaml file.")  # fmt: skip


def _refuse_twice(names: Iterable[str], known_names: Mapping[str, object]) -> None:
    for name in names:
        if name in known_names:
            raise SurgeryError(
                f"two suites to train on have a task {name!r}; give one of them another 'name'."
            )


def _endless(samples: Sequence[Sample], seed: int) -> Iterator[Sample]:
    """All samples in one order after another."""
    source = np.random.default_rng([seed, 80])
    while True:
        for index in source.permutation(len(samples)):
            yield samples[index]
