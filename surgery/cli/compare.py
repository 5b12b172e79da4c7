"""`surgery compare`: variants of a finished run against one another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surgery.cli.console import plain_rows, print_json, print_scores, stdout
from surgery.cli.options import GainFrom, GainTo, Json


def command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Run folder, or NAME=LOG of lm-eval, Inspect or VLMEvalKit; repeatable.",
            show_default=False,
        ),
    ],
    *,
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Variant to compare with; the run's own by default."),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="With logs: binary metric or scorer; the first one by default."
        ),
    ] = None,
    base: GainFrom = None,
    donor: GainTo = None,
    json: Json = False,
) -> None:
    """Compare variants on identical samples.

    Prints differences with intervals, exact p-values, recovery and power.

    Reads the records of one run, or two or more logs of other harnesses; loads no model.
    """
    from eval import compare, compare_logs
    from surgery.report.scores.terminal import pair_table, rows

    logs = _logs(runs)
    if measure and not logs:
        raise typer.BadParameter("applies to logs, not to a run folder.", param_hint="--measure")
    if logs:
        results = compare_logs(logs, against=against, base=base, donor=donor, measure=measure)
    else:
        results = compare(runs[0], against=against, base=base, donor=donor)
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


def _logs(texts: list[str]) -> dict[str, list[str]]:
    """Return logs by name; empty for a single run folder.

    Raises:
        typer.BadParameter: Several run folders, or a single log.
    """
    logs: dict[str, list[str]] = {}
    for text in texts:
        name, sign, path = text.partition("=")
        if sign and name and not Path(text).exists():
            logs.setdefault(name, []).append(path)
    if not logs and len(texts) == 1:
        return {}
    if len(logs) < 2 or sum(map(len, logs.values())) != len(texts):
        raise typer.BadParameter(
            "expected one run folder, or two or more logs as NAME=LOG.", param_hint="RUN"
        )
    return logs
