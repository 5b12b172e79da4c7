"""Scores of published variants: rows for a card and for the index of several.

`eval.publishing.entries` puts them into the forms that the Hub reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eval.comparison import PairedDifference, pairs
from eval.metrics import Score
from eval.records import Condition, Metric
from eval.sweep.results import rows_of
from surgery.errors import SurgeryError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from eval.graded import Graded
    from surgery.runs import RunTables

NAMES: Final[dict[str, str]] = {
    Metric.VISION: "M_vis",
    Metric.ALIGNMENT: "M_v2r",
    Metric.REASONING: "M_rea",
    Metric.ACCURACY: "accuracy",
}
"""Display names of the metrics, in the order of tables."""

_DIGITS: Final = 12  # of a fingerprint, where people read it
_WHOLE: Final = "*"  # the selector of all there is


def scores_for(results: RunTables, variant: str, parents: Sequence[str]) -> tuple[Score, ...]:
    """Return the metrics of a variant and of the models that it is compared with, by task.

    Args:
        results: The run's.
        variant: The variant; its rows come first.
        parents: Other variants of the run, in the order of their rows.

    Returns:
        Single tasks, then tasks taken together; no categories.

    Raises:
        SurgeryError: If the run has no variant of one of those names.
    """
    names = dict.fromkeys((variant, *parents))
    _check(names, results.summary)
    metrics = _metrics(rows_of(results, Score))
    return tuple(score for name in names for score in metrics if score.variant == name)


def differences_for(
    records: Sequence[Graded], variant: str, parents: Sequence[str]
) -> tuple[PairedDifference, ...]:
    """Return comparisons of a variant with each of its parents, paired on identical samples.

    Args:
        records: Those of all variants of the run: Holm's correction is over all of them.
        variant: The variant.
        parents: Variants that it is compared with; the variant itself is omitted.

    Raises:
        SurgeryError: If the run has no variant of one of those names.
    """
    names = list(dict.fromkeys(record.variant for record in records))
    _check_name(variant, names)
    return tuple(
        pair
        for parent in dict.fromkeys(parents)
        if parent != variant
        for pair in pairs(records, parent)
        if pair.variant == variant
    )


def index_scores(
    results: RunTables, names: Sequence[str]
) -> tuple[list[Score], list[PairedDifference]]:
    """Return the metrics of several variants on whole suites, and their paired differences.

    Where several tasks of a suite share a metric, they are pooled.

    Args:
        results: The run's.
        names: The variants, in the order of the rows.

    Raises:
        SurgeryError: If the run has no variant of one of those names.
    """
    _check(names, results.summary)
    pairs = {(pair.variant, *_place(pair)): pair for pair in rows_of(results, PairedDifference)}
    metrics = of_suites(_metrics(rows_of(results, Score)))
    scores = [item for name in dict.fromkeys(names) for item in metrics if item.variant == name]
    differences = (pairs.get((score.variant, *_place(score))) for score in scores)
    return scores, [pair for pair in differences if pair is not None]


def _place(row: Score | PairedDifference) -> tuple[str, str, str]:
    return row.suite, row.task, row.measure


def of_suites(scores: Iterable[Score]) -> list[Score]:
    """One row per variant, suite and metric, with several tasks pooled."""
    scores = list(scores)
    pooled = {(s.variant, s.suite, s.measure) for s in scores if s.pooled}
    selected = [s for s in scores if s.pooled or (s.variant, s.suite, s.measure) not in pooled]
    suites = {suite: place for place, suite in enumerate(dict.fromkeys(s.suite for s in scores))}
    metrics = {metric: place for place, metric in enumerate(NAMES)}
    return sorted(selected, key=lambda s: (suites[s.suite], metrics[s.measure]))


def variant_of(summary: Mapping[str, Any], fingerprint: str) -> str:
    """Return the run's variant with these contents; a recipe's variant before a plain model.

    Args:
        summary: The run's `run.json`.
        fingerprint: Over all weights, configuration, tokenizer and processor, in hex.

    Raises:
        SurgeryError: If none has.
    """
    plain = plain_variants(summary)
    same = [
        variant["name"]
        for variant in summary["variants"]
        if variant.get("fingerprint") == fingerprint
    ]
    merged = [name for name in same if name not in plain]
    if same:
        return str((merged or same)[0])
    listing = ", ".join(
        f"{variant['name']} ({str(variant.get('fingerprint', ''))[:_DIGITS] or 'no fingerprint'})"
        for variant in summary["variants"]
    )
    raise SurgeryError(
        f"the model has the fingerprint {fingerprint[:_DIGITS]}, and no variant of the run has it: "
        f"the run scored other weights, or another configuration, tokenizer or processor. It "
        f"scored {listing}. Score the model itself with 'surgery eval', and give that run."
    )


def plain_variants(summary: Mapping[str, Any]) -> list[str]:
    """Return the run's variants that are plain models, in its order.

    A recipe without steps is one, as is one whose only step takes every tensor from one model (a
    base with its adapter), and a model that is served elsewhere, which has no recipe.
    """
    return [
        str(variant["name"]) for variant in summary["variants"] if _is_plain(variant.get("recipe"))
    ]


def tasks_with_images(results: RunTables) -> frozenset[tuple[str, str]]:
    """Return the suite and name of every task whose samples were asked with their images."""
    measure = f"right[{Condition.IMAGE}]"
    return frozenset((s.suite, s.task) for s in rows_of(results, Score) if s.measure == measure)


def _metrics(scores: Iterable[Score]) -> list[Score]:
    """Return the metrics among all measures, without categories."""
    return [score for score in scores if not score.split and score.measure in NAMES]


def _check(names: Iterable[str], summary: Mapping[str, Any]) -> None:
    known_names = [str(variant["name"]) for variant in summary["variants"]]
    for name in names:
        _check_name(name, known_names)


def _check_name(name: str, known_names: Sequence[str]) -> None:
    if name not in known_names:
        raise SurgeryError(f"the run has no variant {name!r}.{did_you_mean(name, known_names)}")


def _is_plain(text: str | None) -> bool:
    if not text:
        return True
    import yaml

    steps = yaml.safe_load(text).get("steps") or []
    return not steps or (len(steps) == 1 and steps[0].get("transplant") == _WHOLE)
