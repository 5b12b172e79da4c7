"""What `eval`, `sweep`, `compare` and `demo` share: options, progress, tables on the terminal."""

from __future__ import annotations

import time
from collections import defaultdict
from math import isnan
from typing import TYPE_CHECKING, Any, Final

from surgery.cli.console import stderr, stdout
from surgery.cli.progress import OnTerminal
from surgery.report.units import duration
from surgery.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from eval.comparison import PairedDifference, Power, Share
    from eval.metrics import Score
    from surgery.runs import RunTables

_REASONS: Final = 3  # why responses are missing, the commonest
_METRICS: Final = ("m_", "accuracy")
_COLUMN: Final = 16  # characters of one task's column


class AnswerProgress(OnTerminal):
    """Shows how many responses are in, how fast they come, and how long the rest will take.

    A bar on a terminal, a line per variant anywhere else; always on stderr.

    Args:
        quiet: Whether to show nothing.
        among: What is told apart by name, where all of them are known from the start.
    """

    def __init__(self, *, quiet: bool = False, among: str | None = "variants") -> None:
        super().__init__(quiet=quiet)
        self._among = among
        self._done: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._kept = 0
        self._start = time.monotonic()

    def _drawn(self, console: Console) -> Progress:
        bar = _bar(console)
        bar.add_task("loading", total=None, rate="")
        return bar

    def __call__(self, name: str, came: int, total: int) -> None:
        """Count responses of a variant; what is said of it first was there before."""
        name = one_line(name)
        first = name not in self._totals
        self._totals[name] = total
        self._done[name] = self._done.get(name, 0) + came
        if first:
            self._kept += came
            self._start = time.monotonic()
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=sum(self._done.values()),
                total=sum(self._totals.values()), description=name, rate=self._rate(),
            )  # fmt: skip
        elif self._done[name] >= total:
            over = sum(self._done[one] >= self._totals[one] for one in self._totals)
            told = f"      {name}: {total} responses"
            if first:
                told += ", kept from before"
            else:
                of = f"{over} of {len(self._totals)} {self._among}, " if self._among else ""
                told += f"; {of}{self._rate()}"
            stderr().print(told, soft_wrap=True)

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-9)
        done, total = sum(self._done.values()), sum(self._totals.values())
        rate = (done - self._kept) / seconds
        left = f", {duration((total - done) / rate)} left" if rate else ""
        return f"{rate:.3g} responses/s{left}"


def _bar(console: Any) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        console=console,
        transient=True,
    )


def rows(results: RunTables, table: str) -> list[Any]:
    """Return a table's rows, their columns as attributes."""
    return list(results.table(table).itertuples(index=False))


def show(results: RunTables, folder: Path | None) -> None:
    """Print what a run found."""
    console = stdout()
    names = [variant["name"] for variant in results.summary["variants"]]
    for table in score_tables(rows(results, "scores"), {name: [] for name in names}, console.width):
        console.print(table)
        console.print()
    if len(results.recovery):
        base, donor = results.summary["base"], results.summary["donor"]
        console.print(f"share of the gain from {base} to {donor} that each variant has")
        console.print(_recovery(rows(results, "recovery")))
        console.print()
    for line in notes(results):
        console.print(printable(line.replace("\n", " ")), soft_wrap=True)
    if folder is not None:
        console.print(f"tables, records and pictures are in {folder}")


def score_tables(
    scores: Iterable[Score],
    variants: Mapping[str, Sequence[str]],
    width: int,
    extra: str = "",
    measures: tuple[str, ...] = _METRICS,
) -> list[Table]:
    """Every variant's metric on every task, in as many tables as the width asks for.

    Args:
        scores: All scores.
        variants: Further cells of each variant, after its name; variants are in this order.
        width: Of the terminal.
        extra: Header of that further cell.
        measures: Which measures, by how they begin.
    """
    from rich.table import Table

    found: dict[tuple[str, str, str], dict[str, Score]] = defaultdict(dict)
    for score in scores:
        single = not score.split and not score.task.startswith("all ")
        if single and score.measure.startswith(measures):
            found[score.suite, score.task, score.measure][score.variant] = score
    first = max(map(len, variants)) + sum(map(len, next(iter(variants.values())))) + 6
    across = max(1, (width - first) // _COLUMN)
    places = list(found)
    tables = []
    for start in range(0, len(places), across):
        table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
        table.add_column("variant", no_wrap=True)
        if extra:
            table.add_column(extra, no_wrap=True)
        shown = places[start : start + across]
        for _, task, measure in shown:
            table.add_column(f"{task}\n{measure}", no_wrap=True)
        for name, cells in variants.items():
            row = [_score(found[place].get(name)) for place in shown]
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

    shown = _together(parts)
    places = list(dict.fromkeys((part.suite, part.task, part.measure) for part in shown))
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("variant", no_wrap=True)
    for _, task, measure in places:
        table.add_column(task if task.startswith("all") else f"{task}\n{measure}", no_wrap=True)
    for name in dict.fromkeys(part.variant for part in shown):
        cells = {(p.suite, p.task, p.measure): _share(p) for p in shown if p.variant == name}
        table.add_row(name, *(cells.get(place, "") for place in places))
    return table


def _together(parts: Sequence[Share]) -> list[Share]:
    """Tasks with one metric taken together, where there are several."""
    pooled = {(p.suite, p.measure) for p in parts if p.task.startswith("all ")}
    return [p for p in parts if p.task.startswith("all ") or (p.suite, p.measure) not in pooled]


def _share(part: Share) -> str:
    if part.reason:
        return "not estimable"
    share, low, high = (round(100 * one) for one in (part.share, part.low, part.high))
    return f"{share}%  ({low}% to {high}%){' of a loss' if part.gain < 0 else ''}"


def pair_table(pairs: Sequence[PairedDifference]) -> Table:
    """Every paired difference, in percentage points."""
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
    """What a reader of the tables must know: missing, guesses, power."""
    lines = ["Percent of samples with their 95% intervals; every variant got the same questions."]
    missing = {
        (s.variant, s.task): s.missing
        for s in rows(results, "scores")
        if s.missing and not s.split and s.measure.startswith(_METRICS)
    }
    if missing:
        told = ", ".join(f"{name} {task}: {count}" for (name, task), count in missing.items())
        lines.append(f"* Samples are missing, for want of a response ({told}); not counted wrong.")
        reasons = list(results.summary["missing"].items())[:_REASONS]
        lines += [f"  {count} responses: {reason}" for reason, count in reasons]
    guessed = sum(
        s.guessed for s in rows(results, "scores") if s.measure.startswith("right[") and _single(s)
    )
    if guessed:
        lines.append(f"{guessed} answers are guesses: nothing in the response marked them.")
    judge = results.summary.get("judge")
    if judge:
        apart = judge["disagreement"]["value"]
        lines.append(f"A judge read {judge['judged']} responses; it and the rule differ on "
                     f"{apart:.1%}.")  # fmt: skip
    further = results.summary.get("notes")  # runs of earlier versions have none
    lines += map(printable, map(str, further if isinstance(further, list) else ()))
    lines += _power_lines(rows(results, "power"))
    return lines


def _single(score: Score) -> bool:
    return not score.split and not score.task.startswith("all ")


def _power_lines(powers: Sequence[Power]) -> list[str]:
    """The smallest differences that could have shown, tasks of equal power together."""
    told: dict[str, list[str]] = defaultdict(list)
    for power in powers:
        if not power.task.startswith("all "):
            what = (
                "no difference is large enough to show"
                if isnan(power.smallest)
                else f"a difference of {100 * power.smallest:.1f} points could just have shown"
            )
            said = f"n = {power.n}, taking {power.discordant:.0%} of outcomes to differ"
            told[f"{said}: {what}"].append(power.task)
    return [
        f"Power (80%, two-sided 5%), {', '.join(tasks)}: {text}." for text, tasks in told.items()
    ]
