"""The specimen: a tiny, honestly trained Base, IN and RL family that ships with the project."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from surgery.errors import SurgeryError, did_you_mean

STAGES: Final = ("base", "in", "rl")


def path(stage: str) -> Path:
    """The folder of one shipped checkpoint.

    Args:
        stage: "base", "in" or "rl".

    Raises:
        SurgeryError: There is no such stage.
    """
    if stage not in STAGES:
        raise SurgeryError(f"the specimen has no stage {stage!r}.{did_you_mean(stage, STAGES)}")
    return Path(__file__).parent / stage


def family() -> dict[str, Path]:
    """All shipped checkpoints, by stage."""
    return {stage: path(stage) for stage in STAGES}
