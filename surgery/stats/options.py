"""The scope of a study: compared checkpoints and measures."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import TYPE_CHECKING

from surgery.errors import PlanError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from surgery.arch.site import Component
    from surgery.recipe.select import Selector

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

MOST_MODELS = 3
"""As many checkpoints are read side by side."""


class SpectrumKind(StrEnum):
    """The singular values that are computed."""

    NONE = "none"
    TOP = "top"
    FULL = "full"


@dataclass(frozen=True)
class Options:
    """The selection of tensors, pairs and measures, and the resources of a study.

    Attributes:
        selector: Which tensors; all when None.
        pairs: Pairs as `before..after`; neighbors and then the ends when empty.
        spectrum: No singular values, the largest, or all of them.
        top: Number of leading singular values and vectors.
        cuts: First layer of mid and of late per component; thirds where absent.
        workers: Threads; one per processor when None.
        memory: Memory budget of spectra in bytes; a spectrum waits until it fits. None: enough for
            the largest and 200 MB.
        device: Device of spectra: `cpu`, `cuda`, or `auto` for a GPU if there is one.
    """

    selector: Selector | None = None
    pairs: tuple[str, ...] = ()
    spectrum: SpectrumKind = SpectrumKind.TOP
    top: int = 64
    cuts: Mapping[Component, tuple[int, int]] = field(default_factory=dict)
    workers: int | None = None
    memory: int | None = None
    device: str = "auto"


@dataclass(frozen=True)
class CheckpointPair:
    """An update: the checkpoint before it and the one after it, by name."""

    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.before}..{self.after}"


def parse_pair(text: str, models: Sequence[str]) -> CheckpointPair:
    """Read `before..after`.

    Args:
        text: What the user wrote.
        models: The names there are.

    Raises:
        PlanError: If it is not of that form, or names a model that is not given.
    """
    before, dots, after = (part.strip() for part in text.partition(".."))
    if not (before and dots and after):
        raise PlanError(f"pair {text!r} is not BEFORE..AFTER, such as {models[0]}..{models[-1]}.")
    for name in (before, after):
        if name not in models:
            raise PlanError(
                f"pair {text!r} names {name!r}, which is not a model.{did_you_mean(name, models)}"
            )
    if before == after:
        raise PlanError(f"pair {text!r} compares {before!r} with itself.")
    return CheckpointPair(before, after)


def choose_pairs(models: Sequence[str], texts: Sequence[str] = ()) -> tuple[CheckpointPair, ...]:
    """Return the pairs to measure; the first two are the updates that are compared with each other.

    Args:
        models: Names of two or three checkpoints, in the order of training.
        texts: Pairs as the user wrote them; neighbors and then the ends when empty.

    Raises:
        PlanError: If there are not two or three models, or a pair makes no sense.
    """
    if not 2 <= len(models) <= MOST_MODELS:
        raise PlanError(
            f"two or three checkpoints can be compared, found {len(models)}"
            f"{': ' + ', '.join(models) if models else ''}. Give --base, --in and --rl, or "
            f"--model NAME=REF for other names."
        )
    for name in models:
        if not _NAME.fullmatch(name) or ".." in name:
            raise PlanError(
                f"{name!r} cannot be a model name here: names appear in columns and figures. "
                f"Expected letters, digits, '_', '-' and single dots, such as rl-step200."
            )
    if texts:
        return tuple(dict.fromkeys(parse_pair(text, models) for text in texts))
    neighbors = [CheckpointPair(models[i], models[i + 1]) for i in range(len(models) - 1)]
    ends = [
        CheckpointPair(a, b)
        for a, b in combinations(models, 2)
        if CheckpointPair(a, b) not in neighbors
    ]
    return (*neighbors, *ends)


def compared(pairs: Sequence[CheckpointPair]) -> tuple[int, int] | None:
    """Return the indices of the two updates to compare, or None with a single pair.

    A pair and its reverse have nothing to tell each other.
    """
    if len(pairs) < 2 or {pairs[0].before, pairs[0].after} == {pairs[1].before, pairs[1].after}:
        return None
    return 0, 1
