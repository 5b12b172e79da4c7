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
    "ablation": "loss when ablated (percentage points)",
    "vision-swap": "answers that follow the source image (% of pairs)",
    "attention": "attention to the image (% of attention)",
}


def bars(tables: RunTables, *, ascii_only: bool = False, width: int = 160) -> list[RenderableType]:
    """Return the effect of every layer, for the terminal.

    Args:
        tables: What to show.
        ascii_only: Whether bars are made of `#`.
        width: Characters of a line; tasks that do not fit are omitted.

    Returns:
        One table for each model and kind of change, with a heading.
    """
    table = tables.layers
    main = _MAIN.get(tables.summary["probe"])
    is_main = table["metric"].str.endswith(" drop") if main is None else table["metric"] == main
    selected = table[is_main & table["layer"].notna()]
    if tables.summary["probe"] == "attention":
        selected = selected[selected["what"] == "response"]
    parts: list[RenderableType] = []
    for (model, label), subset in selected.groupby(["model", "what"], sort=False):
        head = _HEADS[tables.summary["probe"]]
        if subset["metric"].str.startswith("logprob").any():
            head = "loss when ablated (nats)"
        head += f", n = {subset['n'].max()}"
        parts += [Text(f"{model}, {label}: {head}", "bold"),
                 _table(tables, table, subset, width, ascii_only=ascii_only)]  # fmt: skip
    return parts


def _table(
    tables: RunTables, whole: DataFrame, frame: DataFrame, width: int, *, ascii_only: bool
) -> Table:
    tasks = tasks_of(frame)
    last = tasks[-1]
    columns = _fitting([last, *tasks[:-1]], width - _BESIDE)
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("layer", justify="right", no_wrap=True, min_width=6)
    grid.add_column("", no_wrap=True, min_width=5)
    grid.add_column("", no_wrap=True, width=_LONGEST)
    for task in columns:
        grid.add_column(_short(task), justify="right", no_wrap=True)
    points = not frame["metric"].str.startswith("logprob").any()
    by_task = {task: _by_layer(frame, task) for task in columns}
    longest = max((abs(x) for x in by_task[last].values() if math.isfinite(x)), default=0.0)
    for layer, value in by_task[last].items():
        numbers = [_number_text(by_task[task].get(layer), points=points) for task in columns]
        bar = _bar(value, longest, "#" if ascii_only else "\N{FULL BLOCK}")
        grid.add_row(str(layer), _region(tables.summary, layer), Text(bar, "blue"), *numbers)
    if tables.summary["probe"] == "ablation":
        metrics = dict(zip(frame["task"], frame["metric"].str.removesuffix(" drop"), strict=True))
        levels = [unchanged(whole, task=task, metric=metrics[task]) for task in columns]
        numbers = [_number_text(level, points=points) for level in levels]
        grid.add_row("intact", "", "", *numbers, style="dim")
    return grid


def _fitting(tasks: Sequence[str], width: int) -> list[str]:
    """Return the tasks that fit, at least one."""
    columns: list[str] = []
    for task in tasks:
        width -= max(7, len(_short(task)) + 1)
        if columns and width < 0:
            break
        columns.append(task)
    return columns


def _short(task: str) -> str:
    return task if len(task) <= _NAME else task[: _NAME - 3] + "..."


def _by_layer(frame: DataFrame, task: str) -> dict[int, float]:
    rows = named(frame, task=task)
    return dict(zip(map(int, rows["layer"]), map(float, rows["value"]), strict=True))


def _region(summary: Mapping[str, object], layer: int) -> str:
    """Return the region that begins at a layer."""
    spans: Mapping[str, Sequence[int]] = summary["regions"]  # type: ignore[assignment]
    return next((name for name, (start, stop) in spans.items() if start == layer < stop), "")


def _bar(value: float, longest: float, full: str) -> str:
    """Return a bar; a negative bar is hollow."""
    if not math.isfinite(value) or not longest:
        return ""
    length = round(_LONGEST * abs(value) / longest)
    return (full if value > 0 else "-") * length


def _number_text(value: float | None, *, points: bool) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{100 * value:z.1f}" if points else f"{value:z.2f}"
