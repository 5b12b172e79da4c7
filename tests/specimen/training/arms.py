"""Trainings that start from IN: reinforcement, the same with a third frozen, and two controls."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from surgery import specimen

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHIPPED: Final = Path(specimen.__file__).parent


@dataclass(frozen=True)
class Arm:
    """One training that starts from IN.

    Attributes:
        name: Name of the checkpoint it makes.
        config: The training's YAML; `rl.yaml` reinforces, `control.yaml` supervises.
        changes: Values that replace the file's, by key.
    """

    name: str
    config: Path
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def supervised(self) -> bool:
        """Return whether the arm learns from demonstrations instead of rewards."""
        return self.config.stem == "control"


_REINFORCED: Final = _SHIPPED / "rl.yaml"
RL: Final = Arm("rl", _REINFORCED)
ARMS: Final = (
    RL,
    *(
        Arm(name, _REINFORCED, {"freeze": ["vision", f"language[{name.rpartition('-')[2]}]"]})
        for name in specimen.FROZEN
    ),
    Arm("random", _REINFORCED, {"rewards": {"random": 1.0}}),
    Arm("supervised", _SHIPPED / "control.yaml"),
)
