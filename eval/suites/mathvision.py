"""MathVision testmini (arXiv 2402.14804): competition mathematics with figures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

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

_MARK: Final = re.compile(r"<image\s?(\d{1,2})>")


_INSTRUCTION: Final = (
    'Please solve the problem step by step and put your answer in one "\\boxed{}". If it is a '
    'multiple choice question, only one letter is allowed in the "\\boxed{}".'
)
"""Of the authors' own scripts, models/GPT4.py."""


def _sample(row: Row) -> Sample:
    pictures = row.pictures("decoded_image")
    # Every figure of a problem is drawn in one image: its first mark says where it stands.
    question = _MARK.sub(lambda mark: "<image 1>" if mark[1] == "1" else "", row.text("question"))
    choices = tuple(map(str, row["options"] or ()))
    answer, kind = row.text("answer"), AnswerKind.MATH
    if choices:
        answer, kind = letter_of(answer, choices, row.where, letters_first=True), AnswerKind.OPTION
    return Sample(
        id=row.text("id"),
        task="mathvision",
        prompt=with_options(question, choices),
        answer=answer,
        kind=kind,
        choices=choices,
        images=pictures,
        categories=known_categories(subject=row["subject"], level=row["level"]),
        group=picture_group(pictures),
        official=f"{_INSTRUCTION}\n{question}\n{listed(choices, '({}) {}')}".strip(),
    )


MATHVISION: Final = Benchmark(
    name="mathvision",
    hub="MathLLMs/MathVision",
    split="testmini",
    files=("data/testmini-*.parquet",),
    sample=_sample,
    columns=("id", "question", "options", "answer", "level", "subject"),
    images=("decoded_image",),
)
