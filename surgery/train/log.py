"""The training log: one csv row per step, there as soon as the step is done."""

from __future__ import annotations

import csv
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from transformers import TrainerCallback

from surgery.reading import is_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_SHARED: Final = {
    "loss": "loss",
    "lr": "learning_rate",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
}
_SFT: Final = {"token_accuracy": "mean_token_accuracy"}
_GRPO: Final = {
    "reward": "reward",
    "reward_std": "reward_std",
    "length": "completions/mean_length",
    "truncated": "completions/clipped_ratio",
    "kl": "kl",
    "clipped": "clip_ratio/region_mean",
}
REWARD: Final = "reward."
"""Prefix of the columns of single rewards."""


def sft_columns() -> dict[str, str]:
    """Columns of SFT's log, with TRL's names."""
    return _SFT | _SHARED


def grpo_columns(rewards: Sequence[str]) -> dict[str, str]:
    """Columns of GRPO's log, with TRL's names; one per reward."""
    return _GRPO | {f"{REWARD}{name}": f"rewards/{name}/mean" for name in rewards} | _SHARED


class CsvLog(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Writes what a trainer logs.

    Args:
        path: The csv.
        columns: Its columns between `step` and `seconds`, with TRL's names.
        progress: Called with every row and the number of steps of the whole run.
    """

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, str],
        progress: Callable[[Mapping[str, str], int], object] | None = None,
    ) -> None:
        self._path = path
        self._columns = columns
        self._progress = progress
        self._last = time.monotonic()

    def start(self, step: int) -> None:
        """Keep the rows up to a step, from which training resumes."""
        self._last = time.monotonic()
        rows = read_log(self._path) if step else []
        rows_kept = [
            row for row in rows if row.keys() == set(self._names) and _is_before(row, step)
        ]
        draft = self._path.with_suffix(".tmp")
        with draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows_kept)
        draft.replace(self._path)

    @property
    def _names(self) -> list[str]:
        return ["step", *self._columns, "seconds"]

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Handle the trainer's log call; its last call covers the whole run and is not a step."""
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        now = time.monotonic()
        row = {"step": str(state.global_step), "seconds": f"{now - self._last:.3f}"}
        self._last = now
        row |= {column: _short(logs.get(name)) for column, name in self._columns.items()}
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._names, lineterminator="\n").writerow(row)
            file.flush()
            os.fsync(file.fileno())
        if self._progress is not None:
            self._progress(row, state.max_steps)


def read_log(path: Path) -> list[dict[str, str]]:
    """Return the rows of a log, up to a damaged one; none where there is no file."""
    rows: list[dict[str, str]] = []
    if is_file(path):
        with path.open(newline="", errors="replace") as file, suppress(csv.Error):
            rows.extend(csv.DictReader(file))
    return rows


def _is_before(row: Mapping[str, str], step: int) -> bool:
    text = row["step"] or ""  # None where the row is cut short
    return text.isdecimal() and len(text) < 10 and int(text) <= step


def _short(value: Any) -> str:
    return "" if value is None else f"{float(value):.6g}"
