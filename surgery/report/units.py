"""Numbers as people read them."""

from __future__ import annotations

from surgery.text import three_digits

_COUNTS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))


def many(count: int) -> str:
    """A number of parameters: `7.62B`, `494M`, `2,048`."""
    for unit, name in _COUNTS[:-1]:
        if count >= unit:
            return f"{three_digits(count / unit)}{name}"
    return f"{count:,}"


def number(count: int, noun: str) -> str:
    """A counted noun: `1 tensor`, `729 tensors`, `9,000 tensors`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """A length of time: `0.4 s`, `12 s`, `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
