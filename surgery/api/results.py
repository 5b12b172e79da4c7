"""The results of any run as notebooks use them: tables, figures, a summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from surgery.runs import RunTables
from surgery.text import first_names

if TYPE_CHECKING:
    from typing import Self

    from matplotlib.figure import Figure
    from pandas import DataFrame

_MAIN: Final = ("scores", "layers", "log")  # the table that `df` is, the first there is
_ROWS: Final = 6  # of a table, in a repr
_WIDTH: Final = 100
_COLUMNS: Final = 8


class RunResult(RunTables):
    """The results of a run: data frames by attribute, figures by name.

    `result.scores`, `result.pairs`, `result.layers`, ... are pandas data frames, `result.df` the
    main one; `dir(result)` lists them.

    Attributes:
        kind: The kind of run.
        summary: Models, settings, totals and versions.
        tables: The data frames by name.
        arrays: Arrays by name, such as the singular values of statistics.

    Example:
        >>> import surgery
        >>> models = {"in": "specimen:in", "rl": "specimen:rl"}
        >>> stats = surgery.weight_stats(models, spectrum="none")
        >>> stats.layers.query("component == 'language'").empty
        False
        >>> figure = stats.plot("profile")
    """

    @classmethod
    def of(cls, run: RunTables) -> Self:
        """Return the results of a run's tables."""
        return cls(run.kind, run.summary, run.tables, run.arrays)

    @property
    def df(self) -> DataFrame:
        """The main table of this kind of run."""
        name = next((name for name in _MAIN if name in self.tables), None)
        return self.table(name or next(iter(self.tables)))

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures that `plot` draws."""
        from surgery.report.figures import FIGURES

        return tuple(FIGURES.get(self.kind, ()))

    def plot(self, name: str | None = None) -> Figure:
        """Draw a figure.

        Args:
            name: One of `figures`; the first by default.

        Raises:
            SurgeryError: If there is none of that name; names the nearest.
        """
        from surgery.report.figures import figure

        return figure(self, name)

    def save(self, folder: str | Path) -> list[Path]:
        """Write every table as CSV, the summary, and every figure that can be drawn.

        Args:
            folder: A new folder, or one that such results were saved in.

        Returns:
            The files.

        Raises:
            ExecutionError: If the folder cannot be written, or holds something else.
        """
        from surgery.api.saving import save_run

        return save_run(self, Path(folder))

    def __repr__(self) -> str:
        from surgery.report.export import shortened

        parts = [f"{type(self).__name__}: {self._title()}"]
        for name, table in self.tables.items():
            parts.append(f"{name}: {len(table):,} rows x {len(table.columns)} columns")
        if len(self.df):
            preview = self.df.head(_ROWS).to_string(max_cols=_COLUMNS, line_width=_WIDTH)
            parts += ["", preview]
            if len(self.df) > _ROWS:
                parts.append(f"... {len(self.df) - _ROWS:,} more rows")
        if self.figures:
            parts += ["", f"figures: {', '.join(self.figures)}"]
        return shortened("\n".join(parts))

    def _repr_html_(self) -> str:
        from surgery.report.export import paragraph

        sizes = ", ".join(f"{name} ({len(table):,})" for name, table in self.tables.items())
        main = self.df.head(_ROWS).to_html(max_cols=_COLUMNS, border=0, escape=True)
        figures = f"figures: {', '.join(self.figures)}" if self.figures else ""
        return "".join(
            [paragraph(self._title()), paragraph(f"tables: {sizes}"), main, paragraph(figures)]
        )

    def _title(self) -> str:
        names = [
            str(part.get("name", "")) if isinstance(part, dict) else str(part)
            for key in ("variants", "models")
            for part in self.summary.get(key) or ()
        ]
        return f"{self.kind.label}" + (f" of {first_names(names, 8)}" if names else "")
