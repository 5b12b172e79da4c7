"""`surgery sweep`: variants times suites, from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surgery.cli.console import plain_rows, print_json, print_note, print_scores
from surgery.cli.options import (
    Batch,
    Describe,
    Device,
    Dtype,
    Json,
    Judged,
    Key,
    Processes,
    Quiet,
    parse_endpoint,
)
from surgery.cli.process import quiet_libraries
from surgery.cli.progress import AnswerProgress


def command(
    sweep: Annotated[
        Path,
        typer.Argument(
            metavar="SWEEP", help="YAML file of the sweep; eval/sweep/README.md lists its keys."
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="RUN", help="Run folder; run the same command again to resume."
        ),
    ],
    judge: Judged = None,
    describe: Describe = None,
    key_variable: Key = None,
    processes: Processes = None,
    batch: Batch = 128,
    device: Device = "auto",
    dtype: Dtype = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate every variant of a sweep without writing a checkpoint.

    Variants are swapped into one model in memory. Responses are stored in RUN as they arrive: run
    the same command again to resume. Questions whose inputs changed are asked again.
    """
    from eval import run_sweep

    judge_endpoint, describer = (
        None if text is None else parse_endpoint(text, option, key_variable)
        for text, option in ((judge, "--judge"), (describe, "--describe"))
    )
    quiet_libraries()
    with AnswerProgress(quiet=quiet or json) as progress:
        results = run_sweep(
            sweep, out=out, processes=processes, batch_size=batch, device=device, dtype=dtype,
            judge=judge_endpoint, describe=describer, key_variable=key_variable,
            progress=progress, report=print_note,
        )  # fmt: skip
    if json:
        print_json(plain_rows(results.scores))
    else:
        print_scores(results, out)
