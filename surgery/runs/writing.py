"""The results of a run into its folder."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.sibling import put
from surgery.runs.header import end_header
from surgery.runs.reading import ARRAYS, FILES
from surgery.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from surgery.runs.tables import RunTables

RECORDS: Final = "records.jsonl"
_OF_TWO_PAIRS: Final = frozenset({"updates", "update_layers", "update_regions"})
"""Tables of statistics that have no file where a run has one pair."""


def write_run(
    run: RunTables, folder: Path, records: Iterable[Mapping[str, Any]] | None = None
) -> list[Path]:
    """Write records, tables, arrays and last of all the header; each file appears whole or not.

    What an earlier run wrote and this one has nothing of is removed.

    Args:
        run: The results.
        folder: The run's folder; made when absent.
        records: What the tables were made from, one line each, where the kind has any.

    Returns:
        The files.

    Raises:
        ExecutionError: If a file cannot be written.
    """
    written = []
    with filesystem_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if records is not None:
            lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            text = well_formed("".join(lines))
            written.append(put(folder / RECORDS, lambda path: path.write_text(text, "utf-8")))
        for name, table in run.tables.items():
            path = folder / FILES[run.kind][name]
            if table.empty and name in _OF_TWO_PAIRS:
                path.unlink(missing_ok=True)
                continue
            written.append(put(path, partial(table.to_csv, index=False, lineterminator="\n")))
        if run.arrays:
            written.append(put(folder / ARRAYS, partial(write_arrays, run.arrays)))
        else:
            (folder / ARRAYS).unlink(missing_ok=True)
        written.append(end_header(folder, run.kind, run.summary))
    return written


def write_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write a file that `numpy.load` reads, with any suffix; never a pickle."""
    import numpy as np

    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **dict(arrays))
