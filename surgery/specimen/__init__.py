"""The specimen: a tiny, honestly trained Base, IN and RL family that ships with the project."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from surgery.errors import SurgeryError, did_you_mean

STAGES: Final = ("base", "in", "rl")
FROZEN: Final = ("rl-frozen-early", "rl-frozen-mid", "rl-frozen-late")
"""RL while a third of the decoder stood still."""


def path(name: str) -> Path:
    """Return the folder of one bundled checkpoint.

    Args:
        name: One of `STAGES` or `FROZEN`.

    Raises:
        SurgeryError: There is no such checkpoint.
    """
    names = (*STAGES, *FROZEN)
    if name not in names:
        raise SurgeryError(f"the specimen has no stage {name!r}.{did_you_mean(name, names)}")
    return Path(__file__).parent / name


def family() -> dict[str, Path]:
    """All shipped checkpoints, by name."""
    return {name: path(name) for name in (*STAGES, *FROZEN)}
