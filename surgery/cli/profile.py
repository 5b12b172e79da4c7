"""`surgery profile`: everything that runs say about each layer, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgery.cli.console import plain_rows, print_json, stdout
from surgery.cli.options import Json, Quiet

if TYPE_CHECKING:
    from rich.table import Table

    from surgery.api.results import RunResult

_MOST = 12  # correlations, where no update is asked about


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run folders of 'surgery stats', 'surgery probe' and sweeps of single layers.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of tables and figures.")
    ],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Align all results by layer: update, ablation, swap, attention, transplant.

    Rank correlations with intervals show whether the size of an update predicts its effect.
    """
    from eval import run_profile

    run = run_profile(runs, out=out)
    if json:
        print_json({"layers": plain_rows(run.layers), "correlations": plain_rows(run.correlations)})
    elif not quiet:
        console = stdout()
        console.print(_table(run))
        figures = ", ".join(
            f"{name}.png" for name in run.figures if (out / f"{name}.png").is_file()
        )
        console.print(f"profile.csv, correlations.csv and {figures} are in {out}")


def _table(grid: RunResult) -> Table:
    """Correlations with the update; without one, the strongest."""
    from rich.table import Table

    from eval.probes.profile import UPDATE

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(f"over {grid.summary['layers']} layers", no_wrap=True)
    table.add_column("and", no_wrap=True)
    table.add_column("rank correlation", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column("p (Holm)", justify="right")
    rows = grid.correlations
    about = rows[rows["a"].str.startswith(UPDATE) | rows["b"].str.startswith(UPDATE)]
    strongest = rows.reindex(rows["rho"].abs().sort_values(ascending=False).index)[:_MOST]
    for row in (about if len(about) else strongest).itertuples():
        if row.rho == row.rho:
            interval = f"{row.low:z.2f} to {row.high:z.2f}"
            corrected = f"{row.p_holm:.2g}" if row.p_holm == row.p_holm else "-"
            table.add_row(row.a, row.b, f"{row.rho:z.2f}", interval, corrected)
        else:
            table.add_row(row.a, row.b, "-", "constant", "-")
    return table
