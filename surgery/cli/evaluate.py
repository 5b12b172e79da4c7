"""`surgery eval`: score models, merges and recipes on a suite."""

from __future__ import annotations

import typer

from surgery.cli.console import plain_rows, print_json, print_note, print_scores, stdout
from surgery.cli.options import (
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
    GraderName,
    Json,
    Judged,
    Key,
    Longest,
    Models,
    Out,
    PowerFor,
    Processes,
    Quiet,
    Repeats,
    Samples,
    Seed,
    Server,
    StyleName,
    SuiteNames,
    Temperature,
    Variants,
    bindings,
    parse_endpoint,
)
from surgery.cli.process import quiet_libraries
from surgery.cli.progress import AnswerProgress
from surgery.errors import check_choice


def command(
    models: Variants = None,
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
    """Evaluate models and recipes, with intervals and paired comparisons.

    Recipes are swapped into the model in memory; no checkpoint is written. Responses are
    stored in RUN as they arrive: run the same command again to resume or to add models.
    """
    if power is not None:
        _print_power(power, json)
        return
    if not models or not suite or out is None:
        missing = "MODEL_OR_RECIPE" if not models else "--suite" if not suite else "--out"
        raise typer.BadParameter(f"required, except with --power. {_suites()}",
                                 param_hint=missing)  # fmt: skip
    from eval import evaluate
    from eval.grading.grade import GRADERS
    from eval.variants import find_variant, named

    check_choice("--grader", grader, GRADERS)
    judge_endpoint, describer = (
        None if text is None else parse_endpoint(text, option, key_variable)
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
    if json:
        print_json(plain_rows(results.scores))
    else:
        print_scores(results, out)


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
    console.print(
        "\nVariants of one model mostly agree: a run's power line tells how often they differ."
    )
