"""Early, mid and late: a stack of layers cut in three."""

from __future__ import annotations

from enum import StrEnum

from surgery.errors import RecipeError


class Region(StrEnum):
    """A third of a component's layers, or the layers between two cuts."""

    EARLY = "early"
    MID = "mid"
    LATE = "late"


def regions(n: int, cuts: tuple[int, int] | None = None) -> dict[str, range]:
    """Cut a stack of layers into early, mid and late.

    The default cuts, n//3 and 2n//3, are those of arXiv 2602.12395.

    Args:
        n: Number of layers.
        cuts: The first layer of mid and the first layer of late; thirds when None.

    Returns:
        A half-open range for each `Region`; together they are `range(n)`. With fewer than three
        layers and no cuts, a region may be empty.

    Raises:
        RecipeError: If the cuts leave a region empty or lie outside the stack.
    """
    first, second = (n // 3, 2 * n // 3) if cuts is None else cuts
    if cuts is not None and not 0 < first < second < n:
        raise RecipeError(
            f"cuts [{first}, {second}] do not cut {n} layers into three regions. Expected two"
            f" layer numbers a < b, both from 1 to {n - 1}: early is [0, a), mid [a, b),"
            f" late [b, {n})."
        )
    return {
        Region.EARLY: range(first),
        Region.MID: range(first, second),
        Region.LATE: range(second, n),
    }
