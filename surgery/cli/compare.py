"""`surgery compare`: variants of a finished run against one another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surgery.cli.console import plain_rows, print_json, print_scores, stdout
from surgery.cli.options import GainFrom, GainTo, Json


def command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder of 'surgery eval' or 'surgery sweep'.")
    ],
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Variant to compare with; the run's own by default."),
    ] = None,
    base: GainFrom = None,
    donor: GainTo = None,
    json: Json = False,
) -> None:
    """Compare variants on identical samples.

    Prints differences with intervals, exact p-values, recovery and power.

    Reads the records of the run; loads no model.
    """
    from eval import compare
    from surgery.report.scores.terminal import pair_table, rows

    results = compare(run, against=against, base=base, donor=donor)
    if json:
        names = ("scores", "pairs", "recovery", "power")
        tables = {name: plain_rows(results.table(name)) for name in names}
        print_json({"against": results.summary.get("against"), **tables})
        return
    console = stdout()
    if len(results.pairs):
        console.print(f"against {results.summary['against']}, in percentage points")
        console.print(pair_table(rows(results, "pairs")))
        console.print()
    print_scores(results, None)
