"""GSM8K test (arXiv 2110.14168): school arithmetic as text."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from eval.records import AnswerKind, Sample
from eval.suites.benchmark import Benchmark
from surgery.errors import ExecutionError

if TYPE_CHECKING:
    from eval.suites.rows import Row


def _sample(row: Row) -> Sample:
    question = row.text("question")
    _, mark, answer = row.text("answer").rpartition("####")
    if not mark:
        raise ExecutionError(f"{row.where}: no '#### ' before the final answer.")
    return Sample(
        id=sha256(question.encode()).hexdigest()[:12],  # the data set has no ids
        task="gsm8k",
        prompt=question,
        answer=answer.strip().replace(",", ""),
        kind=AnswerKind.NUMBER,
    )


GSM8K: Final = Benchmark(
    name="gsm8k",
    hub="openai/gsm8k",
    configs=("main",),
    split="test",
    files=("{config}/test-*.parquet",),
    sample=_sample,
    columns=("question", "answer"),
)
