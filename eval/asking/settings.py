"""Settings with which models are asked, the same for every variant of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from eval.engines.transformers import compute_dtype
from eval.generation import Generation
from eval.prompts import PLAIN, Style
from surgery.errors import ExecutionError, SurgeryError, did_you_mean

DISTRIBUTIONS: Final = (
    "torch", "transformers", "numpy", "scipy", "math-verify", "huggingface_hub",
)  # fmt: skip
"""Distributions whose versions a run's header records."""
DEVICES: Final = ("auto", "cpu", "cuda")
DTYPES: Final = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class EvalSettings:
    """Prompt style, generation settings and device options of a run.

    Attributes:
        generation: Settings of generation.
        style: The prompt style.
        device: `auto`, `cpu` or `cuda`.
        dtype: Element type to compute in; `auto` for the device's own.
        max_batch: Maximum batch size.
        threads: Threads of each process; None leaves torch's own number.

    Raises:
        SurgeryError: If there is no such device or element type.
    """

    generation: Generation = field(default_factory=Generation)
    style: Style = PLAIN
    device: str = "auto"
    dtype: str = "auto"
    max_batch: int = 128
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("device", DEVICES), ("dtype", DTYPES)):
            value = getattr(self, name)
            if value not in allowed:
                raise SurgeryError(f"there is no {name} {value!r}.{did_you_mean(value, allowed)}")

    def header(self) -> dict[str, Any]:
        """Return the prompt and generation settings that a run's header records."""
        return {
            "style": self.style.name,
            "prompt": asdict(self.style),
            "generation": asdict(self.generation),
        }

    def resolve_device(self) -> str:
        """Return the kind of device that models answer on.

        Raises:
            ExecutionError: If CUDA is asked for and there is none.
        """
        import torch

        available = torch.cuda.is_available()
        if self.device == "cuda" and not available:
            raise ExecutionError("torch finds no CUDA device here. Answer on the CPU: device cpu.")
        if self.device != "auto":
            return self.device
        return "cuda" if available else "cpu"

    def engine_facts(self) -> dict[str, str]:
        """Return the facts about the engine that are part of a response's key."""
        return {
            "engine": "transformers",
            "dtype": compute_dtype(self.resolve_device(), self.dtype),
        }
