"""CV-Bench (arXiv 2406.16860): counting, relations, depth and distance in photographs."""

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


def _sample(row: Row) -> Sample:
    pictures = row.pictures("image")
    choices = tuple(map(str, row["choices"]))
    return Sample(
        id=row.text("idx"),
        task="cvbench",
        prompt=with_options(row.text("question"), choices),
        answer=letter_of(row.text("answer"), choices, row.where),
        kind=AnswerKind.OPTION,
        choices=choices,
        images=pictures,
        categories=known_categories(type=row["type"], task=row["task"], source=row["source"]),
        group=picture_group(pictures),
        official=row.optional("prompt"),
    )


CVBENCH: Final = Benchmark(
    name="cvbench",
    hub="nyu-visionx/CV-Bench",
    split="test",
    files=("test*.parquet",),
    sample=_sample,
    columns=("idx", "type", "task", "question", "choices", "answer", "source"),
    images=("image",),
)
