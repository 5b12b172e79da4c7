"""The ways on from IN: reinforcement, the same with a third frozen, and two controls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from surgery.specimen import FROZEN

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Arm:
    """One way on from IN.

    Attributes:
        name: Of the checkpoint it makes.
        command: What `surgery train` is told.
    """

    name: str
    command: tuple[str, ...]


_RL: Final = ("grpo", str(_HERE / "rl.yaml"))
RL: Final = Arm("rl", _RL)
ARMS: Final = (
    RL,
    *(
        Arm(name, (*_RL, "--freeze", "vision", "--freeze", f"language[{name.rpartition('-')[2]}]"))
        for name in FROZEN
    ),
    Arm("random", (*_RL, "--reward", "random")),
    Arm("supervised", ("sft", str(_HERE / "control.yaml"))),
)
