"""MathVista testmini (arXiv 2310.02255): 1000 visual questions, general and mathematical."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from eval.records import AnswerKind, Sample
from eval.suites.benchmark import (
    Benchmark,
    known_categories,
    letter_of,
    picture_group,
    with_options,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eval.suites.rows import Row


def metadata(row: Row) -> Mapping[str, Any]:
    """Category, context, task, ... of a row."""
    fields: Mapping[str, Any] = row["metadata"] or {}
    return fields


def _sample(row: Row) -> Sample:
    pictures = row.pictures("decoded_image")
    about = metadata(row)
    question, unit = row.text("question"), row.text("unit")
    choices = tuple(map(str, row["choices"] or ()))
    if unit:
        question += f" (Unit: {unit})"
    answer, kind, tolerance = row.text("answer"), AnswerKind.TEXT, 0.0
    if choices:
        answer, kind = letter_of(answer, choices, row.where), AnswerKind.OPTION
    elif row["answer_type"] in ("integer", "float"):
        kind = AnswerKind.NUMBER
        digits = row["precision"]
        if row["answer_type"] == "float" and digits is not None:
            tolerance = 0.5 * 10.0 ** -int(digits)  # right when it rounds to the answer
            question += f" (Round to {int(digits)} decimal places.)"
    return Sample(
        id=row.text("pid"),
        task="mathvista",
        prompt=with_options(question, choices),
        answer=answer,
        kind=kind,
        choices=choices,
        images=pictures,
        tolerance=tolerance,
        categories=known_categories(
            category=about.get("category"), context=about.get("context"), task=about.get("task"),
            source=about.get("source"), answer_type=row["answer_type"],
        ),
        group=picture_group(pictures),
        official=row.optional("query"),
    )  # fmt: skip


MATHVISTA: Final = Benchmark(
    name="mathvista",
    hub="AI4Math/MathVista",
    split="testmini",
    files=("data/testmini-*.parquet",),
    sample=_sample,
    columns=(
        "pid",
        "question",
        "choices",
        "unit",
        "precision",
        "answer",
        "answer_type",
        "metadata",
    ),
    images=("decoded_image",),
)
