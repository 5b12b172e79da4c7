"""Greedy answers on held-out questions, and what to say about them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from surgery.specimen.batches import encode, is_full_chain, reward
from surgery.specimen.world import Item, items

if TYPE_CHECKING:
    from collections.abc import Sequence

EVAL_TASKS: Final = ("read", "count", "arithmetic", "expression")
EVAL_SEED: Final = 2026


@dataclass(frozen=True)
class Score:
    """One checkpoint on one task.

    Attributes:
        stage: The checkpoint.
        task: The task.
        n: Held-out items, all different.
        correct: Exact answers in the strict format.
        low: Lower end of the 95% Wilson interval of the accuracy.
        high: Its upper end.
        majority: Accuracy of always giving the commonest gold answer.
        full_chain: Share of responses that work the steps out; nan where the task has none.
    """

    stage: str
    task: str
    n: int
    correct: int
    low: float
    high: float
    majority: float
    full_chain: float

    @property
    def accuracy(self) -> float:
        """Correct over n."""
        return self.correct / self.n


def answer(
    model: Any,
    processor: Any,
    questions: Sequence[Item],
    batch: int = 100,
    max_new_tokens: int = 48,
) -> list[str]:
    """Greedy responses, special tokens dropped."""
    import torch

    texts: list[str] = []
    for start in range(0, len(questions), batch):
        inputs = encode(processor, questions[start : start + batch])
        with torch.no_grad():
            output = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
        ends = output[:, inputs["input_ids"].shape[1] :]
        texts += [str(t) for t in processor.batch_decode(ends, skip_special_tokens=True)]
    return texts


def wilson(correct: int, n: int) -> tuple[float, float]:
    """95% score interval of a proportion (Wilson 1927, JASA 22, 209-212)."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def score_task(model: Any, processor: Any, stage: str, task: str, n: int) -> Score:
    """Ask one checkpoint `n` held-out questions of one task."""
    questions = items(task, n, EVAL_SEED)
    texts = answer(model, processor, questions)
    correct = sum(int(reward(t, q)) for t, q in zip(texts, questions, strict=True))
    low, high = wilson(correct, n)
    commonest = Counter(q.answer for q in questions).most_common(1)[0][1]
    chains = sum(is_full_chain(t) for t in texts) / n if questions[0].shortcut else math.nan
    return Score(stage, task, n, correct, low, high, commonest / n, chains)


def captions_exact(model: Any, processor: Any, n: int) -> tuple[float, float]:
    """Share of held-out captions that are right in full, and share of cells described right."""
    questions = items("caption", n, EVAL_SEED)
    texts = answer(model, processor, questions, max_new_tokens=64)
    pairs = [(t.split(";"), q.answer.split(";")) for t, q in zip(texts, questions, strict=True)]
    whole = sum(said == gold for said, gold in pairs) / n
    cells = sum(s == g for said, gold in pairs for s, g in zip(said, gold, strict=False))
    return whole, cells / (9 * n)
