"""Memory that this process has used."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_memory() -> int | None:
    """Return the most resident memory this process has had, in bytes; None if no one counts."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage includes the memory of the program before exec, such as the parent process.
        lines = status.read_text().splitlines()
        return next((int(x.split()[1]) << 10 for x in lines if x.startswith("VmHWM:")), None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
