"""Layer axes: tick numbers that do not touch, names that fit."""

from __future__ import annotations

_CHARACTER = 0.05  # inches, in 7 points


def numbered(layers: range, inch: float) -> list[int]:
    """Return the layers whose numbers are shown: round numbers, the first and the last.

    Args:
        layers: All of them.
        inch: Width of one layer in inches.
    """
    room = 0.2
    step = next((s for s in (1, 2, 4, 5, 10, 20, 50) if s * inch >= room), 100)
    first, last = layers[0], layers[-1]
    inner = [
        n
        for n in layers[1:-1]
        if n % step == 0 and (last - n) * inch >= room and (n - first) * inch >= room
    ]
    return [first, *inner, last]


def fits(name: str, inches: float) -> bool:
    """Check that a region's name, in 7 points, is no wider than its stretch of the axis."""
    return len(name) * _CHARACTER <= inches
