"""Tables behind the figures of probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

ALL = "all"
"""All tasks together."""


def is_of_all(task: str) -> bool:
    """`all`, or all tasks with one metric, such as `all m_vis`."""
    return task == ALL or task.startswith(f"{ALL} ")


def tasks_of(table: DataFrame) -> list[str]:
    """Tasks in their order, all of them together last."""
    tasks = list(dict.fromkeys(table["task"]))
    return sorted(tasks, key=is_of_all)


def named(table: DataFrame, **values: object) -> DataFrame:
    """Return the rows with these values, by layer."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table.sort_values("layer", kind="stable")


def unchanged(table: DataFrame, **values: object) -> float | None:
    """Return the value of the intact model, or None if the table has none."""
    rows = named(table[table["layer"].isna()], **values)
    return float(rows["value"].iloc[0]) if len(rows) else None
