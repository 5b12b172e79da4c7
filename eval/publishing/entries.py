"""Scores of a published variant in the two forms that the Hub reads."""

from __future__ import annotations

import re
from math import isnan
from typing import TYPE_CHECKING, Any, Final

from eval.publishing.scores import NAMES
from eval.records import Metric
from eval.suites import specimen
from eval.suites.table import SUITES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from eval.metrics import Score
    from eval.suites.benchmark import Benchmark

_PLACES: Final = 4  # of a share


def eval_results(
    scores: Iterable[Score], variant: str, summary: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Entries for a model repository's `.eval_results/*.yaml`, by the name of their file.

    The Hub (hub-docs: docs/hub/eval-results.md, eval_results.yaml) wants `dataset.id`, the Hub id
    of a data set that is registered as a benchmark (it has an `eval.yaml`, and the Hub's staff
    allowed it), `dataset.task_id`, a task of that `eval.yaml`, and `value`. Only such entries are
    shown, and get onto the benchmark's leaderboard. Others have the right form all the same; the
    Hub finds fault with whole files, so every task has its own. Of the data sets here, the
    documentation names `openai/gsm8k` as registered (task `gsm8k`).

    A leaderboard ranks values and reads no notes. So only a benchmark's accuracy over all of its
    questions stands under the benchmark's own task id. A metric of the paper, a draw of samples,
    or one with missing responses is `general-vqa-m_vis`, `gsm8k-n100`, which no leaderboard takes
    for the benchmark's own number. Values are shares; there is no date, since a run has none.

    Custom suites and the specimen's have no data set on the Hub and are omitted, as are
    tasks without an answer, and tasks taken together.

    Args:
        scores: As `scores_for` gives them.
        variant: Whose.
        summary: The run's `run.json`.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    files = {}
    for score in _single_scores(scores, variant):
        source = _benchmark(score, summary)
        if source is None:
            continue
        name, _, revision = source.hub.partition("@")
        entry = EvalResultEntry(
            dataset_id=name,
            task_id=_task_id(score, source, summary),
            value=round(score.value, _PLACES),
            dataset_revision=revision or None,
            notes=_notes(score, summary),
        )
        stem = score.suite if score.task == score.suite else f"{score.suite}-{score.task}"
        files[f"{stem}.yaml"] = eval_result_entries_to_yaml([entry])
    return files


def model_index(
    scores: Iterable[Score],
    variant: str,
    summary: Mapping[str, Any],
    name: str,
    with_images: Collection[tuple[str, str]] = (),
) -> list[dict[str, Any]]:
    """Return the `model-index` of a card's head, for readers older than `.eval_results`.

    Every single task of every suite is in it; a suite without a data set on the Hub is named
    itself where the data set would be. The Hub checks it when it is pushed: task type, data set
    type and name, metric type and value have to be there. Task types are the Hub's:
    `image-text-to-text`, or `text-generation` where no image was shown.

    Args:
        scores: As `scores_for` gives them.
        variant: Whose.
        summary: The run's `run.json`.
        name: The model's name on the Hub.
        with_images: Suite and name of the tasks whose samples were asked with their images.
    """
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    entries = []
    for score in _single_scores(scores, variant):
        source = _benchmark(score, summary)
        hub, _, revision = (source.hub if source else "").partition("@")
        configs = source.configs if source else ()
        text = f"n = {score.n}, {_interval(score)}"
        entries.append(
            EvalResult(
                task_type=(
                    "image-text-to-text"
                    if (score.suite, score.task) in with_images
                    else "text-generation"
                ),
                dataset_type=hub or re.sub(r"[^A-Za-z0-9._-]+", "-", score.suite),
                dataset_name=hub.rpartition("/")[2] or score.suite,
                dataset_config=configs[0] if len(configs) == 1 else None,
                dataset_split=source.split if source else None,
                dataset_revision=revision or None,
                metric_type=score.measure,
                metric_name=f"{NAMES[score.measure]}, {score.task}, {text}",
                metric_value=round(score.value, _PLACES),
            )
        )
    return eval_results_to_model_index(name, entries) if entries else []


def _single_scores(scores: Iterable[Score], variant: str) -> list[Score]:
    """Return a variant's single tasks with a number."""
    return [s for s in scores if s.variant == variant and not s.pooled and not isnan(s.value)]


def _benchmark(score: Score, summary: Mapping[str, Any]) -> Benchmark | None:
    """Return the published data set of a task, unless the run read it from a folder."""
    parts = SUITES[score.suite].parts if score.suite in SUITES else ()
    for part in parts:
        if (part.name, part.metric) == (score.task, score.measure):
            local = part.benchmark.name in summary.get("local", ())
            return None if local else part.benchmark
    return None


def _is_drawn(score: Score, summary: Mapping[str, Any]) -> bool:
    """Check whether samples were drawn; assume so if the run does not state it."""
    default_samples = SUITES[score.suite].samples if score.suite in SUITES else None
    unsaid = "samples" not in summary
    return score.suite == specimen.NAME or unsaid or bool(summary["samples"] or default_samples)


def _task_id(score: Score, source: Benchmark, summary: Mapping[str, Any]) -> str:
    if score.measure != Metric.ACCURACY:
        return f"{score.task}-{score.measure}"
    part = _is_drawn(score, summary) or score.missing
    return f"{source.name}-n{score.n}" if part else source.name


def _interval(score: Score) -> str:
    return f"95% interval {score.low:.{_PLACES}f} to {score.high:.{_PLACES}f}"


def _notes(score: Score, summary: Mapping[str, Any]) -> str:
    """Return one line with the conditions of a number."""
    paper = "" if score.measure == Metric.ACCURACY else " (arXiv 2602.12395)"
    is_seeded = _is_drawn(score, summary) and summary.get("seed") is not None
    selection = f", drawn with seed {summary['seed']}" if is_seeded else ""
    lines = [
        f"{NAMES[score.measure]}{paper}, share of {score.n} samples{selection}",
        _interval(score),
    ]
    if score.clusters < score.n:
        lines.append(f"{score.clusters} independent groups")
    if score.missing:
        lines.append(f"{score.missing} more samples without a response")
    if score.guessed:
        lines.append(f"{score.guessed} answers guessed, as the responses mark none")
    lines += [f"{key} {summary[key]}" for key in ("style", "grader") if summary.get(key)]
    lines += _generation(score.suite, summary)
    lines += [f"vlm-surgery {version}" for version in _version(summary)]
    return "; ".join(lines)


def _generation(suite: str, summary: Mapping[str, Any]) -> list[str]:
    settings = summary.get("generation")
    if not settings:
        return []
    limits = {item["name"]: item["max_new_tokens"] for item in summary.get("suites", ())}
    limit = settings["max_new_tokens"] or limits.get(suite)
    if not settings["temperature"]:
        decoding = "greedy"
    else:
        decoding = (
            f"temperature {settings['temperature']:g}, top-p {settings['top_p']:g}, "
            f"{settings['repeats']} answers each"
        )
    return [decoding, *([f"at most {limit} new tokens"] if limit else [])]


def _version(summary: Mapping[str, Any]) -> list[str]:
    version = summary.get("versions", {}).get("vlm-surgery")
    return [version] if version else []
