"""The folder of a run that has ended: its header, tables and arrays, read and written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile

from surgery.errors import ExecutionError
from surgery.reading import is_file, is_folder
from surgery.runs.folder import kinds_of
from surgery.runs.header import not_ended, read_header
from surgery.runs.kinds import RunKind
from surgery.runs.tables import RunTables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from pandas import DataFrame

_PROBE: Final = {"layers": "layers.csv", "heads": "heads.csv"}
FILES: Final[Mapping[RunKind, Mapping[str, str]]] = {
    RunKind.EVALUATION: {
        name: f"{name}.csv" for name in ("scores", "pairs", "recovery", "power")
    },
    RunKind.ABLATION: _PROBE,
    RunKind.SWAP: _PROBE,
    RunKind.ATTENTION: _PROBE,
    RunKind.STATISTICS: {
        name: f"{name}.csv"
        for name in (
            "tensors", "layers", "regions", "updates", "update_layers", "update_regions",
        )
    },
    RunKind.PROFILE: {"layers": "profile.csv", "correlations": "correlations.csv"},
    RunKind.TRAINING: {"log": "log.csv"},
}  # fmt: skip
"""Files of the tables by kind; a table without rows may have none."""
ARRAYS: Final = "spectra.npz"
_TEXT: Final = (
    "a", "b", "against", "base", "component", "donor", "first", "group", "layers", "measure",
    "metric", "model", "module", "name", "pair", "reason", "region", "second", "split", "suite",
    "task", "tensor", "variant", "what",
)  # fmt: skip
"""Columns of names, which stay text even if they look like numbers (`1`, `NA`)."""


def read_run(folder: Path, expected: RunKind | None = None) -> RunTables:
    """Read the folder of a run that has ended.

    Args:
        folder: The run's folder.
        expected: The kind it must be of; any by default.

    Returns:
        Its header as `summary`, its tables, and its arrays where it has any.

    Raises:
        ExecutionError: If it holds no run, one of another kind or a newer format, one that has not
            ended, or files that cannot be read.
    """
    if not is_folder(folder):
        raise ExecutionError(f"{folder} is not a folder. Expected the --out of a run.")
    kinds = kinds_of(folder)
    if not kinds:
        raise ExecutionError(
            f"{folder} holds no run. Expected the --out of one of: "
            f"{', '.join(f'{kind.command!r}' for kind in RunKind)}."
        )
    kind = expected if expected in kinds else min(kinds, key=lambda item: item.label)
    if expected is not None and expected not in kinds:
        raise ExecutionError(
            f"{folder} holds the results of '{kind.command}', not of '{expected.command}'. "
            "Name another folder."
        )
    if kind not in FILES:
        raise ExecutionError(
            f"{folder} holds the results of '{kind.command}', which has no tables of its own. "
            "Name one of the run folders in it."
        )
    header = read_header(folder, kind)
    if kind is RunKind.TRAINING and "status" not in header and not (folder / "model").exists():
        raise not_ended(folder, kind)  # version 0.1.0 wrote the header first
    try:
        tables = {
            name: _read_table(folder / file)
            for name, file in FILES[kind].items()
            if is_file(folder / file)
        }
        arrays = _read_arrays(folder / ARRAYS)
    except (OSError, EOFError, ValueError, TypeError, BadZipFile) as error:
        raise ExecutionError(
            f"{folder} holds a table that cannot be read ({error}). Run '{kind.command}' again "
            "with the same --out: it resumes."
        ) from None
    if not tables:
        raise not_ended(folder, kind)
    return RunTables(kind, header, tables, arrays)


def _read_table(path: Path) -> DataFrame:
    from pandas import read_csv

    table = read_csv(path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=False, na_values=[""])
    if "layers" in table:  # empty where a row is of a whole model
        table["layers"] = table["layers"].fillna("")
    return table.astype({"layer": "Int64"}) if "layer" in table else table


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not is_file(path):
        return {}
    import numpy as np

    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
