"""A probe in the terminal: a bar per layer, and a column of numbers per task."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from surgery.report.probes.tables import named, tasks_of, unchanged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas import DataFrame
    from rich.console import RenderableType

    from surgery.runs import RunTables

_LONGEST = 24
_NAME = 14  # characters of a task's name, at most
_BESIDE = 5 + 1 + 5 + 1 + _LONGEST  # columns of layer, region and bar
_MAIN = {"vision-swap": "source", "attention": "image share"}
_HEADS = {
    "ablation": "lost without it, points",
    "vision-swap": "the source's answer, % of pairs",
    "attention": "to the image, % of attention",
}


def bars(tables: RunTables, *, ascii_only: bool = False, width: int = 160) -> list[RenderableType]:
    """What every layer does, for the terminal.

    Args:
        tables: What to show.
        ascii_only: Whether bars are made of `#`.
        width: Characters of a line; tasks that find no room are left out.

    Returns:
        One table for each model and kind of change, with a heading.
    """
    table = tables.layers
    main = _MAIN.get(tables.summary["probe"])
    wanted = table["metric"].str.endswith(" drop") if main is None else table["metric"] == main
    chosen = table[wanted & table["layer"].notna()]
    if tables.summary["probe"] == "attention":
        chosen = chosen[chosen["what"] == "response"]
    made: list[RenderableType] = []
    for (model, what), its in chosen.groupby(["model", "what"], sort=False):
        head = _HEADS[tables.summary["probe"]]
        if its["metric"].str.startswith("logprob").any():
            head = "lost without it, nats"
        head += f", n = {its['n'].max()}"
        made += [Text(f"{model}, {what}: {head}", "bold"),
                 _table(tables, table, its, width, ascii_only=ascii_only)]  # fmt: skip
    return made


def _table(
    tables: RunTables, whole: DataFrame, its: DataFrame, width: int, *, ascii_only: bool
) -> Table:
    tasks = tasks_of(its)
    last = tasks[-1]
    shown = _fitting([last, *tasks[:-1]], width - _BESIDE)
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    made.add_column("layer", justify="right", no_wrap=True, min_width=6)
    made.add_column("", no_wrap=True, min_width=5)
    made.add_column("", no_wrap=True, width=_LONGEST)
    for task in shown:
        made.add_column(_short(task), justify="right", no_wrap=True)
    points = not its["metric"].str.startswith("logprob").any()
    by_task = {task: _by_layer(its, task) for task in shown}
    longest = max((abs(x) for x in by_task[last].values() if math.isfinite(x)), default=0.0)
    for layer, value in by_task[last].items():
        numbers = [_told(by_task[task].get(layer), points=points) for task in shown]
        bar = _bar(value, longest, "#" if ascii_only else "\N{FULL BLOCK}")
        made.add_row(str(layer), _region(tables.summary, layer), Text(bar, "blue"), *numbers)
    if tables.summary["probe"] == "ablation":
        metrics = dict(zip(its["task"], its["metric"].str.removesuffix(" drop"), strict=True))
        levels = [unchanged(whole, task=task, metric=metrics[task]) for task in shown]
        numbers = [_told(level, points=points) for level in levels]
        made.add_row("intact", "", "", *numbers, style="dim")
    return made


def _fitting(tasks: Sequence[str], width: int) -> list[str]:
    """As many tasks as there is room for, one at least."""
    found: list[str] = []
    for task in tasks:
        width -= max(7, len(_short(task)) + 1)
        if found and width < 0:
            break
        found.append(task)
    return found


def _short(task: str) -> str:
    return task if len(task) <= _NAME else task[: _NAME - 3] + "..."


def _by_layer(its: DataFrame, task: str) -> dict[int, float]:
    rows = named(its, task=task)
    return dict(zip(map(int, rows["layer"]), map(float, rows["value"]), strict=True))


def _region(summary: Mapping[str, object], layer: int) -> str:
    """The region that begins at a layer."""
    spans: Mapping[str, Sequence[int]] = summary["regions"]  # type: ignore[assignment]
    return next((name for name, (start, stop) in spans.items() if start == layer < stop), "")


def _bar(value: float, longest: float, full: str) -> str:
    """A bar; what is below zero is hollow."""
    if not math.isfinite(value) or not longest:
        return ""
    length = round(_LONGEST * abs(value) / longest)
    return (full if value > 0 else "-") * length


def _told(value: float | None, *, points: bool) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{100 * value:z.1f}" if points else f"{value:z.2f}"
