"""`surgery eval`: score models, merges and recipes on a suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from surgery.cli.asking import (
    Against,
    Batch,
    Concurrency,
    Data,
    Describe,
    Descriptions,
    Device,
    Dtype,
    GainFrom,
    GainTo,
    Given,
    GraderName,
    Judged,
    Key,
    Longest,
    Out,
    PowerFor,
    Processes,
    Repeats,
    Samples,
    Seed,
    Server,
    StyleName,
    SuiteNames,
    Temperature,
)
from surgery.cli.console import plain_rows, print_json, stderr, stdout
from surgery.cli.options import Json, Models, Quiet, bindings
from surgery.cli.scoring import AnswerProgress, show
from surgery.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eval.endpoint import Endpoint
    from surgery.runs import RunTables


def command(
    models: Given = None,
    *,
    suite: SuiteNames = None,
    samples: Samples = None,
    seed: Seed = 123,
    out: Out = None,
    data: Data = None,
    model: Models = None,
    against: Against = None,
    base: GainFrom = None,
    donor: GainTo = None,
    style: StyleName = "plain",
    grader: GraderName = "strict",
    max_new_tokens: Longest = None,
    temperature: Temperature = 0.0,
    repeats: Repeats = 1,
    server: Server = None,
    concurrency: Concurrency = 16,
    judge: Judged = None,
    describe: Describe = None,
    descriptions: Descriptions = None,
    key_variable: Key = None,
    processes: Processes = None,
    batch: Batch = 128,
    device: Device = "auto",
    dtype: Dtype = "auto",
    power: PowerFor = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score models and recipes on perception, alignment and reasoning, with error bars.

    Recipes are swapped into the model that is in memory: nothing is merged to disk. Responses are
    kept in RUN as they come; run the same command again to go on, or with other models to add.
    """
    if power is not None:
        _print_power(power, json)
        return
    if not models or not suite or out is None:
        missing = "MODEL_OR_RECIPE" if not models else "--suite" if not suite else "--out"
        raise typer.BadParameter(f"needed, unless --power is asked for. {_suites()}",
                                 param_hint=missing)  # fmt: skip
    from eval import evaluate
    from eval.grading.grade import GRADERS
    from eval.sweep.variants import find_variant, named

    check_known("--grader", grader, GRADERS)
    judge_endpoint, describer = (
        None if text is None else endpoint(text, option, key_variable)
        for text, option in ((judge, "--judge"), (describe, "--describe"))
    )
    variants = named(models, bindings(model), served=server is not None)
    for option, name in (("--against", against), ("--base", base), ("--donor", donor)):
        if name is not None:
            find_variant(option, name, variants)
    quiet_libraries()
    with AnswerProgress(quiet=quiet or json) as progress:
        results = evaluate(
            variants, suite, out=out, against=against, base=base, donor=donor, samples=samples,
            seed=seed, data=bindings(data), style=style, grader=grader,
            max_new_tokens=max_new_tokens, temperature=temperature, repeats=repeats,
            processes=processes, batch_size=batch, device=device, dtype=dtype, server=server,
            concurrency=concurrency, judge=judge_endpoint, describe=describer,
            descriptions=descriptions, key_variable=key_variable, progress=progress,
            report=print_note,
        )  # fmt: skip
    print_results(results, out, json=json)


def _suites() -> str:
    from eval.suites.table import list_suites

    return f"Suites: {', '.join(name for name, *_ in list_suites())}."


def _print_power(difference: float, json: bool) -> None:
    from eval.statistics.power import power_table

    rows = power_table(difference)
    if json:
        print_json([{"discordant": share, "samples": n} for share, n in rows])
        return
    console = stdout()
    console.print(
        f"Samples per task that show a difference of {100 * difference:g} points between two "
        f"variants,\nboth asked the same questions (McNemar's exact test, 80% power, two-sided "
        f"5%):\n"
    )
    for share, n in rows:
        console.print(f"  {n:>7,}  if the two differ on {share:.0%} of the questions")
    console.print("\nVariants of one model mostly agree: a run's power line tells how often not.")


def endpoint(text: str, option: str, key: str | None) -> Endpoint:
    """`MODEL@URL` to an endpoint."""
    from eval.endpoint import Endpoint

    name, at, url = text.partition("@http")
    if not (name and at):
        raise typer.BadParameter(
            f"{text!r} is not MODEL@URL. Example: {option} qwen3@http://localhost:8000/v1",
            param_hint=option,
        )
    return Endpoint(base_url="http" + url, model=name, key_variable=key)


def check_known(option: str, name: str, known: Iterable[str]) -> None:
    """Refuse an option's value that is not among the known ones.

    Raises:
        SurgeryError: With the nearest known one.
    """
    from surgery.errors import SurgeryError, did_you_mean

    valid = list(known)
    if name not in valid:
        raise SurgeryError(f"{option}: there is no {name!r}.{did_you_mean(name, valid)}")


def quiet_libraries() -> None:
    """No chatter and no bars but ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def print_note(text: str) -> None:
    """Print a line about what is missing to stderr."""
    stderr().print(one_line(text), soft_wrap=True)


def print_results(results: RunTables, out: Path, *, json: bool) -> None:
    """Print scores: tables, or JSON."""
    if json:
        print_json(plain_rows(results.scores))
    else:
        show(results, out)
