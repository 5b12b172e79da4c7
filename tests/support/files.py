"""Files of a run's folder, to be compared with another's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TIMES = ("started", "ended")
"""What two headers of the same run differ in."""


def lasting(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file by name, the header without its times."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    header = json.loads(found["run.json"])
    kept = {key: value for key, value in header.items() if key not in TIMES}
    return found | {"run.json": json.dumps(kept).encode()}
