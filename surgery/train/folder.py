"""A training's run folder: its owner, its state, and the checkpoint to resume from."""

from __future__ import annotations

import os
import re
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from surgery import runs
from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.header import read_header
from surgery.errors import CheckpointError, ExecutionError
from surgery.reading import read_json
from surgery.runs import HEADER, RunKind, end_header, hardware
from surgery.runs.header import OWN_KEYS, start_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LOG: Final = "log.csv"
MODEL: Final = "model"
_STATE: Final = ("optimizer.pt", "scheduler.pt")  # torch's zip archives; written before the rest
_CHECKPOINT: Final = re.compile(r"checkpoint-(\d+)")


def is_first() -> bool:
    """Check whether this is the one process of a launcher that writes."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class RunFolder:
    """The files of a training run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def model(self) -> Path:
        """Folder of the trained model."""
        return self.path / MODEL

    @property
    def checkpoints(self) -> Path:
        """Folder of the trainer's checkpoints."""
        return self.path / "checkpoints"

    @contextmanager
    def claimed(self, record: Mapping[str, Any]) -> Iterator[None]:
        """Be this run's alone for the length of a `with` block.

        A folder whose run failed before it had a checkpoint is left as if it had never been.

        Args:
            record: What the result depends on.

        Raises:
            ExecutionError: If the folder is another run's, complete, in use, or cannot be written.
        """
        if not is_first():
            yield
            return
        with runs.claimed(self.path, RunKind.TRAINING):
            self._claim(record)
            try:
                yield
            finally:
                self._forget()

    def end(self, record: Mapping[str, Any]) -> None:
        """Mark the run as ended.

        Args:
            record: As in `claimed`.

        Raises:
            ExecutionError: If the folder cannot be written.
        """
        with filesystem_errors(self.path):
            end_header(self.path, RunKind.TRAINING, _facts(record) | {"hardware": hardware()})

    def _claim(self, record: Mapping[str, Any]) -> None:
        """Make the folder this run's, or check that it is."""
        path = self.path / HEADER
        if self.model.exists():
            raise ExecutionError(
                f"{self.model} exists: this run is complete. Give another --out to train again."
            )
        with filesystem_errors(self.path):
            try:
                header = read_json(path)
            except ValueError:
                header = None
        if not isinstance(header, dict):
            difference = f"{HEADER} is damaged"
        elif stored := _stored(header):
            difference = _difference(stored, _facts(record))
        else:
            with filesystem_errors(self.path):
                start_header(self.path, RunKind.TRAINING, _facts(record))
            return
        if difference:
            raise ExecutionError(
                f"{self.path} holds another run: {difference}. Give another --out, or remove it."
            )

    def _forget(self) -> None:
        """Unmake a claim that came to nothing."""
        if self.model.exists() or self.last():
            return
        beside = {HEADER, LOG, runs.LOCK, self.checkpoints.name}
        if {entry.name for entry in self.path.iterdir()} <= beside and not any(
            entry.is_dir() for entry in self.checkpoints.glob("*")
        ):
            for entry in (self.path / HEADER, self.path / LOG, *self.checkpoints.glob("*")):
                entry.unlink(missing_ok=True)
            if self.checkpoints.exists():
                self.checkpoints.rmdir()

    def last(self) -> int:
        """Return the step of the last complete checkpoint; 0 without one."""
        steps = [
            (int(match[1]), path)
            for path in self.checkpoints.glob("checkpoint-*")
            if (match := _CHECKPOINT.fullmatch(path.name)) is not None
        ]
        return next((step for step, path in sorted(steps, reverse=True) if _is_whole(path)), 0)

    def checkpoint(self, step: int) -> Path:
        """Return the trainer's checkpoint of a step."""
        return self.checkpoints / f"checkpoint-{step}"


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as a header holds it, where `kind` is the kind of run."""
    return {"method": record["kind"], **{k: v for k, v in record.items() if k != "kind"}}


def _stored(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record that a header holds; one of version 0.1.0 holds nothing else."""
    if "format" not in header:
        return _facts(header) if "kind" in header else dict(header)
    return {key: value for key, value in header.items() if key not in OWN_KEYS}


def _is_whole(folder: Path) -> bool:
    """Check that all files needed to resume exist and are readable."""
    weights = sorted(folder.glob("*.safetensors"))
    states = [folder / name for name in _STATE] + sorted(folder.glob("rng_state*.pth"))
    if not weights or len(states) == len(_STATE):
        return False
    try:
        for path in weights:
            with path.open("rb") as file:
                read_header(file.fileno(), path)
        read_json(folder / "trainer_state.json")
    except (OSError, ValueError, CheckpointError):
        return False
    return all(path.is_file() and zipfile.is_zipfile(path) for path in states)


def _difference(value: Any, expected: Any, path: str = "") -> str:
    """Return the first difference of two records; "" without one."""
    if isinstance(value, dict) and isinstance(expected, dict):
        differences = (
            _difference(value.get(key), expected.get(key), f"{path}.{key}" if path else key)
            for key in dict.fromkeys([*value, *expected])
        )
        return next((difference for difference in differences if difference), "")
    return "" if value == expected else f"{path} was {value!r} and is {expected!r}"
