"""Compiled loops over blocks of two or three tensors: every elementwise sum in one read.

A block of 4096 elements of three tensors stays in a core's first cache. Inside it everything is
added up in float32, spread over the lanes of the vector unit, which keeps the relative error of a
sum near 1e-7; from block to block sums continue in float64. Infinities, NaN, overflow, underflow
show in a block's sums, so the loops need not look for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic, overload

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 4096
"""Elements that are summed in float32 before the sum continues in float64."""

TINY = 1e-30
"""Sum of squares below which float32 has lost digits to underflow."""

PAIR_COLUMNS = 10
CHAIN_COLUMNS = 27

_F32 = np.float32
_F64 = np.float64
_U32 = np.uint32
_ZERO = np.float32(0)
_UNIT = np.float32(1)
_TOLERANCE = np.float32(1e-5)
_ETA = np.float32(1e-3)
_EXPONENT = np.uint32(0x7F800000)
_SIGN = np.uint32(0x80000000)
_HALF = np.uint32(16)
# Two spacings of bf16 make 2^-14 of the squared power of two below a value.
_SPACING = np.float32(2.0**-14)
# Share of its terms below which a sum is too much of a difference for float32's seven digits.
_CANCELLED = 0.05
# Sums may be reordered over lanes. Not-a-number and infinity keep their meaning: they must show.
_FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call and keep the result on disk, where a folder can be written."""
    options: dict[str, Any] = {"nogil": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        compiled = numba.njit(**options)(function)
    return compiled


def _value(stored: Any) -> Any:
    """Return a stored element as float32; only for use in compiled code."""
    raise NotImplementedError


@overload(_value, strict=False)  # type: ignore[untyped-decorator]
def _value_in_compiled_code(stored: Any) -> Any:
    if isinstance(stored, types.Integer):  # bf16 is the upper half of float32
        return lambda stored: _U32(_U32(stored) << _HALF).view(_F32)
    return lambda stored: stored


@intrinsic  # type: ignore[untyped-decorator]
def _use_whole_vectors(_: Any) -> Any:
    """Let the compiler use 512-bit registers in the function that calls this, and in no other.

    LLVM avoids them on some processors, where memory-bound loops gain a third by them. An attribute
    of the function says so; `numba.config` would say so to all users of numba in the process.
    """

    def attribute(context: Any, builder: Any, *_: Any) -> Any:
        # LLVM takes any text as an attribute, but llvmlite's own `add` only those it lists.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), attribute


@_compiled
def _pair_block(a: Any, b: Any) -> Any:
    _use_whole_vectors()
    xx = yy = ux = uy = _ZERO
    s = d = xd = n = e = _ZERO
    m = _U32(0)
    for i in range(a.size):
        x, y = _value(a[i]), _value(b[i])
        p = y - x
        size = abs(p)
        px = _U32(_F32(x).view(_U32) & _EXPONENT).view(_F32)
        py = _U32(_F32(y).view(_U32) & _EXPONENT).view(_F32)
        xx += x * x
        yy += y * y
        ux += px * px
        uy += py * py
        d += p * p
        xd += x * p
        s += p
        m = _U32(max(m, _F32(size).view(_U32)))
        n += _UNIT if p != _ZERO else _ZERO
        e += _UNIT if size > _TOLERANCE else _ZERO
    return (xx, yy, ux * _SPACING, uy * _SPACING), (d, xd, s, _U32(m).view(_F32), n, e)


@_compiled
def _chain_block(a: Any, b: Any, c: Any) -> Any:
    """Only sums that cannot be derived from others, because registers are few."""
    _use_whole_vectors()
    xx = ux = uy = uz = dp = dq = xp = xq = pq = sp = sq = _ZERO
    n_p = n_q = n_t = ep = eq = et = both = agree = _ZERO
    mp = mq = mt = _U32(0)
    for i in range(a.size):
        x, y, z = _value(a[i]), _value(b[i]), _value(c[i])
        p, q, t = y - x, z - y, z - x
        size_p, size_q, size_t = abs(p), abs(q), abs(t)
        px = _U32(_F32(x).view(_U32) & _EXPONENT).view(_F32)
        py = _U32(_F32(y).view(_U32) & _EXPONENT).view(_F32)
        pz = _U32(_F32(z).view(_U32) & _EXPONENT).view(_F32)
        xx += x * x
        ux += px * px
        uy += py * py
        uz += pz * pz
        dp += p * p
        dq += q * q
        xp += x * p
        xq += x * q
        pq += p * q
        sp += p
        sq += q
        mp = _U32(max(mp, _F32(size_p).view(_U32)))
        mq = _U32(max(mq, _F32(size_q).view(_U32)))
        mt = _U32(max(mt, _F32(size_t).view(_U32)))
        ep += _UNIT if size_p > _TOLERANCE else _ZERO
        eq += _UNIT if size_q > _TOLERANCE else _ZERO
        et += _UNIT if size_t > _TOLERANCE else _ZERO
        changed_p = _UNIT if p != _ZERO else _ZERO
        changed_q = _UNIT if q != _ZERO else _ZERO
        n_p += changed_p
        n_q += changed_q
        n_t += _UNIT if t != _ZERO else _ZERO
        # Signs by their bits: the product of two tiny numbers would be zero. And no `and` of two
        # conditions, which would keep the loop from being vectorised.
        changed = changed_p * changed_q
        differ = _U32(_F32(p).view(_U32) ^ _F32(q).view(_U32)) & _SIGN
        both += changed
        agree += changed if differ == _U32(0) else _ZERO
    sums = (xx, dp, dq, xp, xq, pq, sp, sq)
    spacings = (ux * _SPACING, uy * _SPACING, uz * _SPACING)
    largest = (_U32(mp).view(_F32), _U32(mq).view(_F32), _U32(mt).view(_F32))
    return sums, spacings, largest, (n_p, n_q, n_t), (ep, eq, et), (both, agree)


@_compiled
def _chain_row(a: Any, b: Any, c: Any) -> Any:
    """Complete a block's sums: with y = x + p and z = y + q the others follow.

    Where the terms cancel, too few digits are left, and the row says so by a NaN.
    """
    sums, spacings, largest, n, e, signs = _chain_block(a, b, c)
    xx, dp, dq, xp = _F64(sums[0]), _F64(sums[1]), _F64(sums[2]), _F64(sums[3])
    xq, pq, sp, sq = _F64(sums[4]), _F64(sums[5]), _F64(sums[6]), _F64(sums[7])
    dt, xt, st = dp + dq + 2 * pq, xp + xq, sp + sq
    yq = xq + pq
    if largest[2] == 0:
        dt, xt, st = _F64(0), _F64(0), _F64(0)
    elif dt < _CANCELLED * (dp + dq):
        xx = _F64(np.nan)
    yy = xx + 2 * xp + dp
    zz = xx + 2 * xt + dt
    if yy < _CANCELLED * (xx + dp) or zz < _CANCELLED * (xx + dt):
        xx = _F64(np.nan)
    first = (dp, xp, sp, _F64(largest[0]), _F64(n[0]), _F64(e[0]))
    second = (dq, yq, sq, _F64(largest[1]), _F64(n[1]), _F64(e[1]))
    third = (dt, xt, st, _F64(largest[2]), _F64(n[2]), _F64(e[2]))
    models = (xx, yy, zz, _F64(spacings[0]), _F64(spacings[1]), _F64(spacings[2]))
    return models + first + second + third + (pq, _F64(signs[0]), _F64(signs[1]))


@_compiled
def pair_sums(a: Any, b: Any, out: Any) -> None:
    """Sum over each block of two tensors.

    Args:
        a: `UInt16[ndarray, "n"]` (bf16) or `Float32[ndarray, "n"]`.
        b: The same.
        out: `Float64[ndarray, "blocks 10"]`, overwritten. Columns: squares of a and b; squared
            bf16 spacings of a and b; then of d = b - a: squares, a d, sum, largest |d|, count
            of d != 0, count of |d| > 1e-5.
    """
    _use_whole_vectors()
    for block in range(out.shape[0]):
        lo = block * BLOCK
        hi = min(lo + BLOCK, a.size)
        models, pair = _pair_block(a[lo:hi], b[lo:hi])
        row = models + pair
        for column in range(PAIR_COLUMNS):
            out[block, column] = row[column]


@_compiled
def chain_sums(a: Any, b: Any, c: Any, out: Any) -> None:
    """Sum over each block of three tensors.

    Args:
        a: `UInt16[ndarray, "n"]` (bf16) or `Float32[ndarray, "n"]`.
        b: The same.
        c: The same.
        out: `Float64[ndarray, "blocks 27"]`, overwritten. Columns: squares of a, b and c; squared
            bf16 spacings of each; the six of `pair_sums` for b - a, then c - b, then c - a; and
            for p = b - a with q = c - b: sum of p q, count of both != 0, and of those the count
            with equal signs. A row with a NaN is not to be used.
    """
    _use_whole_vectors()
    for block in range(out.shape[0]):
        lo = block * BLOCK
        hi = min(lo + BLOCK, a.size)
        row = _chain_row(a[lo:hi], b[lo:hi], c[lo:hi])
        for column in range(CHAIN_COLUMNS):
            out[block, column] = row[column]


@_compiled
def relative_changes(a: Any, b: Any, out: Any) -> None:
    """Count elements with |b - a| > 1e-3 max(|a|, |b|) in each block.

    Args:
        a: `Float32[ndarray, "n"]`.
        b: The same.
        out: `Float64[ndarray, "blocks"]`, overwritten.
    """
    _use_whole_vectors()
    for block in range(out.shape[0]):
        lo = block * BLOCK
        u = a[lo : min(lo + BLOCK, a.size)]
        v = b[lo : min(lo + BLOCK, a.size)]
        count = _ZERO
        for i in range(u.size):
            x, y = abs(u[i]), abs(v[i])
            count += _UNIT if abs(v[i] - u[i]) > _ETA * (x if x > y else y) else _ZERO
        out[block] = count


@_compiled
def find_nonzero(a: Any, rows: Any) -> None:
    """Clear the flags of blocks in which every element is zero.

    Args:
        a: `UInt16[ndarray, "n"]` (bf16) or `Float32[ndarray, "n"]`.
        rows: `Bool[ndarray, "blocks"]`; blocks whose flag is not set are not looked at.
    """
    _use_whole_vectors()
    for block in range(rows.shape[0]):
        if rows[block]:
            has_nonzero = False
            for i in range(block * BLOCK, min((block + 1) * BLOCK, a.size)):
                has_nonzero |= _value(a[i]) != _ZERO
            rows[block] = has_nonzero


@_compiled
def add_up(table: Any, models: int, unsafe: Any, sums: Any, largest: Any) -> None:
    """Add the rows of a table that can be used, and flag the others.

    Args:
        table: `Float64[ndarray, "blocks columns"]` from `pair_sums` or `chain_sums`.
        models: 2 or 3.
        unsafe: `Bool[ndarray, "blocks"]`; flagged rows are omitted. Rows in which
            something is not finite, overflowed or underflowed are flagged, too.
        sums: `Float64[ndarray, "columns"]`, added to.
        largest: `Float64[ndarray, "pairs"]`, raised to the largest |d|.
    """
    pairs = 1 if models == 2 else 3
    for row in range(table.shape[0]):
        good = not unsafe[row]
        for column in range(table.shape[1]):
            good &= np.isfinite(table[row, column])
        for pair in range(pairs):
            position = 2 * models + 6 * pair
            good &= not (table[row, position] < TINY and table[row, position + 3] > 0)
        unsafe[row] = not good
        if good:
            for column in range(table.shape[1]):
                sums[column] += table[row, column]
            for pair in range(pairs):
                largest[pair] = max(largest[pair], table[row, 2 * models + 6 * pair + 3])
