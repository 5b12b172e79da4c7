"""Compiled loops over blocks of two or three tensors: every elementwise sum in one read.

A block of 4096 elements of three tensors stays in a core's first cache. Inside it everything is
added up in float32, spread over the lanes of the vector unit, which keeps the relative error of a
sum near 1e-7; from block to block sums go on in float64. Infinities, NaN, overflow and underflow
show in a block's sums, so the loops need not look for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import llvmlite.binding
import numba
import numpy as np
from numba.core import types
from numba.extending import overload

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 4096
"""Elements whose sums are formed in float32 before they go on in float64."""

PAIR_COLUMNS = 10
CHAIN_COLUMNS = 27

_F32 = np.float32
_U32 = np.uint32
_ZERO = np.float32(0)
_ONE = np.float32(1)
_TOLERANCE = np.float32(1e-5)
_ETA = np.float32(1e-3)
_EXPONENT = np.uint32(0x7F800000)
_SIGN = np.uint32(0x80000000)
_HALF = np.uint32(16)
# Two spacings of bf16 make 2^-14 of the squared power of two below a value.
_SPACING = np.float32(2.0**-14)
# Sums may be reordered over lanes. Not-a-number and infinity keep their meaning: they must show.
_FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


def _use_whole_vectors() -> None:
    """Let the compiler use 512-bit registers, which it avoids by default on some processors.

    Memory-bound loops gain a third by them. A user's own NUMBA_CPU_* settings stay.
    """
    if numba.config.CPU_NAME is not None or numba.config.CPU_FEATURES is not None:
        return
    try:
        features = llvmlite.binding.get_host_cpu_features()
    except RuntimeError:  # unknown processor: the compiler's default
        return
    if features.get("avx512f"):
        numba.config.CPU_FEATURES = features.flatten() + ",-prefer-256-bit"


_use_whole_vectors()


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call and keep the result on disk, where a folder can be written."""
    options: dict[str, Any] = {"nogil": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    try:
        kept: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        kept = numba.njit(**options)(function)
    return kept


def _value(stored: Any) -> Any:
    """A stored element as float32; only for use in compiled code."""
    raise NotImplementedError


@overload(_value, strict=False)  # type: ignore[untyped-decorator]
def _value_in_compiled_code(stored: Any) -> Any:
    if isinstance(stored, types.Integer):  # bf16 is the upper half of float32
        return lambda stored: _U32(_U32(stored) << _HALF).view(_F32)
    return lambda stored: stored


@_compiled
def _pair_block(a: Any, b: Any) -> Any:
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
        n += _ONE if p != _ZERO else _ZERO
        e += _ONE if size > _TOLERANCE else _ZERO
    return (xx, yy, ux * _SPACING, uy * _SPACING), (d, xd, s, _U32(m).view(_F32), n, e)


@_compiled
def _chain_squares(a: Any, b: Any, c: Any) -> Any:
    """The part of a block's sums that are products."""
    xx = yy = zz = ux = uy = uz = _ZERO
    dp = dq = dt = xp = yq = xt = pq = _ZERO
    for i in range(a.size):
        x, y, z = _value(a[i]), _value(b[i]), _value(c[i])
        p, q, t = y - x, z - y, z - x
        px = _U32(_F32(x).view(_U32) & _EXPONENT).view(_F32)
        py = _U32(_F32(y).view(_U32) & _EXPONENT).view(_F32)
        pz = _U32(_F32(z).view(_U32) & _EXPONENT).view(_F32)
        xx += x * x
        yy += y * y
        zz += z * z
        ux += px * px
        uy += py * py
        uz += pz * pz
        dp += p * p
        dq += q * q
        dt += t * t
        xp += x * p
        yq += y * q
        xt += x * t
        pq += p * q
    models = (xx, yy, zz, ux * _SPACING, uy * _SPACING, uz * _SPACING)
    return models, (dp, xp), (dq, yq), (dt, xt), pq


@_compiled
def _chain_counts(a: Any, b: Any, c: Any) -> Any:
    """The rest: with all of them in one loop the processor runs out of registers."""
    sp = sq = st = n_p = n_q = n_t = ep = eq = et = both = agree = _ZERO
    mp = mq = mt = _U32(0)
    for i in range(a.size):
        x, y, z = _value(a[i]), _value(b[i]), _value(c[i])
        p, q, t = y - x, z - y, z - x
        size_p, size_q, size_t = abs(p), abs(q), abs(t)
        sp += p
        sq += q
        st += t
        mp = _U32(max(mp, _F32(size_p).view(_U32)))
        mq = _U32(max(mq, _F32(size_q).view(_U32)))
        mt = _U32(max(mt, _F32(size_t).view(_U32)))
        ep += _ONE if size_p > _TOLERANCE else _ZERO
        eq += _ONE if size_q > _TOLERANCE else _ZERO
        et += _ONE if size_t > _TOLERANCE else _ZERO
        changed_p = _ONE if p != _ZERO else _ZERO
        changed_q = _ONE if q != _ZERO else _ZERO
        n_p += changed_p
        n_q += changed_q
        n_t += _ONE if t != _ZERO else _ZERO
        # Signs by their bits: the product of two tiny numbers would be zero. And no `and` of two
        # conditions, which would keep the loop from being vectorised.
        changed = changed_p * changed_q
        differ = _U32(_F32(p).view(_U32) ^ _F32(q).view(_U32)) & _SIGN
        both += changed
        agree += changed if differ == _U32(0) else _ZERO
    return (
        (sp, _U32(mp).view(_F32), n_p, ep),
        (sq, _U32(mq).view(_F32), n_q, eq),
        (st, _U32(mt).view(_F32), n_t, et),
        (both, agree),
    )


@_compiled
def pair_sums(a: Any, b: Any, out: Any) -> None:
    """Sums over each block of two tensors.

    Args:
        a: `UInt16[ndarray, "n"]` (bf16) or `Float32[ndarray, "n"]`.
        b: The same.
        out: `Float64[ndarray, "blocks 10"]`, overwritten. Columns: squares of a and b; squared
            bf16 spacings of a and b; then of d = b - a: squares, a d, sum, largest |d|, count
            of d != 0, count of |d| > 1e-5.
    """
    for block in range(out.shape[0]):
        lo = block * BLOCK
        hi = min(lo + BLOCK, a.size)
        models, pair = _pair_block(a[lo:hi], b[lo:hi])
        row = models + pair
        for column in range(PAIR_COLUMNS):
            out[block, column] = row[column]


@_compiled
def chain_sums(a: Any, b: Any, c: Any, out: Any) -> None:
    """Sums over each block of three tensors.

    Args:
        a: `UInt16[ndarray, "n"]` (bf16) or `Float32[ndarray, "n"]`.
        b: The same.
        c: The same.
        out: `Float64[ndarray, "blocks 27"]`, overwritten. Columns: squares of a, b and c; squared
            bf16 spacings of each; the six of `pair_sums` for b - a, then c - b, then c - a; and
            for p = b - a with q = c - b: sum of p q, count of both != 0, and of those the count
            with equal signs.
    """
    for block in range(out.shape[0]):
        lo = block * BLOCK
        hi = min(lo + BLOCK, a.size)
        u, v, w = a[lo:hi], b[lo:hi], c[lo:hi]
        models, p2, q2, t2, pq = _chain_squares(u, v, w)
        p1, q1, t1, signs = _chain_counts(u, v, w)
        row = models + p2 + p1 + q2 + q1 + t2 + t1 + (pq,) + signs
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
    for block in range(out.shape[0]):
        lo = block * BLOCK
        u = a[lo : min(lo + BLOCK, a.size)]
        v = b[lo : min(lo + BLOCK, a.size)]
        count = _ZERO
        for i in range(u.size):
            x, y = abs(u[i]), abs(v[i])
            count += _ONE if abs(v[i] - u[i]) > _ETA * (x if x > y else y) else _ZERO
        out[block] = count
