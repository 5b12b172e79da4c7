"""What to measure and with how much."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.arch.site import Component
    from surgery.recipe.select import Selector


class SpectrumKind(StrEnum):
    """How much of the singular values is worked out."""

    NONE = "none"
    TOP = "top"
    FULL = "full"


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        selector: Which tensors; all when None.
        pairs: Pairs as `before..after`; neighbours and then the ends when empty.
        spectrum: No singular values, the largest, or all of them.
        top: How many singular values and vectors are looked at.
        cuts: First layer of mid and of late per component; thirds where absent.
        workers: Threads; one per processor when None.
        memory: Most bytes that spectra may take at once, beyond which one waits for another; what
            the largest needs and 200 MB when None.
        device: Where spectra are worked out: `cpu`, `cuda`, or `auto` for a GPU where there is one.
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
class Decomposition:
    """How to look at matrices.

    Attributes:
        kind: No singular values, the largest, or all.
        k: How many vectors.
        device: Where to compute.
    """

    kind: SpectrumKind
    k: int
    device: str
