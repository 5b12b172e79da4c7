"""The function behind `eval.compare`, separate from code that loads models, to start fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.logs import read_logs
from eval.sweep.results import load_results, make_results
from surgery.api.results import RunResult
from surgery.errors import SurgeryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eval.graded import Graded


def compare(
    run: str | Path,
    *,
    against: str | None = None,
    base: str | None = None,
    donor: str | None = None,
) -> RunResult:
    """Compare the variants of a finished evaluation on identical samples; no model is run.

    Args:
        run: Folder of the evaluation or sweep.
        against: Variant that all are compared with; as in the run by default.
        base: Variant that a gain starts from.
        donor: Variant that it ends at.

    Returns:
        Scores, paired differences, recovery and power, computed from the run's records.

    Raises:
        SurgeryError: If the folder is no such run, or has no such variant.

    Example:
        >>> from eval import compare, evaluate
        >>> run = out / "compared"
        >>> _ = evaluate(["specimen:in", "specimen:rl"], suite="specimen", samples=2, out=run)
        >>> compare(run, against="rl").pairs["variant"].unique().tolist()
        ['in']
    """
    return RunResult.of(load_results(Path(run), against=against, base=base, donor=donor))


def compare_logs(
    logs: Mapping[str, str | Path | Sequence[str | Path]],
    *,
    against: str | None = None,
    base: str | None = None,
    donor: str | None = None,
    measure: str | None = None,
) -> RunResult:
    r"""Compare models by the logs of other harnesses, question by question.

    Reads lm-eval's and lmms-eval's `samples_*.jsonl`, Inspect's `.eval`, and `.csv` or `.tsv` files
    with `index` and `hit`, as VLMEvalKit writes them. Responses are not regraded.

    Args:
        logs: Name of each model, and its log, its logs, or a folder of lm-eval samples.
        against: Model that all are compared with; the first by default.
        base: Model that a gain starts from.
        donor: Model that it ends at.
        measure: Binary metric or scorer: `exact_match`, `exact_match,strict-match`; the first one
            in each log by default.

    Returns:
        Scores, paired differences, recovery and power.

    Raises:
        SurgeryError: If a log cannot be read, or models have no question in common.

    Example:
        >>> from eval import compare_logs
        >>> for name, hits in {"in": "0110", "rl": "1111"}.items():
        ...     rows = [f"{index},{hit}" for index, hit in enumerate(hits)]
        ...     _ = (out / f"{name}.csv").write_text("\n".join(["index,hit", *rows]))
        >>> logs = {"in": out / "in.csv", "rl": out / "rl.csv"}
        >>> compare_logs(logs).pairs["difference"].tolist()
        [0.5]
    """
    paths = {
        name: [Path(log) for log in ([value] if isinstance(value, str | Path) else value)]
        for name, value in logs.items()
    }
    records = read_logs(paths, measure)
    against = against or next(iter(logs))
    _check_common(records, against)
    summary: dict[str, Any] = {
        "against": against, "base": base, "donor": donor,
        "variants": [{"name": name, "traits": {}} for name in logs],
    }  # fmt: skip
    return RunResult.of(make_results(records, summary))


def _check_common(records: Sequence[Graded], against: str) -> None:
    """Refuse a model that answered none of the questions of the one that it is compared with."""
    questions: dict[str, set[tuple[str, str]]] = {}
    for record in records:
        questions.setdefault(record.variant, set()).add((record.task, record.sample))
    baseline = questions.get(against, set())
    for name, answered in questions.items():
        if baseline and not answered & baseline:
            first, other = (
                f"{task} {sample[:12]!r}" for task, sample in (min(answered), min(baseline))
            )
            raise SurgeryError(
                f"{name!r} and {against!r} have no question in common: the first are {first} and "
                f"{other}. Compare logs of one task."
            )
