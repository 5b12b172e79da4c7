"""`surgery eval`: score models, merges and recipes on a suite."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
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
from surgery.cli.console import plain_json, print_json, stderr, stdout
from surgery.cli.options import Json, Models, Quiet, bindings
from surgery.cli.scoring import AnswerProgress, show
from surgery.text import one_line, well_formed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from eval.endpoint import Endpoint
    from eval.records import Failure, Sample, Suite
    from eval.sweep.desk import Work
    from eval.sweep.run import Asked
    from eval.sweep.score import Comparison
    from eval.sweep.variants import Variant
    from surgery.recipe import Recipe


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
    from eval.generation import Generation
    from eval.grading.grade import GRADERS
    from eval.styles import read_style
    from eval.sweep.desk import Work
    from eval.sweep.score import Comparison

    check_known("--grader", grader, GRADERS)
    asked_as = read_style(style)
    if judge:
        endpoint(judge, "--judge", key_variable)
    chosen = load_suites(suite, samples, seed, bindings(data))
    chosen = with_descriptions(chosen, out, descriptions, describe, key_variable)
    generation = Generation(
        max_new_tokens=max_new_tokens, temperature=temperature, repeats=repeats, seed=seed
    )
    work = Work(chosen, generation, asked_as, device, dtype, batch)
    variants = variants_of(models, bindings(model), served=server is not None)
    names = [variant.name for variant in variants]
    compared = Comparison(against or (names[0] if len(names) > 1 else None), base, donor)
    check_names(compared, names)
    asked = ask(
        variants, work, out, quiet=quiet or json, wanted=processes,
        server=None if server is None else (server, concurrency, key_variable),
    )  # fmt: skip
    settings = {"samples": samples, "seed": seed, "local": sorted(bindings(data))}
    finish(asked, work, out, compared, grader=grader, judge=judge, key=key_variable,
           settings=settings, json=json)  # fmt: skip


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


def load_suites(
    names: Sequence[str], samples: int | None, seed: int, data: Mapping[str, str]
) -> tuple[Suite, ...]:
    """The suites that are asked."""
    from eval.suites.table import Choice, load_suite

    return tuple(load_suite(name, Choice(samples, seed, data)) for name in names)


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


def with_descriptions(
    suites: tuple[Suite, ...],
    out: Path,
    file: Path | None,
    describe: str | None,
    key: str | None,
) -> tuple[Suite, ...]:
    """The suites, with descriptions for those samples that need one and have none."""
    from eval.descriptions import described, describer, lacking, read_descriptions
    from surgery.errors import ExecutionError
    from surgery.runs import RunKind, check_folder, claimed

    check_folder(out, RunKind.EVALUATION)
    cache = out / "descriptions.jsonl"
    if file and describe and file.resolve() == cache.resolve():
        raise ExecutionError(
            f"--descriptions {file} is the file in which --describe stores its results; it is "
            "always read. Leave --descriptions out."
        )
    known = read_descriptions(file) if file else None
    ask_for: Callable[[Sample], str | Failure] | None = None
    model = ""
    if describe:
        point = endpoint(describe, "--describe", key)
        ask_for, model = describer(point), point.model
    with claimed(out, RunKind.EVALUATION) if ask_for else nullcontext():
        found = tuple(
            described(
                suite, cache, ask_for, model=model, known=known,
                failed=lambda reason: stderr().print(
                    one_line(f"an image got no description: {reason}"), soft_wrap=True
                ),
            )
            for suite in suites
        )  # fmt: skip
    count = sum(map(lacking, found))
    if count:
        stderr().print(
            f"{count} samples need a description of their image and have none: their M_v2r will "
            f"be missing. Give --descriptions FILE or --describe MODEL@URL.",
            soft_wrap=True,
        )
    return found


def variants_of(
    given: Sequence[str], bound: Mapping[str, str], *, served: bool = False
) -> tuple[Variant, ...]:
    """Models and recipes as variants."""
    from eval.sweep.variants import Variant, plain, unique

    found = []
    for text in given:
        name, equals, reference = text.partition("=")
        if not equals:
            name, reference = "", text
        name = well_formed(name)
        if served:
            found.append(Variant(name or well_formed(reference), None, {"served": reference}))
            continue
        recipe = _recipe(reference, bound)
        if recipe is None:
            found.append(plain(name or well_formed(_name(reference)), reference))
        else:
            found.append(Variant(name or recipe.name, recipe, {"recipe": reference}))
    return unique(found)


def _recipe(text: str, bound: Mapping[str, str]) -> Recipe | None:
    from surgery.errors import RecipeError
    from surgery.recipe import find_recipe, load_recipe

    try:
        path = find_recipe(text)
    except RecipeError:
        return None
    return load_recipe(text if path.is_file() else path, dict(bound))


def _name(reference: str) -> str:
    """What a model is called by default: the end of its reference."""
    return reference.rstrip("/").rpartition("/")[2].rpartition(":")[2] or reference


def check_names(compared: Comparison, names: Sequence[str]) -> None:
    """Refuse a comparison with a variant that is not there, before anything is asked."""
    for option, name in asdict(compared).items():
        if name is not None:
            check_known(f"--{option}", name, names)


def check_known(option: str, name: str, known: Iterable[str]) -> None:
    """Refuse an option's value that is not among the known ones.

    Raises:
        SurgeryError: With the nearest known one.
    """
    from surgery.errors import SurgeryError, did_you_mean

    valid = list(known)
    if name not in valid:
        raise SurgeryError(f"{option}: there is no {name!r}.{did_you_mean(name, valid)}")


def ask(
    variants: Sequence[Variant],
    work: Work,
    out: Path,
    *,
    quiet: bool,
    wanted: int | None,
    server: tuple[str, int, str | None] | None = None,
) -> list[Asked]:
    """Ask all that was not asked yet, and show how it goes."""
    with AnswerProgress(quiet=quiet) as progress:
        if server is not None:
            from eval.endpoint import Endpoint
            from eval.sweep.served import run_served

            url, concurrency, key = server
            return run_served(
                variants, work, out, lambda name: Endpoint(url, name, key_variable=key),
                concurrency=concurrency, progress=progress,
            )  # fmt: skip
        from eval.sweep.run import run

        quiet_libraries()
        return run(variants, work, out, processes=wanted, progress=progress)


def quiet_libraries() -> None:
    """No chatter and no bars but ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def finish(
    asked: Sequence[Asked],
    work: Work,
    out: Path,
    compared: Comparison,
    *,
    grader: str,
    judge: str | None,
    key: str | None,
    settings: Mapping[str, object],
    json: bool,
) -> None:
    """Grade, write, draw and print."""
    from eval.sweep.score import score
    from surgery.report.scores.figures import write_figures

    verdict = None
    if judge:
        from eval.grading.judge import Judge

        point = endpoint(judge, "--judge", key)
        verdict = Judge(point, out / "judge.jsonl").verdicts
    results = score(asked, work, out, compared, grader=grader, judge=verdict, settings=settings)
    write_figures(results, out)
    if json:
        print_json(plain_json([asdict(row) for row in results.scores]))
    else:
        show(results, out)
