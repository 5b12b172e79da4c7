"""From answered questions to results in the run's folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from eval.asking.settings import DISTRIBUTIONS
from eval.asking.store import Store
from eval.engines.resizing import limit_note
from eval.graded import graded, judged
from eval.sweep.results import make_results, write_results
from surgery.recipe.dump import to_yaml
from surgery.runs import hardware, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from eval.asking.run import AskedVariant
    from eval.asking.settings import EvalSettings
    from eval.records import Sample, Suite
    from surgery.runs import RunTables


@dataclass(frozen=True)
class Comparison:
    """The variants that results compare.

    Attributes:
        against: The variant all are compared with.
        base: The model a gain starts from.
        donor: The model it ends at.
    """

    against: str | None = None
    base: str | None = None
    donor: str | None = None


def score(
    asked_variants: Sequence[AskedVariant],
    suites: Sequence[Suite],
    settings: EvalSettings,
    folder: Path,
    compared: Comparison,
    *,
    grader: str = "strict",
    judge: Callable[[Sequence[tuple[Sample, str]]], Sequence[bool | None]] | None = None,
    details: Mapping[str, Any] | None = None,
) -> RunTables:
    """Grade what is in the store, work results out and write them.

    Args:
        asked_variants: The variants with their questions.
        suites: The questions.
        settings: Settings of the run.
        folder: The run's folder.
        compared: Which variants to compare.
        grader: How answers are read and compared.
        judge: Another model's word on each of many responses.
        details: Further entries of the header.

    Raises:
        SurgeryError: If a name to compare with is not a variant, or a file cannot be written.
    """
    store = Store(folder)
    records = [
        record
        for variant in asked_variants
        for record in graded(
            variant.variant.name, zip(variant.questions, variant.keys, strict=True),
            store.responses, store.failures, style=variant.style, grader=grader,
        )
    ]  # fmt: skip
    if judge is not None:
        records = judged(records, suites, judge)
    summary = {
        **(details or {}),
        **asdict(compared),
        "grader": grader,
        **settings.header(),
        "suites": [_suite(suite) for suite in suites],
        "variants": [_variant(variant) for variant in asked_variants],
        "notes": [note for note in (limit_note(suites, settings.generation.max_pixels),) if note]
        + [
            variant.note for variant in {variant.shrinkage for variant in asked_variants} if variant
        ],
        "versions": versions(*DISTRIBUTIONS),
        "hardware": hardware(),
    }
    results = make_results(records, summary)
    write_results(results, folder, records)
    return results


def _suite(suite: Suite) -> dict[str, Any]:
    return {
        "name": suite.name,
        "max_new_tokens": suite.max_new_tokens,
        "tasks": [
            {"name": task.name, "metric": str(task.metric), "samples": len(task.samples)}
            for task in suite.tasks
        ],
    }


def _variant(asked_variant: AskedVariant) -> dict[str, Any]:
    recipe = asked_variant.variant.recipe
    return {
        "name": asked_variant.variant.name,
        "fingerprint": asked_variant.content,
        "traits": dict(asked_variant.variant.traits),
        "recipe": None if recipe is None else to_yaml(recipe),
        "seconds": {key: round(value, 3) for key, value in asdict(asked_variant.timing).items()},
    }
