"""MathVerse testmini (arXiv 2403.14624): each problem in five versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eval.records import AnswerKind, Sample
from eval.suites.benchmark import Benchmark, known_categories, letter_of

if TYPE_CHECKING:
    from eval.suites.rows import Row

_VISION_PROMPT: Final = "Answer the question that stands in the image."
"""For the versions whose question is only in the image."""


def _sample(row: Row) -> Sample:
    about = row["metadata"] or {}
    answer, kind = row.text("answer"), AnswerKind.MATH
    if row["question_type"] == "multi-choice":
        answer, kind = letter_of(answer, (), row.where), AnswerKind.OPTION
    return Sample(
        id=row.text("sample_index"),
        task="mathverse",
        prompt=row.text("question") or _VISION_PROMPT,  # options stand in the question
        answer=answer,
        kind=kind,
        images=row.pictures("image"),
        categories=known_categories(
            version=row["problem_version"], subject=about.get("subject"),
            subfield=about.get("subfield"), question_type=row["question_type"],
        ),
        group=row.text("problem_index"),
    )  # fmt: skip


MATHVERSE: Final = Benchmark(
    name="mathverse",
    hub="AI4Math/MathVerse",
    configs=("testmini",),
    split="testmini",
    files=("testmini.parquet",),
    sample=_sample,
    columns=(
        "sample_index", "problem_index", "problem_version", "question", "answer", "question_type",
        "metadata",
    ),
    images=("image",),
)  # fmt: skip
