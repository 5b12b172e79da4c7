"""The functions behind the public names of `surgery`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from surgery.api.plans import MergedModel, MergePlan
from surgery.api.results import RunResult
from surgery.checkpoint.hub import fixed_revisions
from surgery.checkpoint.progress import no_progress
from surgery.errors import PlanError, check_choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from surgery.checkpoint.progress import Progress
    from surgery.recipe import Recipe


@fixed_revisions()
def make_plan(recipe: str | Path | Recipe, models: Mapping[str, str] | None = None) -> MergePlan:
    """Work a recipe out against the headers of its models; no weight is read.

    Args:
        recipe: A recipe, a file, the name of a bundled one, or a published merge `hf://org/name`.
        models: References that replace the recipe's own, by model name.

    Raises:
        SurgeryError: If the recipe is wrong, a model cannot be opened, or they do not fit.

    Example:
        >>> import surgery
        >>> plan = surgery.make_plan("specimen/in-rl-in")
        >>> plan.recipe.name
        'specimen/in-rl-in'
    """
    from dataclasses import replace

    from surgery.plan import make_plan as work_out
    from surgery.recipe import load_recipe, opened

    if isinstance(recipe, str | Path):
        recipe = load_recipe(recipe, models)
    elif models:
        unknown = [name for name in models if name not in recipe.models]
        if unknown:
            raise PlanError(
                f"recipe {recipe.name!r} has no model {unknown[0]!r}. "
                f"It has {', '.join(recipe.models)}."
            )
        recipe = replace(recipe, models={**recipe.models, **models})
    with opened(recipe) as checkpoints:
        return MergePlan(work_out(recipe, checkpoints))


@fixed_revisions()
def merge(
    recipe: str | Path | Recipe,
    out: str | Path,
    models: Mapping[str, str] | None = None,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> MergedModel:
    """Make the model that a recipe describes; the folder appears complete or not at all.

    Args:
        recipe: As for `make_plan`.
        out: The folder to make.
        models: References that replace the recipe's own, by model name.
        workers: Threads; one per processor by default.
        overwrite: Whether a folder that an earlier merge wrote may be replaced.
        progress: Called with the output bytes as they are done, from several threads.

    Raises:
        SurgeryError: As `make_plan` and `MergePlan.merge`.

    Example:
        >>> import surgery
        >>> surgery.merge("specimen/in-rl-in", out / "merged").path.name
        'merged'
    """
    plan = make_plan(recipe, models)
    return plan.merge(out, workers=workers, overwrite=overwrite, progress=progress)


@fixed_revisions()
def weight_stats(
    models: Mapping[str, str],
    *,
    pairs: Sequence[str] = (),
    select: str | None = None,
    spectrum: str = "top",
    top: int = 64,
    cuts: Mapping[str, tuple[int, int]] | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    memory: int | None = None,
    device: str = "auto",
    progress: Progress = no_progress,
) -> RunResult:
    """Measure what training changed in the weights: norms, angles, sparsity, spectra.

    Args:
        models: Two or three references by name, in the order of training.
        pairs: Comparisons as `before..after`; neighbors and then the ends by default.
        select: Tensors, as a selector of the recipe language; all by default.
        spectrum: Singular values: none, top or full.
        top: Number of the largest singular values that are looked at.
        cuts: First layer of mid and of late, by component; thirds by default.
        out: Folder of the run, in which measured tensors are kept so that an interrupted run
            resumes, and figures are drawn; without one nothing is written.
        workers: Threads; one per processor by default.
        memory: Memory budget for spectra, in bytes.
        device: Device for spectra: cpu, cuda, or auto.
        progress: Called with the number of bytes as they are done, from several threads.

    Returns:
        Tables `tensors`, `layers`, `regions`, `updates`, `update_layers`, `update_regions`; their
        columns are explained in surgery/stats/README.md.

    Raises:
        SurgeryError: If the models cannot be compared, or an option makes no sense.

    Example:
        >>> import surgery
        >>> stats = surgery.weight_stats(
        ...     {"in": "specimen:in", "rl": "specimen:rl"}, spectrum="none", select="language"
        ... )
        >>> sorted(stats.layers["component"].unique())
        ['language']
    """
    from surgery.arch import Component
    from surgery.recipe import parse_selector
    from surgery.report.figures import write_figures
    from surgery.runs import write_run
    from surgery.stats import Options, SpectrumKind, open_study

    check_choice("spectrum", spectrum, list(SpectrumKind))
    for component in cuts or ():
        check_choice("cuts", component, list(Component))
    options = Options(
        selector=None if select is None else parse_selector(select),
        pairs=tuple(pairs),
        spectrum=SpectrumKind(spectrum),
        top=top,
        cuts={Component(name): cut for name, cut in (cuts or {}).items()},
        workers=workers,
        memory=memory,
        device=device,
    )
    folder = None if out is None else Path(out)
    with open_study(models, options, folder) as study:
        stats = study.run(progress)
        if folder is not None:
            write_run(stats, folder)
            write_figures(stats, folder)
    return RunResult.of(stats)


def load_run(folder: str | Path) -> RunResult:
    """Read the folder of any run: evaluation, probe, statistics, training or profile.

    Args:
        folder: The `--out` of a command, or the `out` of a function.

    Raises:
        SurgeryError: If it is no run's folder, or the run has not ended.

    Example:
        >>> import surgery
        >>> models = {"in": "specimen:in", "rl": "specimen:rl"}
        >>> _ = surgery.weight_stats(models, spectrum="none", out=out / "stats")
        >>> surgery.load_run(out / "stats").kind.label
        'statistics'
    """
    from surgery.runs import read_run

    return RunResult.of(read_run(Path(folder)))
