"""Read two or three tensors once and sum: compiled loops where they hold, numpy elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from surgery.checkpoint.dtype import DType
from surgery.stats import kernel
from surgery.stats.kernel import BLOCK
from surgery.stats.moments import ETA, TOLERANCE, PairMoments, UpdateMoments
from surgery.stats.read import widen, windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from surgery.stats.read import TensorView

    MomentSums = tuple[list[PairMoments], UpdateMoments]

CHAIN = ((0, 1), (1, 2), (0, 2))
"""The pairs of three tensors, in order; two tensors have only the first pair."""

_NARROW = frozenset({DType.BF16, DType.F16, DType.F32})
_CONVERTED = 1 << 16
"""Elements converted together: the copies stay in cache."""

# Columns of one pair in the tables of the compiled loops.
_SQUARES, _DOT, _SUM, _MAX, _CHANGED, _BEYOND = range(6)


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
    totals = [PairMoments()] * (3 if len(chain) == 3 else 1)
    update = UpdateMoments()
    for low, high in windows(start, views[0].numel if stop is None else stop):
        more, changes = moments_of([v.window(low, high) for v in chain], [v.dtype for v in chain])
        totals = [total + other for total, other in zip(totals, more, strict=True)]
        update += changes
    index_pairs = [(order.index(before), order.index(after)) for before, after in pairs]
    results = [
        totals[CHAIN.index(p)] if p in CHAIN else totals[CHAIN.index(p[::-1])].reversed()
        for p in index_pairs
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


def moments_of(arrays: Sequence[NDArray[Any]], dtypes: Sequence[DType]) -> MomentSums:
    """Return sums over the elements of two tensors, or of three as a chain.

    Args:
        arrays: `Shaped[ndarray, "n"]` each, as `TensorView.window` gives them.
        dtypes: Their element types.

    Returns:
        Sums for each of `CHAIN`, and of the first delta with the second; empty for two tensors.
    """
    if set(dtypes) in ({DType.BF16}, {DType.F32}):
        return _fast(arrays, dtypes)
    narrow = _NARROW.issuperset(dtypes)
    sums = _exact([np.empty(0) for _ in arrays])
    for start, stop in windows(0, arrays[0].size, _CONVERTED):
        parts = [array[start:stop] for array in arrays]
        if narrow:
            numbers = [_widened(p, d, np.float32) for p, d in zip(parts, dtypes, strict=True)]
            more = _fast(numbers, [DType.F32] * len(arrays))
        else:
            more = _exact([_widened(p, d) for p, d in zip(parts, dtypes, strict=True)])
        sums = _sum(sums, more)
    return sums


def _widened(array: NDArray[Any], dtype: DType, to: Any = np.float64) -> NDArray[Any]:
    if array.dtype == to:
        return array
    out = np.empty(array.size, to)
    widen(array, dtype, out)
    out.flags.writeable = False  # one kind of array for the compiled loops
    return out


def _sum(first: MomentSums, other: MomentSums) -> MomentSums:
    return [a + b for a, b in zip(first[0], other[0], strict=True)], first[1] + other[1]


def _fast(arrays: Sequence[NDArray[Any]], dtypes: Sequence[DType]) -> MomentSums:
    """Compiled, all bf16 or all float32; blocks that float32 cannot sum are done exactly."""
    size, models = arrays[0].size, len(arrays)
    rows = -(-size // BLOCK)
    three = models == 3
    table = np.empty((rows, kernel.CHAIN_COLUMNS if three else kernel.PAIR_COLUMNS))
    (kernel.chain_sums if three else kernel.pair_sums)(*arrays, table)
    pairs = CHAIN if three else CHAIN[:1]
    relative = np.empty((rows, len(pairs)))
    for column, (i, j) in enumerate(pairs):
        if dtypes[0] is DType.BF16:
            # Neighbors in bf16 differ by 2^-8 or more of themselves, so any change exceeds 1e-3.
            relative[:, column] = table[:, 2 * models + 6 * column + _CHANGED]
        else:
            kernel.relative_changes(arrays[i], arrays[j], relative[:, column])
    unsafe = _underflowed(table, arrays)
    sums = np.zeros(table.shape[1])
    largest = np.zeros(len(pairs))
    kernel.add_up(table, models, unsafe, sums, largest)
    sums[[2 * models + 6 * column + _MAX for column in range(len(pairs))]] = largest
    numel = size
    again = []
    for row in np.flatnonzero(unsafe):
        parts = [array[row * BLOCK : (row + 1) * BLOCK] for array in arrays]
        again.append(_exact([_widened(p, d) for p, d in zip(parts, dtypes, strict=True)]))
        numel -= parts[0].size
    if again:
        relative = relative[~unsafe]
    moments = _from_sums(sums.tolist(), relative.sum(0), numel, models)
    for more in again:
        moments = _sum(moments, more)
    return moments


def _underflowed(table: NDArray[Any], arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows in which a model's squares are lost although not all of its elements are zero."""
    underflowed = np.zeros(len(table), np.bool_)
    for model, array in enumerate(arrays):
        small = table[:, model] < kernel.TINY
        if small.any():
            kernel.find_nonzero(array, small)
            underflowed |= small
    return underflowed


def _from_sums(sums: list[float], relative: NDArray[Any], numel: int, models: int) -> MomentSums:
    """Name the sums of the compiled loops."""
    moments = []
    for column, (i, j) in enumerate(CHAIN if models == 3 else CHAIN[:1]):
        position = 2 * models + 6 * column
        moments.append(
            PairMoments(
                numel=numel,
                before_squares=sums[i],
                after_squares=sums[j],
                delta_squares=sums[position + _SQUARES],
                before_dot_delta=sums[position + _DOT],
                delta_sum=sums[position + _SUM],
                delta_max=sums[position + _MAX],
                changed=int(sums[position + _CHANGED]),
                changed_1e5=int(sums[position + _BEYOND]),
                changed_bf16=int(relative[column]),
                before_spacing=sums[models + i],
                after_spacing=sums[models + j],
            )
        )
    if models == 2:
        return moments, UpdateMoments()
    first, second = moments[:2]
    update = UpdateMoments(
        numel=numel,
        first_squares=first.delta_squares,
        second_squares=second.delta_squares,
        dot=sums[-3],
        changed_first=first.changed,
        changed_second=second.changed,
        changed_both=int(sums[-2]),
        agreeing=int(sums[-1]),
        shared_spacing=-sums[models + 1],
    )
    return moments, update


def _exact(arrays: Sequence[NDArray[np.float64]]) -> MomentSums:
    """Return the same sums in float64, for values of any size."""
    with np.errstate(over="ignore", invalid="ignore"):
        if len(arrays) == 2:
            return [_exact_pair(*arrays)], UpdateMoments()
        return [_exact_pair(arrays[i], arrays[j]) for i, j in CHAIN], _exact_update(arrays)


def _exact_pair(before: NDArray[np.float64], after: NDArray[np.float64]) -> PairMoments:
    known_before, known_after = np.isfinite(before), np.isfinite(after)
    finite = known_before & known_after
    x, y = before[finite], after[finite]
    d = y - x
    size = np.abs(d)
    return PairMoments(
        numel=before.size,
        before_squares=float(x @ x),
        after_squares=float(y @ y),
        delta_squares=float(d @ d),
        before_dot_delta=float(x @ d),
        delta_sum=float(d.sum()),
        delta_max=float(size.max(initial=0.0)),
        changed=int(np.count_nonzero(d)),
        changed_1e5=int(np.count_nonzero(size > TOLERANCE)),
        changed_bf16=int(np.count_nonzero(size > ETA * np.maximum(np.abs(x), np.abs(y)))),
        before_spacing=float(np.square(_spacing(x)).sum()),
        after_spacing=float(np.square(_spacing(y)).sum()),
        nonfinite_before=int(before.size - np.count_nonzero(known_before)),
        nonfinite_after=int(after.size - np.count_nonzero(known_after)),
    )


def _exact_update(arrays: Sequence[NDArray[np.float64]]) -> UpdateMoments:
    finite = np.isfinite(arrays[0]) & np.isfinite(arrays[1]) & np.isfinite(arrays[2])
    x, y, z = (array[finite] for array in arrays)
    p, q = y - x, z - y
    both = (p != 0) & (q != 0)
    return UpdateMoments(
        numel=finite.size,
        first_squares=float(p @ p),
        second_squares=float(q @ q),
        dot=float(p @ q),
        changed_first=int(np.count_nonzero(p)),
        changed_second=int(np.count_nonzero(q)),
        changed_both=int(np.count_nonzero(both)),
        agreeing=int(np.count_nonzero(both & (np.signbit(p) == np.signbit(q)))),
        shared_spacing=-float(np.square(_spacing(y)).sum()),
        nonfinite=int(finite.size - np.count_nonzero(finite)),
    )


def _spacing(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the spacing of bf16 around `x`; 0 at 0, which every format can represent."""
    exponent = np.frexp(x)[1] - 1  # |x| = m 2^exponent with 1 <= m < 2
    spacing: NDArray[np.float64] = np.ldexp(1.0, np.maximum(exponent, -126) - 7)
    return np.where(x == 0, 0.0, spacing)
