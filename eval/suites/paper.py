"""The tasks of arXiv 2602.12395, coarse and fine; their rows follow the authors'
scripts.
"""  # noqa: D205

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eval.records import Metric
from eval.suites.benchmark import BenchmarkTask
from eval.suites.math500 import MATH500
from eval.suites.mathvista import MATHVISTA, metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval.suites.rows import Row

SAMPLES: Final = 100
"""Of each task, unless the run says otherwise."""

_CHARTS: Final = frozenset({"bar chart", "line plot", "pie chart", "scatter plot"})
_HARD: Final = 4


def _is(key: str, value: str) -> Callable[[Row], bool]:
    return lambda row: metadata(row).get(key) == value


def _is_geometry(row: Row) -> bool:
    about = metadata(row)
    context, task = about.get("context"), about.get("task")
    return context == "geometry diagram" or task == "geometry problem solving"


def _is_chart(row: Row) -> bool:
    return metadata(row).get("context") in _CHARTS


def _is_hard(row: Row) -> bool:
    return int(row["level"]) >= _HARD


PAPER: Final = (
    BenchmarkTask("general-vqa", MATHVISTA, Metric.VISION, _is("category", "general-vqa")),
    BenchmarkTask("math-vqa", MATHVISTA, Metric.ALIGNMENT, _is("category", "math-targeted-vqa")),
    BenchmarkTask("math500", MATH500, Metric.REASONING),
)
PAPER_FINE: Final = (
    BenchmarkTask("charts", MATHVISTA, Metric.VISION, _is_chart),
    BenchmarkTask("tables", MATHVISTA, Metric.VISION, _is("context", "table")),
    BenchmarkTask("natural-images", MATHVISTA, Metric.VISION, _is("context", "natural image")),
    BenchmarkTask("geometry", MATHVISTA, Metric.ALIGNMENT, _is_geometry),
    BenchmarkTask("math500-hard", MATH500, Metric.REASONING, _is_hard),
)
