"""Publish one merge with the scores of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eval.graded import read_records
from eval.publishing.entries import eval_results, model_index
from eval.publishing.scores import (
    differences_for,
    plain_variants,
    scores_for,
    tasks_with_images,
    variant_of,
)
from eval.sweep.results import load_results
from surgery.checkpoint.hub import fixed_revisions
from surgery.hub.card import Evaluation
from surgery.hub.merge import PublishOptions, publish_merge
from surgery.hub.parents import content_of
from surgery.report.layers import layers_png

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.hub.package import Package
    from surgery.hub.publish import Published


@fixed_revisions()
def publish_model(
    folder: Path, repository: str, options: PublishOptions | None = None, run: Path | None = None
) -> tuple[Package, Published | None]:
    """Publish a merge on the Hub, with a card that has its scores.

    Args:
        folder: The merge's folder.
        repository: `namespace/name`.
        options: Settings; private and without a message when absent.
        run: The folder of a run that scored it, or None.

    Returns:
        The files for the Hub, and the publication; None for a dry run.

    Raises:
        SurgeryError: If a check fails, in which case nothing was sent, or if sending fails.

    Example:
        >>> from surgery.hub.merge import PublishOptions
        >>> dry = PublishOptions(dry_run=True)
        >>> package, _ = publish_model(Path("out"), "me/rl-mid", dry)  # doctest: +SKIP
        >>> print(package.card)  # doctest: +SKIP
    """
    return publish_merge(
        folder,
        repository,
        options or PublishOptions(),
        draw=layers_png,
        evaluate=None if run is None else lambda name: evaluation(folder, run, name),
    )


def evaluation(folder: Path, run: Path, name: str) -> Evaluation:
    """Return the scores that a run has of a merge, weights and all.

    Args:
        folder: The merge's folder.
        run: The run's folder.
        name: The model's name on the Hub.

    Raises:
        SurgeryError: If the run did not score it, or there is no such run.
    """
    results = load_results(run)
    return evaluation_of(run, variant_of(results.summary, content_of(folder)), name)


def evaluation_of(run: Path, variant: str, name: str) -> Evaluation:
    """Return the scores that a run has of one of its variants.

    Args:
        run: The run's folder.
        variant: The variant.
        name: The model's name on the Hub.
    """
    results = load_results(run)
    summary = results.summary
    plain = [other for other in plain_variants(summary) if other != variant]
    # A sweep may score models that are no parents of its variants.
    ends = [summary.get(key) for key in ("base", "donor")]
    parents = [parent for parent in plain if parent in ends] or plain
    scores = scores_for(results, variant, parents)
    return Evaluation(
        variant=variant,
        scores=scores,
        differences=differences_for(read_records(run), variant, parents),
        settings=_settings(summary),
        results=eval_results(scores, variant, summary),
        index=model_index(scores, variant, summary, name, tasks_with_images(results)),
    )


def _settings(summary: Mapping[str, Any]) -> str:
    """Describe prompting and grading."""
    generation = summary.get("generation") or {}
    temperature = generation.get("temperature") or 0.0
    sampling = (
        f"temperature {temperature:g}, {generation.get('repeats', 1)} answers each"
        if temperature
        else "greedy"
    )
    versions = summary.get("versions") or {}
    programs = ", ".join(
        f"{name} {versions[name]}" for name in ("vlm-surgery", "transformers") if name in versions
    )
    return (
        f"Prompt style `{summary.get('style')}`, grader `{summary.get('grader')}`, {sampling}; p "
        f"is exact and two-sided, and then corrected (Holm) over variants and tasks. "
        f"Measured with {programs}."
    )
