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
            help="Folders of 'surgery stats', 'surgery probe', and sweeps of single layers.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where tables and figures go.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Line up what was found of every layer: update, ablation, swap, attention, transplant.

    Says with rank correlations and their intervals whether the size of an update predicts its
    effect.
    """
    from eval import run_profile

    made = run_profile(runs, out=out)
    if json:
        print_json(
            {"layers": plain_rows(made.layers), "correlations": plain_rows(made.correlations)}
        )
    elif not quiet:
        console = stdout()
        console.print(_table(made))
        drawn = ", ".join(f"{name}.png" for name in made.figures if (out / f"{name}.png").is_file())
        console.print(f"profile.csv, correlations.csv and {drawn} are in {out}")


def _table(made: RunResult) -> Table:
    """Correlations with the update; without one, the strongest."""
    from rich.table import Table

    from eval.probes.profile import UPDATE

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(f"over {made.summary['layers']} layers", no_wrap=True)
    table.add_column("and", no_wrap=True)
    table.add_column("rank correlation", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column("p (Holm)", justify="right")
    rows = made.correlations
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
