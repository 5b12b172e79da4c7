"""A run's results: records, tables and a summary, computed from the store."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from eval.comparison import PairedDifference, Power, Share, pairs, power, shares
from eval.graded import read_records
from eval.metrics import Score, scores
from eval.statistics.intervals import proportion
from surgery.errors import ExecutionError
from surgery.runs import HEADER, RunKind, RunTables, write_run
from surgery.runs.header import read_header
from surgery.runs.writing import RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pandas import DataFrame

    from eval.graded import Graded


Row = TypeVar("Row", Score, PairedDifference, Share, Power)
_TABLES: Final[Mapping[type, str]] = {
    Score: "scores", PairedDifference: "pairs", Share: "recovery", Power: "power",
}  # fmt: skip


def make_results(records: Sequence[Graded], summary: Mapping[str, Any]) -> RunTables:
    """Return the results of graded records.

    Args:
        records: Every variant's.
        summary: Names the variants to compare: `against`, `base` and `donor`, each may be None.

    Returns:
        Tables `scores`, `pairs`, `recovery` and `power`, one row per `Score`, `PairedDifference`,
        `Share` and `Power`.

    Raises:
        SurgeryError: If the records have no variant of one of those names.
    """
    against, base, donor = (summary.get(key) for key in ("against", "base", "donor"))
    compared = pairs(records, against) if against else []
    parts = shares(records, base, donor) if base and donor else []
    tables = {
        "scores": _frame(scores(records), Score),
        "pairs": _frame(compared, PairedDifference),
        "recovery": _frame(parts, Share),
        "power": _frame(power(compared, records), Power),
    }
    summary_text = {**summary, "judge": _agreement(records), "missing": _reasons(records)}
    return RunTables(RunKind.EVALUATION, summary_text, tables)


def _frame(rows: Iterable[Any], kind: type[Any]) -> DataFrame:
    from pandas import DataFrame

    return DataFrame([asdict(row) for row in rows], columns=[field.name for field in fields(kind)])


def rows_of(results: RunTables, kind: type[Row]) -> list[Row]:
    """Return the rows of the table that holds values of a kind."""
    return [kind(**row) for row in results.table(_TABLES[kind]).to_dict("records")]


def write_results(results: RunTables, folder: Path, records: Sequence[Graded]) -> None:
    """Write records, tables and summary; each file is whole or not there.

    Raises:
        ExecutionError: If one cannot be written.
    """
    summary = {**results.summary, "power": results.power.to_dict("records")}
    write_run(replace(results, summary=summary), folder, map(vars, records))


def load_results(folder: Path, **changes: str | None) -> RunTables:
    """Return the results of a run that has ended, computed from its records.

    Args:
        folder: The run's folder.
        changes: What to compare with instead: `against`, `base`, `donor`.

    Raises:
        SurgeryError: If there is no run, or no such variant in it.
    """
    records = read_records(folder)
    summary = read_header(folder, RunKind.EVALUATION)
    try:
        _check_summary(summary)
    except ValueError as error:
        raise ExecutionError(
            f"{folder / HEADER} cannot be read ({error}). Run the evaluation again with the same "
            f"--out: responses are kept."
        ) from None
    options = {key: value for key, value in changes.items() if value is not None}
    try:
        return make_results(records, {**summary, **options})
    except (KeyError, ValueError, TypeError) as error:
        raise ExecutionError(
            f"{folder / RECORDS} does not hold what an evaluation writes: records are "
            f"missing or duplicate ({type(error).__name__}: {error}). Run the evaluation again "
            "with the same --out: responses are kept, and only the grading is repeated."
        ) from None


def _check_summary(summary: Any) -> None:
    """Refuse a summary in which something is of another type than an evaluation writes.

    Raises:
        ValueError: Says what.
    """
    variants = summary.get("variants")
    if not isinstance(variants, list) or not all(
        isinstance(variant, dict)
        and isinstance(variant.get("name"), str)
        and isinstance(variant.get("traits"), dict)
        for variant in variants
    ):
        raise ValueError("its 'variants' are not objects with name and traits")
    for key in ("against", "base", "donor"):
        if not isinstance(summary.get(key), str | None):
            raise ValueError(f"its {key!r} is {summary[key]!r} and not a name")


def _reasons(records: Sequence[Graded]) -> dict[str, int]:
    """Return the reasons for missing responses, the most common first."""
    reasons = Counter(record.failure for record in records if record.correct is None)
    return dict(reasons.most_common())


def _agreement(records: Sequence[Graded]) -> dict[str, Any] | None:
    """Return how often judge and rule differ, if there was a judge."""
    judged = [r for r in records if r.judged is not None and r.correct is not None]
    if not judged:
        return None
    clusters = [record.cluster for record in judged]
    differ = proportion([float(r.judged != r.correct) for r in judged], clusters)
    return {"judged": len(judged), "disagreement": asdict(differ)}
