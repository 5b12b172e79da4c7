"""BLINK validation (arXiv 2404.12390): fourteen kinds of seeing, one to four images each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eval.records import AnswerKind, Sample
from eval.suites.benchmark import (
    Benchmark,
    known_categories,
    letter_of,
    picture_group,
    with_options,
)

if TYPE_CHECKING:
    from eval.suites.rows import Row

KINDS: Final = (
    "Art_Style", "Counting", "Forensic_Detection", "Functional_Correspondence", "IQ_Test", "Jigsaw",
    "Multi-view_Reasoning", "Object_Localization", "Relative_Depth", "Relative_Reflectance",
    "Semantic_Correspondence", "Spatial_Relation", "Visual_Correspondence", "Visual_Similarity",
)  # fmt: skip
_IMAGES: Final = tuple(f"image_{number}" for number in range(1, 5))


def _sample(row: Row) -> Sample:
    pictures = row.pictures(*_IMAGES)
    choices = tuple(map(str, row["choices"]))
    return Sample(
        id=row.text("idx"),
        task="blink",
        # The published prompt tells more than the question, and holds the options.
        prompt=row.text("prompt") or with_options(row.text("question"), choices),
        answer=letter_of(row.text("answer"), choices, row.where, letters_first=True),
        kind=AnswerKind.OPTION,
        choices=choices,
        images=pictures,
        categories=known_categories(kind=row["sub_task"]),
        group=picture_group(pictures),
        official=row.text("prompt"),
    )


BLINK: Final = Benchmark(
    name="blink",
    hub="BLINK-Benchmark/BLINK",
    configs=KINDS,
    split="val",
    files=("{config}/val-*.parquet",),
    sample=_sample,
    columns=("idx", "question", "sub_task", "prompt", "choices", "answer"),
    images=_IMAGES,
)
