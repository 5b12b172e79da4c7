"""MATH-500 (arXiv 2305.20050): five hundred problems of MATH, in text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eval.records import AnswerKind, Sample
from eval.suites.benchmark import Benchmark, known_categories

if TYPE_CHECKING:
    from eval.suites.rows import Row


def _sample(row: Row) -> Sample:
    return Sample(
        id=row.text("unique_id"),
        task="math500",
        prompt=row.text("problem"),
        answer=row.text("answer"),
        kind=AnswerKind.MATH,
        categories=known_categories(subject=row["subject"], level=row["level"]),
    )


MATH500: Final = Benchmark(
    name="math500",
    hub="HuggingFaceH4/MATH-500",
    split="test",
    files=("test.jsonl", "data/test-*.parquet"),
    sample=_sample,
    columns=("unique_id", "problem", "answer", "subject", "level"),
)
