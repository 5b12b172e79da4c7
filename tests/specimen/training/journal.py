"""The training journal: one csv row per step, appended immediately."""

from __future__ import annotations

import csv
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLUMNS: Final = ("stage", "step", "loss", "grad_norm", "seconds")


class Journal:
    """Writes rows of `COLUMNS` to a csv and a line to stderr now and then.

    Args:
        path: The csv; appended to.
        every: Steps between two lines on stderr.
    """

    def __init__(self, path: Path, every: int = 10) -> None:
        self.path = path
        self.every = every
        self._last = time.perf_counter()
        if not path.exists():
            path.write_text(",".join(COLUMNS) + "\n")

    def write(self, stage: str, step: int, **values: float) -> None:
        """Append one row; columns that are not given stay empty."""
        now = time.perf_counter()
        row = {name: f"{value:.4g}" for name, value in values.items()}
        row |= {"stage": stage, "step": str(step), "seconds": f"{now - self._last:.2f}"}
        self._last = now
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
        if step % self.every == 0:
            print(" ".join(f"{k}={v}" for k, v in row.items()), file=sys.stderr, flush=True)

    def drop(self, stage: str) -> None:
        """Remove a stage's rows, before it is trained again."""
        rows = [row for row in read_journal(self.path) if row["stage"] != stage]
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def read_journal(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a journal."""
    with path.open(newline="") as file:
        yield from list(csv.DictReader(file))
