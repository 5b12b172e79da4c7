"""The function behind `eval.compare`, separate from code that loads models, to start fast."""

from __future__ import annotations

from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.logs import TABLES, logs_in, read_log
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
    """Compare the variants of a finished evaluation on identical samples; no model is question_ids.

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
    with `index` and `hit`, as VLMEvalKit writes them. Verdicts are those of the harness.

    Args:
        logs: Name of each model, and its log, its logs, or a folder of lm-eval samples.
        against: Model that all are compared with; the first by default.
        base: Model that a gain starts from.
        donor: Model that it ends at.
        measure: Measure of 0 and 1, or scorer: `exact_match`, `exact_match,strict-match`; the first
            one in each log by default.

    Returns:
        Scores, paired differences, recovery and power.

    Raises:
        SurgeryError: If a log cannot be read, or models have no question in common.

    Example:
        >>> from eval import compare_logs
        >>> for name, verdicts in {"in": "0110", "rl": "1111"}.items():
        ...     rows = [f"{index},{hit}" for index, hit in enumerate(verdicts)]
        ...     _ = (out / f"{name}.csv").write_text("\n".join(["index,hit", *rows]))
        >>> logs = {"in": out / "in.csv", "rl": out / "rl.csv"}
        >>> compare_logs(logs).pairs["difference"].tolist()
        [0.5]
    """
    records: list[Graded] = []
    questions: dict[str, set[tuple[str, str]]] = {}
    files = {
        name: [
            log
            for path in ([value] if isinstance(value, str | Path) else value)
            for log in logs_in(Path(path))
        ]
        for name, value in logs.items()
    }
    for name, group in files.items():
        tables = [log for log in group if log.suffix in TABLES]
        if len(tables) > 1:
            raise SurgeryError(
                f"{name!r} has {len(tables)} tables, which do not name their tasks. Compare one "
                f"table of each model at a time."
            )
    stems = [log.stem for group in files.values() for log in group]
    # VLMEvalKit calls a table MODEL_BENCHMARK: the benchmark is what all names end in.
    backwards = commonprefix([stem[::-1] for stem in stems])  # noqa: RUF071 -- of characters
    table = backwards[::-1].strip("_-. ") or "table"
    for name, group in files.items():
        log_records = [record for log in group for record in read_log(log, name, measure, table)]
        if not log_records:
            raise SurgeryError(
                f"the logs of {name!r} hold no verdict: the evaluation failed, or was not scored."
            )
        questions[name] = {(record.task, record.sample) for record in log_records}
        records += log_records
    against = against or next(iter(logs))
    for name, question_ids in questions.items():
        if against in questions and not question_ids & questions[against]:
            raise SurgeryError(
                f"{name!r} and {against!r} have no question in common: the first are "
                f"{_example(question_ids)} and {_example(questions[against])}. Compare logs of one "
                f"task."
            )
    summary: dict[str, Any] = {
        "against": against, "base": base, "donor": donor,
        "variants": [{"name": name, "traits": {}} for name in logs],
    }  # fmt: skip
    return RunResult.of(make_results(records, summary))


def _example(question_ids: set[tuple[str, str]]) -> str:
    """Return the first question of a log, for an error."""
    task, sample = min(question_ids)
    return f"{task} {sample[:12]!r}"
