"""Results and plans into folders that are new, or hold what was saved there before."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from surgery.checkpoint.sibling import put
from surgery.errors import ExecutionError, SurgeryError

if TYPE_CHECKING:
    from pathlib import Path

    from pandas import DataFrame

    from surgery.plan import Plan
    from surgery.runs import RunTables

_SUFFIXES: Final = frozenset({".csv", ".json", ".png", ".npz", ".yaml"})


def save_run(run: RunTables, folder: Path) -> list[Path]:
    """Write tables, arrays, summary and figures.

    Raises:
        ExecutionError: If the folder cannot be written, or holds something else.
    """
    import numpy as np

    from surgery.report.figures import FIGURES, figure

    _prepare(folder)
    files = [
        put(folder / f"{name}.csv", partial(table.to_csv, index=False, lineterminator="\n"))
        for name, table in run.tables.items()
    ]
    if run.arrays:
        arrays: dict[str, Any] = dict(run.arrays)
        files.append(put(folder / "arrays.npz", lambda path: _write_arrays(np, path, arrays)))
    summary = json.dumps(run.summary, indent=2, ensure_ascii=False, default=str) + "\n"
    files.append(put(folder / "summary.json", lambda path: path.write_text(summary, "utf-8")))
    for name in FIGURES.get(run.kind, ()):
        try:
            drawn = figure(run, name)
        except SurgeryError:  # this run lacks what the figure shows
            continue
        save = partial(drawn.savefig, format="png", metadata={"Software": None})
        files.append(put(folder / f"{name}.png", save))
    return files


def save_plan(plan: Plan, operations: DataFrame, folder: Path) -> list[Path]:
    """Write recipe, operations and picture.

    Raises:
        ExecutionError: If the folder cannot be written, or holds something else.
    """
    from surgery.recipe.dump import to_yaml
    from surgery.report.layers import layers_png

    _prepare(folder)
    recipe, picture = to_yaml(plan.recipe), layers_png(plan)
    return [
        put(folder / "recipe.yaml", lambda path: path.write_text(recipe, "utf-8")),
        put(
            folder / "operations.csv", partial(operations.to_csv, index=False, lineterminator="\n")
        ),
        put(folder / "layers.png", lambda path: path.write_bytes(picture)),
    ]


def _prepare(folder: Path) -> None:
    """Make the folder; refuse one that holds a run, a model or anything else."""
    from surgery.checkpoint.failure import filesystem_errors

    with filesystem_errors(folder):
        strange = (
            sorted(entry.name for entry in folder.iterdir() if entry.suffix not in _SUFFIXES)
            if folder.is_dir()
            else []
        )
        taken = next((name for name in ("config.json", "run.json") if (folder / name).exists()), "")
        if strange or taken:
            raise ExecutionError(
                f"{folder} holds something else ({taken or strange[0]}). Nothing there was "
                f"changed. Choose a new folder, for example {folder}-saved."
            )
        folder.mkdir(parents=True, exist_ok=True)


def _write_arrays(np: Any, path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)
