"""MMMU validation (arXiv 2311.16502): college questions from thirty subjects."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from eval.grading.numbers import quantity
from eval.records import AnswerKind, Sample
from eval.suites.benchmark import (
    Benchmark,
    known_categories,
    letter_of,
    listed,
    picture_group,
    with_options,
)

if TYPE_CHECKING:
    from eval.suites.rows import Row

SUBJECTS: Final = (
    "Accounting", "Agriculture", "Architecture_and_Engineering", "Art", "Art_Theory",
    "Basic_Medical_Science", "Biology", "Chemistry", "Clinical_Medicine", "Computer_Science",
    "Design", "Diagnostics_and_Laboratory_Medicine", "Economics", "Electronics",
    "Energy_and_Power", "Finance", "Geography", "History", "Literature", "Manage", "Marketing",
    "Materials", "Math", "Mechanical_Engineering", "Music", "Pharmacy", "Physics", "Psychology",
    "Public_Health", "Sociology",
)  # fmt: skip
_ROUNDING: Final = 0.005
"""MMMU's own scoring rounds numbers to two decimals."""
_IMAGES: Final = tuple(f"image_{number}" for number in range(1, 8))


def _several(text: str) -> tuple[str, ...]:
    """Return a list that the data set writes as Python would; any other text is one entry."""
    try:
        entries = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return (text,)
    return tuple(map(str, entries)) if isinstance(entries, list) else (text,)


def _official(question: str, choices: tuple[str, ...]) -> str:
    """Return the prompt of MMMU's own configuration (configs/llava1.5.yaml)."""
    if not choices:
        return f"{question}\n\nAnswer the question using a single word or phrase."
    hint = "Answer with the option's letter from the given choices directly."
    return f"{question}\n\n{listed(choices, '({}) {}')}\n\n{hint}"


def _sample(row: Row) -> Sample:
    pictures = row.pictures(*_IMAGES)
    also: tuple[str, ...] = ()
    tolerance = 0.0
    options = row["options"]
    choices = tuple(map(str, options)) if isinstance(options, list) else _several(str(options))
    if row["question_type"] == "multiple-choice":
        kind = AnswerKind.OPTION
        answer = letter_of(row.text("answer"), choices, row.where, letters_first=True)
    else:
        answer, *others = _several(row.text("answer"))
        choices, also = (), tuple(others)
        kind = AnswerKind.TEXT if quantity(answer) is None else AnswerKind.NUMBER
        tolerance = _ROUNDING if kind is AnswerKind.NUMBER else 0.0
    return Sample(
        id=row.text("id"),
        task="mmmu",
        prompt=with_options(row.text("question"), choices),
        answer=answer,
        kind=kind,
        choices=choices,
        also=also,
        tolerance=tolerance,
        images=pictures,
        categories=known_categories(
            # validation_Art_Theory_12
            subject=row.text("id").partition("_")[2].rpartition("_")[0],
            subfield=row["subfield"], difficulty=row["topic_difficulty"],
        ),
        group=picture_group(pictures),
        official=_official(row.text("question"), choices),
    )  # fmt: skip


MMMU: Final = Benchmark(
    name="mmmu",
    hub="MMMU/MMMU",
    configs=SUBJECTS,
    split="validation",
    files=("{config}/validation-*.parquet",),
    sample=_sample,
    columns=(
        "id",
        "question",
        "options",
        "answer",
        "question_type",
        "topic_difficulty",
        "subfield",
    ),
    images=_IMAGES,
)
