"""Changed tables of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

    from surgery.runs import RunTables


def but(run: RunTables, **tables: DataFrame) -> RunTables:
    """Return the run with other tables of these names."""
    return replace(run, tables={**run.tables, **tables})
