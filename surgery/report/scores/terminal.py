"""Scores as a terminal shows them: tables that fit its width, and lines of notes."""

from __future__ import annotations

from collections import defaultdict
from math import isnan
from typing import TYPE_CHECKING, Any, Final

from surgery.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from rich.console import RenderableType
    from rich.table import Table

    from surgery.runs import RunTables

    Score: TypeAlias = Any
    Share: TypeAlias = Any
    Power: TypeAlias = Any
    PairedDifference: TypeAlias = Any

_REASONS: Final = 3  # why responses are missing, the commonest
_METRICS: Final = ("m_", "accuracy")
_OFFICIAL: Final = ("official", "aAcc", "fAcc", "qAcc")
_COLUMN: Final = 16  # characters of one task's column


def rows(results: RunTables, table: str) -> list[Any]:
    """Return a table's rows, their columns as attributes."""
    return list(results.table(table).itertuples(index=False))


def overview(results: RunTables, width: int) -> Iterator[RenderableType]:
    """Yield tables of scores and of recovery, an empty line after each.

    Args:
        results: An evaluation's.
        width: Characters of a line.
    """
    names = [variant["name"] for variant in results.summary["variants"]]
    for table in score_tables(rows(results, "scores"), {name: [] for name in names}, width):
        yield from (table, "")
    if len(results.recovery):
        base, donor = results.summary["base"], results.summary["donor"]
        yield f"recovery: each variant's share of the gain from {base} to {donor}"
        yield from (_recovery(rows(results, "recovery")), "")


def score_tables(
    scores: Iterable[Score],
    variants: Mapping[str, Sequence[str]],
    width: int,
    extra: str = "",
    measures: tuple[str, ...] = _METRICS,
) -> list[Table]:
    """Return every variant's metric on every task, in as many tables as the width asks for.

    Args:
        scores: All scores.
        variants: Further cells of each variant, after its name; variants are in this order.
        width: Of the terminal.
        extra: Header of that further cell.
        measures: Which measures, by how they begin.
    """
    from rich.table import Table

    result: dict[tuple[str, str, str], dict[str, Score]] = defaultdict(dict)
    for score in scores:
        single = not score.split and not score.pooled
        if single and score.measure.startswith(measures):
            result[score.suite, score.task, score.measure][score.variant] = score
    first = max(map(len, variants)) + sum(map(len, next(iter(variants.values())))) + 6
    across = max(1, (width - first) // _COLUMN)
    places = list(result)
    tables = []
    for start in range(0, len(places), across):
        table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
        table.add_column("variant", no_wrap=True)
        if extra:
            table.add_column(extra, no_wrap=True)
        columns = places[start : start + across]
        for _, task, measure in columns:
            table.add_column(f"{task}\n{measure}", no_wrap=True)
        for name, cells in variants.items():
            row = [_score(result[place].get(name)) for place in columns]
            table.add_row(name, *cells, *row)
        tables.append(table)
    return tables


def _score(score: Score | None) -> str:
    if score is None:
        return ""
    if isnan(score.value):
        return "missing"
    missing = "*" if score.missing else ""
    low, high = round(100 * score.low), round(100 * score.high)
    return f"{round(100 * score.value):3d}  ({low}-{high}){missing}"


def _recovery(parts: Sequence[Share]) -> Table:
    from rich.table import Table

    parts_shown = _together(parts)
    places = {(part.suite, part.task, part.measure): part.pooled for part in parts_shown}
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("variant", no_wrap=True)
    for (_, task, measure), pooled in places.items():
        table.add_column(task if pooled else f"{task}\n{measure}", no_wrap=True)
    for name in dict.fromkeys(part.variant for part in parts_shown):
        cells = {(p.suite, p.task, p.measure): _share(p) for p in parts_shown if p.variant == name}
        table.add_row(name, *(cells.get(place, "") for place in places))
    return table


def _together(parts: Sequence[Share]) -> list[Share]:
    """Return tasks with one metric taken together, where there are several."""
    pooled = {(p.suite, p.measure) for p in parts if p.pooled}
    return [p for p in parts if p.pooled or (p.suite, p.measure) not in pooled]


def _share(part: Share) -> str:
    if part.reason:
        return "not estimable"
    share, low, high = (round(100 * part_value) for part_value in (part.share, part.low, part.high))
    return f"{share}%  ({low}% to {high}%){' of a loss' if part.gain < 0 else ''}"


def pair_table(pairs: Sequence[PairedDifference]) -> Table:
    """Return every paired difference, in percentage points."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
    for header in ("variant", "task", "metric"):
        table.add_column(header, no_wrap=True)
    for header in ("difference", "95% interval", "better", "worse", "n", "p", "p (Holm)"):
        table.add_column(header, no_wrap=True, justify="right")
    for pair in pairs:
        interval = f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f}"
        corrected = "" if isnan(pair.p_holm) else _p(pair.p_holm)
        table.add_row(
            pair.variant, pair.task, pair.measure, f"{100 * pair.difference:+.1f}", interval,
            str(pair.better), str(pair.worse), str(pair.n), _p(pair.p), corrected,
        )  # fmt: skip
    return table


def _p(value: float) -> str:
    return "nan" if isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def notes(results: RunTables) -> list[str]:
    """Return what a reader of the tables must know: missing, guesses, power."""
    lines = ["Percent of samples with their 95% intervals; all variants got the same questions."]
    missing = {
        (s.variant, s.task): s.missing
        for s in rows(results, "scores")
        if s.missing and not s.split and s.measure.startswith(_METRICS)
    }
    if missing:
        counts = ", ".join(f"{name} {task}: {count}" for (name, task), count in missing.items())
        lines.append(f"* Samples without a response are excluded, not counted as wrong ({counts}).")
        reasons = list(results.summary["missing"].items())[:_REASONS]
        lines += [f"  {count} responses: {reason}" for reason, count in reasons]
    guessed = sum(
        s.guessed for s in rows(results, "scores") if s.measure.startswith("right[") and _single(s)
    )
    if guessed:
        lines.append(f"{guessed} answers are guesses, because the response marks none.")
    unanswered = round(
        sum(
            s.value * s.n
            for s in rows(results, "scores")
            if s.measure.startswith("unanswered[") and _single(s) and s.n
        )
    )
    if unanswered:
        lines.append(f"{unanswered} responses give no answer, which counts as wrong.")
    lines += _official_lines(rows(results, "scores"))
    judge = results.summary.get("judge")
    if judge:
        disagreement = judge["disagreement"]["value"]
        lines.append(
            f"A judge read {judge['judged']} responses; judge and rules disagree on "
            f"{disagreement:.1%}."
        )
    further = results.summary.get("notes")  # runs of earlier versions have none
    lines += map(printable, map(str, further if isinstance(further, list) else ()))
    lines += _power_lines(rows(results, "power"))
    return lines


def _official_lines(scores: Sequence[Score]) -> list[str]:
    """Return one line for each official score of a benchmark, with all variants."""
    by_name: dict[tuple[str, str], list[str]] = defaultdict(list)
    for s in scores:
        if s.measure in _OFFICIAL:
            text = f"{s.variant} {100 * s.value:.1f} ({100 * s.low:.1f}-{100 * s.high:.1f})"
            by_name[s.task, s.measure].append(text)
    return [f"{task} {measure}: {', '.join(texts)}" for (task, measure), texts in by_name.items()]


def _single(score: Score) -> bool:
    return not score.split and not score.pooled


def _power_lines(powers: Sequence[Power]) -> list[str]:
    """Return the smallest detectable differences, tasks of equal power together."""
    tasks_of: dict[str, list[str]] = defaultdict(list)
    for power in powers:
        if not power.pooled:
            detectable = (
                "no difference is detectable"
                if isnan(power.smallest)
                else f"differences from {100 * power.smallest:.1f} points on are detectable"
            )
            condition = f"n = {power.n}, if {power.discordant:.0%} of outcomes differ"
            tasks_of[f"{condition}: {detectable}"].append(power.task)
    return [
        f"Power (80%, two-sided 5%), {', '.join(tasks)}: {text}."
        for text, tasks in tasks_of.items()
    ]
