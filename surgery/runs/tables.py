"""The results of one run: its header, named tables and arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from surgery.errors import SurgeryError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from pandas import DataFrame

    from surgery.runs.kinds import RunKind


@dataclass(frozen=True, repr=False)
class RunTables:
    """The results of a run of any kind, for figures, reports and notebooks.

    Attributes:
        kind: The kind of run.
        summary: Plain values for JSON: models, settings, totals, versions.
        tables: Data frames by name; each is the CSV file of that name.
        arrays: Arrays by name, where the run has any.
    """

    kind: RunKind
    summary: Mapping[str, Any]
    tables: Mapping[str, DataFrame]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> DataFrame:
        """Return the table of a name, so that `run.layers` is `run.table("layers")`."""
        tables = vars(self).get("tables", {})  # not there yet while a copy is being made
        if name not in tables:
            near = did_you_mean(name, tables) if tables else ""
            raise AttributeError(f"this run has no table {name!r}.{near}")
        return tables[name]

    def __dir__(self) -> list[str]:
        """Return the names of methods and tables, for tab completion."""
        return sorted({*super().__dir__(), *self.tables})

    @property
    def spectra(self) -> Mapping[str, NDArray[Any]]:
        """The arrays of a statistics run: singular values and angles."""
        return self.arrays

    def table(self, name: str) -> DataFrame:
        """Return the table of a name.

        Raises:
            SurgeryError: If the run has none; names the nearest one.
        """
        if name not in self.tables:
            raise SurgeryError(
                f"this {self.kind.label} run has no table {name!r}."
                f"{did_you_mean(name, self.tables)}"
            )
        return self.tables[name]
