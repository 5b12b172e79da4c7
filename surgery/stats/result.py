"""Results of a study into a folder: tables, spectra and a summary.

Columns are explained in this folder's README. Tables: `tensors`, one row per tensor and pair;
`layers`, per component, layer, group of modules and pair; `regions`, per region, component and the
whole model; `updates`, `update_layers` and `update_regions`, the first two pairs' updates compared,
empty for one pair. Arrays: singular values and principal angles in degrees, as `TENSOR/PAIR/delta`,
`TENSOR/MODEL/weight`, `TENSOR/PAIR/angles_left` and `angles_right`.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Final

from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.sibling import put
from surgery.stats.parts import write_arrays

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from surgery.runs import RunTables

SPECTRA: Final = "spectra.npz"
SUMMARY: Final = "summary.json"


def write_stats(run: RunTables, folder: Path) -> list[Path]:
    """Write csv tables, `spectra.npz` and `summary.json`; each file appears whole or not.

    What an earlier run wrote and this one has nothing of is removed.

    Args:
        run: What a study returns.
        folder: Made where it does not exist.

    Returns:
        The files.

    Raises:
        ExecutionError: If the folder cannot be written.
    """
    written = []
    with filesystem_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in run.tables.items():
            path = folder / f"{name}.csv"
            if table.empty:
                path.unlink(missing_ok=True)
                continue
            written.append(put(path, partial(_write_csv, table)))
        if run.arrays:
            written.append(put(folder / SPECTRA, partial(write_arrays, run.arrays)))
        else:
            (folder / SPECTRA).unlink(missing_ok=True)
        text = json.dumps(run.summary, indent=2, ensure_ascii=False) + "\n"
        written.append(put(folder / SUMMARY, lambda path: path.write_text(text, "utf-8")))
    return written


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, lineterminator="\n")
