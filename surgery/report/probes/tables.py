"""What pictures of probes are drawn from."""

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
    found = list(dict.fromkeys(table["task"]))
    return sorted(found, key=is_of_all)


def named(table: DataFrame, **wanted: object) -> DataFrame:
    """The rows with these values, by layer."""
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table.sort_values("layer", kind="stable")


def unchanged(table: DataFrame, **wanted: object) -> float | None:
    """The number of the model as it is, or None where the table has none."""
    rows = named(table[table["layer"].isna()], **wanted)
    return float(rows["value"].iloc[0]) if len(rows) else None
