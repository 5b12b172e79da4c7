"""Probes and profiles of layers: one call each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eval.api.arguments import load_suites, run_folder
from eval.asking.settings import EvalSettings
from eval.generation import Generation
from eval.grading.grade import GRADERS
from eval.styles import read_style
from eval.suites.table import Choice
from eval.variants import named
from surgery.api.results import RunResult
from surgery.checkpoint.hub import fixed_revisions
from surgery.errors import SurgeryError, check_choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eval.probes.pairs import ImagePair
    from eval.probes.run import Progress
    from eval.records import Suite
    from eval.variants import Models, Variant
    from surgery.runs import RunTables

PROBES: Final = ("ablation", "vision-swap", "attention")


@fixed_revisions()
def run_probe(
    probe: str,
    models: Models,
    *,
    suite: str | Path | Suite | None = None,
    pairs: str | Path | None = None,
    out: str | Path | None = None,
    layers: str = ":",
    samples: int | None = None,
    seed: int = 123,
    data: Mapping[str, str] | None = None,
    bindings: Mapping[str, str] | None = None,
    branches: Sequence[str] = ("layer",),
    score_by: str = "accuracy",
    mode: str = "from",
    boxes: str | None = None,
    resize_source: bool = False,
    text: str = "own",
    style: str = "plain",
    grader: str = "strict",
    max_new_tokens: int | None = None,
    sequential: bool = False,
    batch_size: int = 128,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress | None = None,
) -> RunResult:
    """Find out where in a model something happens: ablate layers, swap images, follow attention.

    Args:
        probe: ablation, vision-swap or attention.
        models: One model or recipe; for attention several, all compared with the first.
        suite: A suite's name, a YAML or a suite, for ablation and attention.
        pairs: Folder of image pairs, or `specimen`, for vision-swap.
        out: Folder of the run, in which responses are stored so that an interrupted probe resumes;
            without one nothing is kept on disk.
        layers: Decoder layers, as in a selector: `:`, `0:9`, `early`, `3, 5`.
        samples: Samples per task, or pairs per task; all, or the suite's own number, by default.
        seed: Seed that draws the samples.
        data: Local folders of benchmarks, by name.
        bindings: References for models that recipes leave open, by model name.
        branches: For ablation, what is switched off: layer, attention, mlp.
        score_by: For ablation: accuracy, metric or logprob.
        mode: For vision-swap, whether layers read the source's image `from` one on or `only` there.
        boxes: For vision-swap, the scale of boxes in responses; the family's own by default.
        resize_source: For vision-swap, whether the source image is resized to the target's.
        text: For attention, over which responses: `own`, a model's name, or a jsonl file.
        style: Prompt style: a name or the path of a YAML.
        grader: For ablation, reading of answers: strict or paper.
        max_new_tokens: Longest answer; the suite's own limit by default.
        sequential: Whether questions and layers go one at a time: slow, the reference of all else.
        batch_size: Maximum number of rows in a batch.
        device: auto, cpu or cuda.
        dtype: Element type to compute in.
        progress: Called with a name, the responses that arrived, and how many there will be.

    Returns:
        Table `layers`, one row per model, layer, branch, task and metric; for attention also
        `heads`.

    Raises:
        SurgeryError: If a model, a suite or a setting cannot be used.

    Example:
        >>> from eval import run_probe
        >>> probe = run_probe("ablation", "specimen:in", suite="specimen", samples=2, layers="0, 8")
        >>> sorted(probe.layers["layer"].dropna().unique().tolist())
        [0, 8]
    """
    from eval.probes.pairs import load_pairs
    from eval.probes.run import run_attention
    from surgery.report.figures import write_figures

    check_choice("probe", probe, PROBES)
    check_choice("grader", grader, GRADERS)
    check_choice("score_by", score_by, ("accuracy", "metric", "logprob"))
    variants = named(models, bindings)
    _check_arguments(probe, variants, suite, pairs)
    suites: tuple[Suite, ...] = ()
    if suite is not None and probe != "vision-swap":
        suites = load_suites(suite, Choice(samples, seed, data or {}))
    generation = Generation(max_new_tokens=max_new_tokens)
    settings = EvalSettings(generation, read_style(style), device, dtype, batch_size)
    settings.resolve_device()  # a device that is not there shows before there is a folder
    report: Progress = progress or (lambda *_: None)
    selection: dict[str, Any] = {"samples": samples, "seed": seed}
    with run_folder(out) as folder:
        if probe == "ablation":
            run = _ablation(
                variants[0], suites, settings, folder, branches,
                score_by=score_by, layers=layers, sequential=sequential, grader=grader,
                progress=report, details=selection,
            )  # fmt: skip
        elif probe == "vision-swap":
            selection["pairs"] = str(pairs)
            run = _swap(
                variants[0], load_pairs(str(pairs), Path(str(pairs)), samples, seed), settings,
                folder, mode, boxes=boxes, resize_source=resize_source,
                layers=layers, sequential=sequential, progress=report, details=selection,
            )  # fmt: skip
        else:
            run = run_attention(
                variants, suites, settings, folder, text=text, progress=report, details=selection
            )
        if out is not None:
            write_figures(run, folder)
    return RunResult.of(run)


def run_profile(runs: Sequence[str | Path], *, out: str | Path | None = None) -> RunResult:
    """Align the results of runs by decoder layer, with rank correlations.

    Args:
        runs: Folders of statistics, probes, and sweeps of single layers of one architecture.
        out: Folder for the tables and figures; without one nothing is written.

    Returns:
        Tables `layers`, a column for each thing that was found, and `correlations`.

    Raises:
        SurgeryError: If a folder is no such run, or the runs cannot be lined up.

    Example:
        >>> import surgery
        >>> from eval import run_profile
        >>> models = {"in": "specimen:in", "rl": "specimen:rl"}
        >>> _ = surgery.weight_stats(models, spectrum="none", out=out / "updates")
        >>> len(run_profile([out / "updates"]).layers)
        9
    """
    from eval.probes.profile import profile
    from surgery.report.figures import write_figures
    from surgery.runs import RunKind, claimed, write_run

    run = profile([Path(item) for item in runs])
    if out is not None:
        with claimed(Path(out), RunKind.PROFILE):
            write_run(run, Path(out))
            write_figures(run, Path(out))
    return RunResult.of(run)


def _check_arguments(
    probe: str, variants: Sequence[Variant], suite: object | None, pairs: object | None
) -> None:
    """Refuse what a probe cannot do with its models, suite or pairs.

    Raises:
        SurgeryError: If something is missing, or too much.
    """
    if len(variants) != 1 and probe != "attention":
        raise SurgeryError(
            f"{probe} takes one model, found {len(variants)}. Probe each into its own folder."
        )
    if probe != "vision-swap" and suite is None:
        raise SurgeryError(f"{probe} needs a suite, for example suite='specimen'.")
    if probe == "vision-swap" and pairs is None:
        raise SurgeryError("vision-swap needs pairs, for example pairs='specimen'.")


def _ablation(
    variant: Variant,
    suites: tuple[Suite, ...],
    settings: EvalSettings,
    folder: Path,
    branches: Sequence[str],
    *,
    score_by: str,
    grader: str,
    details: Mapping[str, Any],
    **options: Any,
) -> RunTables:
    """Ablate, scored by accuracy, by the suite's metrics, or by log-probability."""
    from eval.probes.ablation import with_accuracy
    from eval.probes.run import run_ablation
    from surgery.intervene import Branch

    if score_by != "metric":
        suites = with_accuracy(suites)
    chosen_branches = [Branch(name) for name in dict.fromkeys(map(str, branches))]
    return run_ablation(
        variant, suites, settings, folder, chosen_branches, likely=score_by == "logprob",
        grader=grader, details={**details, "score": score_by, "grader": grader}, **options,
    )  # fmt: skip


def _swap(
    variant: Variant,
    pairs: Sequence[ImagePair],
    settings: EvalSettings,
    folder: Path,
    mode: str,
    *,
    boxes: str | None,
    resize_source: bool,
    details: Mapping[str, Any],
    **options: Any,
) -> RunTables:
    """Swap images, those of the source resized first if asked for."""
    from eval.probes.boxes import Scale
    from eval.probes.run import run_swap
    from eval.probes.swap import resized
    from surgery.intervene import Mode

    return run_swap(
        variant, resized(pairs) if resize_source else pairs, settings, folder, Mode(mode),
        boxes=None if boxes is None else Scale(boxes),
        details={**details, "mode": mode, "resize_source": resize_source}, **options,
    )  # fmt: skip
