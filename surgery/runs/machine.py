"""The versions and the hardware that a run's header records."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from surgery.version import __version__


def versions(*distributions: str) -> dict[str, str]:
    """Return the versions of this program, of Python and of some distributions."""
    return {
        "vlm-surgery": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in distributions},
    }


def hardware() -> dict[str, Any]:
    """Return processor, memory, operating system and GPUs; no GPU where torch was not needed."""
    import psutil

    torch = sys.modules.get("torch")
    gpus = torch.cuda.device_count() if torch else 0
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": [torch.cuda.get_device_name(number) for number in range(gpus)] if torch else [],
        "system": platform.platform(),
    }


def _processor() -> str:
    """Return the processor's name where the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
