"""Saving of results and plans into new folders, or over earlier saves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.sibling import put
from surgery.errors import ExecutionError

if TYPE_CHECKING:
    from pathlib import Path

    from pandas import DataFrame

    from surgery.plan import Plan
    from surgery.runs import RunTables

_SUFFIXES: Final = frozenset({".csv", ".json", ".png", ".npz", ".yaml"})


def save_run(run: RunTables, folder: Path) -> list[Path]:
    """Write tables, arrays, header and figures, so that `load_run` reads them.

    Raises:
        ExecutionError: If the folder cannot be written, or holds something else, such as the run
            itself with its responses.
    """
    from surgery.report.figures import write_figures
    from surgery.runs import check_folder, write_run

    check_folder(folder, run.kind)
    if folder.exists() and _foreign_files(folder):
        raise ExecutionError(
            f"{folder} holds a run with its inputs. Nothing in it was changed. "
            f"Choose a new folder, for example {folder}-saved."
        )
    return [*write_run(run, folder), *write_figures(run, folder)]


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


def _foreign_files(folder: Path) -> list[str]:
    """Return what is in a folder and was not saved from here, such as responses or a lock."""
    with filesystem_errors(folder):
        return sorted(entry.name for entry in folder.iterdir() if entry.suffix not in _SUFFIXES)


def _prepare(folder: Path) -> None:
    """Make the folder; refuse one that holds a run, a model or anything else."""
    with filesystem_errors(folder):
        strange = _foreign_files(folder) if folder.is_dir() else []
        taken = next((name for name in ("config.json", "run.json") if (folder / name).exists()), "")
        if strange or taken:
            raise ExecutionError(
                f"{folder} holds something else ({taken or strange[0]}). Nothing there was "
                f"changed. Choose a new folder, for example {folder}-saved."
            )
        folder.mkdir(parents=True, exist_ok=True)
