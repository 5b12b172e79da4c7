"""Files of a run's folder, to be compared with another's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TIMES = ("started", "ended")
"""Return the differences between two headers of the same run."""


def lasting(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file by name, the header without its times."""
    result = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    header = json.loads(result["run.json"])
    stored = {key: value for key, value in header.items() if key not in TIMES}
    return result | {"run.json": json.dumps(stored).encode()}
