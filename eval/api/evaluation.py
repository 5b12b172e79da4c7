"""Evaluations, sweeps and comparisons: questions in, results out, one call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.api.arguments import load_suites, run_folder
from eval.asking.run import ask_served, ask_variants
from eval.asking.settings import EvalSettings
from eval.descriptions import describe_suites
from eval.endpoint import Endpoint
from eval.generation import Generation
from eval.grading.grade import GRADERS
from eval.styles import read_style
from eval.suites.table import Choice
from eval.sweep.load import load_sweep
from eval.sweep.score import Comparison, score
from eval.variants import find_variant, named
from surgery.api.results import RunResult
from surgery.checkpoint.hub import fixed_revisions
from surgery.errors import check_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eval.api.arguments import Suites
    from eval.asking.processes import Report
    from eval.records import Suite
    from eval.variants import Models, Variant


@fixed_revisions()
def evaluate(
    models: Models,
    suite: Suites,
    *,
    out: str | Path | None = None,
    against: str | None = None,
    base: str | None = None,
    donor: str | None = None,
    samples: int | None = None,
    seed: int = 123,
    data: Mapping[str, str] | None = None,
    bindings: Mapping[str, str] | None = None,
    style: str = "plain",
    grader: str = "strict",
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
    repeats: int = 1,
    processes: int | None = 1,
    batch_size: int = 128,
    device: str = "auto",
    dtype: str = "auto",
    server: str | None = None,
    concurrency: int = 16,
    judge: str | Endpoint | None = None,
    describe: str | Endpoint | None = None,
    descriptions: str | Path | None = None,
    key_variable: str | None = None,
    progress: Report | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> RunResult:
    """Score models, merges and recipes on suites, all on the same questions.

    Recipes and plans are swapped into the model that is in memory; nothing is merged to disk.
    With `out` every response is stored there as it arrives and an interrupted evaluation resumes;
    a later call with other models adds them.

    Args:
        models: References, recipe files, names of bundled recipes, recipes or plans; a mapping
            gives them names.
        suite: Names of suites, paths of custom YAML files, or suites; see `load_suite`.
        out: Folder of the run; without one nothing is kept on disk.
        against: Variant that all are compared with, by name or reference; the first by default.
        base: Variant that a gain starts from, for recovery.
        donor: Variant that it ends at.
        samples: Samples per task; the suite's own number by default.
        seed: Seed that draws the samples.
        data: Local folders of benchmarks, by name; the others come from the Hub.
        bindings: References for models that the recipes leave open, by model name.
        style: Prompt style: a name or the path of a YAML.
        grader: Reading of answers: strict or paper.
        max_new_tokens: Longest answer; the suite's own limit by default.
        temperature: 0 is greedy; above 0 samples.
        repeats: Answers per question when sampling.
        processes: Number of model processes; None chooses by the machine.
            More than one needs a script with `if __name__ == "__main__"`.
        batch_size: Maximum batch size.
        device: auto, cpu or cuda.
        dtype: Element type to compute in; auto is float32 on a CPU and bfloat16 with CUDA.
        server: Address of an OpenAI-compatible server; `models` are then its models' names.
        concurrency: Maximum number of concurrent requests to the server.
        judge: `MODEL@URL` or an endpoint that reads every response besides the rule.
        describe: `MODEL@URL` or an endpoint that describes images without a description.
        descriptions: File of descriptions, one JSON object per line.
        key_variable: Environment variable that holds the key of the endpoints.
        progress: Called with a variant's name, the responses that arrived, and how many there will
            be.
        report: Called with lines about what is missing.

    Returns:
        Scores with intervals, paired differences, recovery and power.

    Raises:
        SurgeryError: If a model, a suite or a setting cannot be used.

    Example:
        >>> from eval import evaluate
        >>> scores = evaluate(["specimen:in", "specimen:rl"], suite="specimen", samples=5)
        >>> scores.pairs["variant"].unique().tolist()
        ['rl']
    """
    check_choice("grader", grader, GRADERS)
    variants = named(models, bindings, served=server is not None)
    names = [variant.name for variant in variants]
    comparison = Comparison(against or (names[0] if len(names) > 1 else None), base, donor)
    generation = Generation(
        max_new_tokens=max_new_tokens, temperature=temperature, repeats=repeats, seed=seed
    )
    settings = EvalSettings(generation, read_style(style), device, dtype, batch_size)
    return _results(
        variants,
        load_suites(suite, Choice(samples, seed, data or {})),
        settings,
        _resolved(comparison, variants),
        out,
        grader=grader,
        processes=processes,
        server=server,
        concurrency=concurrency,
        judge=_endpoint(judge, key_variable),
        describe=_endpoint(describe, key_variable),
        descriptions=descriptions,
        key_variable=key_variable,
        progress=progress,
        report=report,
        details={"samples": samples, "seed": seed, "local": sorted(data or {})},
    )


@fixed_revisions()
def run_sweep(
    sweep: str | Path,
    *,
    out: str | Path | None = None,
    processes: int | None = 1,
    batch_size: int = 128,
    device: str = "auto",
    dtype: str = "auto",
    judge: str | Endpoint | None = None,
    describe: str | Endpoint | None = None,
    key_variable: str | None = None,
    progress: Report | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> RunResult:
    """Score every variant of a sweep's YAML without writing a checkpoint.

    Args:
        sweep: The YAML; `eval/README.md` describes it.
        out: Folder of the run; without one nothing is kept on disk.
        processes: As in `evaluate`; so are the other arguments.
        batch_size: Maximum batch size.
        device: auto, cpu or cuda.
        dtype: Element type to compute in.
        judge: `MODEL@URL` or an endpoint that reads every response besides the rule.
        describe: `MODEL@URL` or an endpoint that describes images without a description.
        key_variable: Environment variable that holds the key of the endpoints.
        progress: Called with a variant's name, the responses that arrived, and how many there will
            be.
        report: Called with lines about what is missing.

    Raises:
        SurgeryError: If the sweep, a model or a suite cannot be used.

    Example:
        >>> from eval import run_sweep
        >>> scores = run_sweep("eval/sweep/examples/specimen-thirds.yaml")  # doctest: +SKIP
    """
    loaded = load_sweep(Path(sweep))
    settings = EvalSettings(loaded.generation, loaded.style, device, dtype, batch_size)
    comparison = Comparison(loaded.against, loaded.base, loaded.donor)
    return _results(
        loaded.variants,
        load_suites(loaded.suites, Choice(loaded.samples, loaded.seed, loaded.data)),
        settings,
        _resolved(comparison, loaded.variants),
        out,
        grader=loaded.grader,
        processes=processes,
        judge=_endpoint(judge, key_variable),
        describe=_endpoint(describe, key_variable),
        descriptions=loaded.descriptions,
        key_variable=key_variable,
        progress=progress,
        report=report,
        details={"sweep": loaded.name, "samples": loaded.samples, "seed": loaded.seed,
                 "local": sorted(loaded.data)},
    )  # fmt: skip


def _results(
    variants: Sequence[Variant],
    suites: tuple[Suite, ...],
    settings: EvalSettings,
    comparison: Comparison,
    out: str | Path | None,
    *,
    grader: str,
    processes: int | None,
    judge: Endpoint | None,
    describe: Endpoint | None,
    descriptions: str | Path | None,
    key_variable: str | None,
    progress: Report | None,
    report: Callable[[str], object],
    details: Mapping[str, Any],
    server: str | None = None,
    concurrency: int = 16,
) -> RunResult:
    """Describe, ask, grade, score, write and draw."""
    from eval.grading.judge import Judge
    from surgery.report.figures import write_figures

    with run_folder(out) as folder:
        file = None if descriptions is None else Path(descriptions)
        suites = describe_suites(suites, folder, file=file, endpoint=describe, report=report)
        if server is None:
            variants_asked = ask_variants(
                variants, suites, settings, folder, processes=processes, progress=progress
            )
        else:
            variants_asked = ask_served(
                variants, suites, settings, folder,
                lambda name: Endpoint(server, name, key_variable=key_variable),
                concurrency=concurrency, progress=progress,
            )  # fmt: skip
        verdicts = Judge(judge, folder / "judge.jsonl").verdicts if judge else None
        results = score(
            variants_asked,
            suites,
            settings,
            folder,
            comparison,
            grader=grader,
            judge=verdicts,
            details=details,
        )
        if out is not None:
            write_figures(results, folder)
    return RunResult.of(results)


def _endpoint(endpoint: str | Endpoint | None, key_variable: str | None) -> Endpoint | None:
    return Endpoint.parse(endpoint, key_variable) if isinstance(endpoint, str) else endpoint


def _resolved(comparison: Comparison, variants: Sequence[Variant]) -> Comparison:
    """Return the comparison with the names of its variants, before anything is asked."""
    names = {
        label: find_variant(label, name, variants)
        for label, name in vars(comparison).items()
        if name is not None
    }
    return replace(comparison, **names)
