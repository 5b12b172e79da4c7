"""MathVerse testmini (arXiv 2403.14624): each problem in five versions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from eval.records import AnswerKind, Sample
from eval.suites.benchmark import Benchmark, known_categories, letter_of, options_in

if TYPE_CHECKING:
    from eval.suites.rows import Row

_VISION_PROMPT: Final = "Answer the question that stands in the image."
"""For the versions whose question is only in the image."""


_LETTERS: Final = re.compile(r"[A-H](?:\s*[\n,]\s*[A-H])*")
"""A letter; of a question that asks for two options, `A` and `C` in lines of their own."""


def _letters(answer: str, choices: tuple[str, ...], location: str) -> str:
    """Return the letter of the answer, or several letters as `A, C`."""
    if len(answer) > 1 and _LETTERS.fullmatch(answer):
        return ", ".join(re.findall("[A-H]", answer))
    return letter_of(answer, choices, location, letters_first=True)


def _sample(row: Row) -> Sample:
    about = row["metadata"] or {}
    answer, kind = row.text("answer"), AnswerKind.MATH
    choices: tuple[str, ...] = ()
    if row["question_type"] == "multi-choice":
        choices = options_in(row.text("question"))
        # Where the options stand in the image alone, a few answers are values and no letters.
        if choices or _LETTERS.fullmatch(answer):
            answer, kind = _letters(answer, choices, row.where), AnswerKind.OPTION
    return Sample(
        id=row.text("sample_index"),
        task="mathverse",
        prompt=row.text("question") or _VISION_PROMPT,  # options stand in the question
        answer=answer,
        kind=kind,
        choices=choices,
        images=row.pictures("image"),
        categories=known_categories(
            version=row["problem_version"], subject=about.get("subject"),
            subfield=about.get("subfield"), question_type=row["question_type"],
        ),
        group=row.text("problem_index"),
        official=row.optional("query_cot") or row.optional("query_wo"),
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
