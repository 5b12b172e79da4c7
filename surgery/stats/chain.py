"""Read two or three tensors once, whichever of their pairs are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.stats.elementwise import CHAIN, moments_of
from surgery.stats.moments import PairMoments, UpdateMoments
from surgery.stats.read import windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surgery.stats.read import TensorView


def measure(
    views: Sequence[TensorView],
    pairs: Sequence[tuple[int, int]],
    compare: tuple[int, int] | None = None,
    start: int = 0,
    stop: int | None = None,
) -> tuple[list[PairMoments], UpdateMoments | None]:
    """Read elements [start, stop) of two or three tensors once, and sum.

    Cuts at multiples of 4096 elements leave every sum as it is but for rounding in float64; others
    change the seventh digit.

    Args:
        views: The tensors, of equal shape; element types may differ.
        pairs: Before and after of each pair, as indices into `views`.
        compare: Two pairs whose deltas are compared, as indices into `pairs`; they must have one
            tensor in common. Takes three tensors.
        start: First element.
        stop: Behind the last one; the end when None.

    Returns:
        Sums for each pair, and for the comparison if there is one.

    Raises:
        CheckpointError: If a file is shorter than its header says.
        ValueError: If shapes differ or the pairs to compare do not share one tensor.
    """
    if len({view.shape for view in views}) > 1:
        shapes = ", ".join(str(list(view.shape)) for view in views)
        raise ValueError(f"{views[0].name}: shapes differ: {shapes}")
    if not pairs:
        return [], None
    order, sign = tuple(range(len(views))), 1
    if compare is not None:
        order, sign = _chained(pairs[compare[0]], pairs[compare[1]])
    chain = [views[i] for i in order]
    found = [PairMoments()] * (3 if len(chain) == 3 else 1)
    update = UpdateMoments()
    for low, high in windows(start, views[0].numel if stop is None else stop):
        more, changes = moments_of([v.window(low, high) for v in chain], [v.dtype for v in chain])
        found = [one + other for one, other in zip(found, more, strict=True)]
        update += changes
    asked = [(order.index(before), order.index(after)) for before, after in pairs]
    results = [
        found[CHAIN.index(p)] if p in CHAIN else found[CHAIN.index(p[::-1])].reversed()
        for p in asked
    ]
    return results, None if compare is None else update.turned(sign)


def _chained(first: tuple[int, int], second: tuple[int, int]) -> tuple[tuple[int, ...], int]:
    """Order the tensors as x, y, z, with x and y the first pair and y and z the second.

    Returns:
        The order, and -1 if exactly one of the deltas y - x and z - y is the asked one reversed.
    """
    shared = set(first) & set(second)
    if len(shared) != 1:
        raise ValueError(f"pairs {first} and {second} must have one tensor in common")
    (y,) = shared
    (x,), (z,) = set(first) - shared, set(second) - shared
    return (x, y, z), 1 if (first[1] == y) == (second[0] == y) else -1
