"""Tables behind the figures of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas import DataFrame

    from surgery.runs import RunTables

METRICS = {
    "m_vis": "M_vis: image needed and perceived",
    "m_v2r": "M_v2r: perceived and reasoned about",
    "m_rea": "M_rea: reasoning on text",
    "accuracy": "accuracy",
}
"""Metrics in display order, with their labels."""


def variants(tables: RunTables) -> list[str]:
    """Names of the variants, in their order."""
    return [variant["name"] for variant in tables.summary["variants"]]


def traits(tables: RunTables) -> dict[str, dict[str, Any]]:
    """Return the traits that vary, by variant."""
    return {variant["name"]: variant["traits"] for variant in tables.summary["variants"]}


def panels_of(table: DataFrame) -> Iterator[tuple[str, DataFrame]]:
    """One table per metric and suite with its title, in order: whole suites, not their tasks.

    Where several tasks share a metric, they are taken together.
    """
    for suite in dict.fromkeys(table["suite"]):
        for metric, label in METRICS.items():
            rows = table[(table["suite"] == suite) & (table["measure"] == metric)]
            if "split" in rows:
                rows = rows[rows["split"].fillna("") == ""]
            if rows.empty:
                continue
            pooled = rows.get("pooled", rows["task"] == f"all {metric}")  # 0.1.0 has no column
            together = rows[pooled.astype(bool)]
            selected = rows if together.empty else together
            title = f"{suite}: {label}" if table["suite"].nunique() > 1 else label
            yield title, selected
