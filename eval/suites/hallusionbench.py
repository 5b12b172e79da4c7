"""HallusionBench (arXiv 2310.14566): 1,129 yes-or-no questions that mislead, 951 with an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eval.records import AnswerKind, Sample
from eval.suites.benchmark import Benchmark, known_categories
from surgery.errors import ExecutionError

if TYPE_CHECKING:
    from eval.suites.rows import Row

_ANSWERS: Final = {"1": "Yes", "0": "No"}
_PLACE: Final = ("category", "subcategory", "set_id", "figure_id", "question_id")


def _sample(row: Row) -> Sample:
    place = [row.text(column) for column in _PLACE]
    gold = row.text("gt_answer")
    if gold not in _ANSWERS:
        raise ExecutionError(f"{row.where}: the answer {gold!r} is neither 1 (yes) nor 0 (no).")
    return Sample(
        id="/".join(place),
        task="hallusionbench",
        prompt=f"{row.text('question')}\nAnswer yes or no.",
        answer=_ANSWERS[gold],
        kind=AnswerKind.TEXT,
        images=row.pictures("image"),
        official=row.text("question"),  # nothing else: GPT-4 reads the responses
        categories=known_categories(
            category=place[0], subcategory=place[1], visual_input=row["visual_input"]
        ),
        group="/".join(place[:3]),  # a set: one figure and its altered copies
    )


HALLUSIONBENCH: Final = Benchmark(
    name="hallusionbench",
    hub="lmms-lab/HallusionBench",
    split="image+non_image",
    files=("data/image-*.parquet", "data/non_image-*.parquet"),
    sample=_sample,
    columns=(*_PLACE, "question", "gt_answer", "visual_input"),
    images=("image",),
)
