"""Measured tensors, stored one by one so that an interrupted run resumes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.sibling import put, remove
from surgery.reading import parse_json
from surgery.runs import RunKind, check_folder
from surgery.runs.writing import write_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FOLDER = ".parts"
_RECORD = "record"


@dataclass(frozen=True)
class PieceResult:
    """One piece, measured.

    Attributes:
        record: Plain values for JSON.
        arrays: Spectra and angles by name.
    """

    record: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


class PieceStore:
    """Measured pieces in a folder of their own, for one set of inputs and options.

    Args:
        out: The folder of the results.
        inputs: Text that differs where the checkpoints do.
        options: Text that differs where numbers would for the same checkpoints.

    Raises:
        ExecutionError: If the folder holds what no study wrote.
    """

    def __init__(self, out: Path, inputs: str, options: str) -> None:
        check_folder(out, RunKind.STATISTICS)
        self._root = out / _FOLDER
        self._inputs = self._root / sha256(inputs.encode()).hexdigest()[:16]
        self._folder = self._inputs / sha256(options.encode()).hexdigest()[:16]

    def load(self, name: str) -> PieceResult | None:
        """Return a stored piece, or None; a damaged file counts as missing."""
        path = self._path(name)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
            record = parse_json(arrays.pop(_RECORD).tobytes())
        except Exception:  # noqa: BLE001 - any error that zipfile raises for damaged bytes
            return None
        if not isinstance(record, dict) or record.get("piece") != name:
            return None
        return PieceResult(record, arrays)

    def save(self, name: str, part: PieceResult) -> None:
        """Store a piece. Readers see the whole file or none.

        Raises:
            ExecutionError: If it cannot be written.
        """
        path = self._path(name)
        record = json.dumps({**part.record, "piece": name}).encode()
        arrays = {**part.arrays, _RECORD: np.frombuffer(record, np.uint8)}
        with filesystem_errors(path):
            self._folder.mkdir(parents=True, exist_ok=True)
        put(path, partial(write_arrays, arrays))

    def forget_others(self) -> None:
        """Remove what was measured of other inputs."""
        if self._root.is_dir():
            for folder in self._root.iterdir():
                if folder != self._inputs:
                    remove(folder)

    def _path(self, name: str) -> Path:
        return self._folder / f"{sha256(name.encode()).hexdigest()[:24]}.npz"
