"""`surgery sweep`: variants times suites, from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surgery.cli.asking import Batch, Describe, Device, Dtype, Judged, Key, Processes
from surgery.cli.evaluate import ask, check_names, finish, load_suites, with_descriptions
from surgery.cli.options import Json, Quiet


def command(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP", help="A YAML; see eval/README.md.")],
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="RUN", help="Folder of the run; run again to go on.")
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
    """Score every variant of a sweep without writing a checkpoint.

    One model is in memory and becomes each variant in turn. Responses are kept in RUN as they
    come: what was interrupted goes on where it was, and what changed is asked anew.
    """
    from eval.sweep.desk import Work
    from eval.sweep.load import load_sweep
    from eval.sweep.score import Comparison

    found = load_sweep(sweep)
    suites = load_suites(found.suites, found.samples, found.seed, found.data)
    suites = with_descriptions(suites, out, found.descriptions, describe, key_variable)
    work = Work(suites, found.generation, found.style, device, dtype, batch)
    compared = Comparison(found.against, found.base, found.donor)
    check_names(compared, [variant.name for variant in found.variants])
    asked = ask(found.variants, work, out, quiet=quiet or json, wanted=processes)
    settings = {"sweep": found.name, "samples": found.samples, "seed": found.seed,
                "local": sorted(found.data)}  # fmt: skip
    finish(asked, work, out, compared, grader=found.grader, judge=judge, key=key_variable,
           settings=settings, json=json)  # fmt: skip
