"""Importance of layers for a task: the score without each layer, and the intact score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from eval.asking.changes import AnsweringModel
from eval.asking.loop import ask
from eval.comparison import pairs
from eval.graded import graded
from eval.metrics import scores
from eval.probes.results import LayerValue
from eval.records import Metric
from surgery.intervene import Ablation, Off

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.asking.loop import Report
    from eval.asking.session import Subject
    from eval.asking.store import Store
    from eval.comparison import PairedDifference
    from eval.engines.transformers import TransformersEngine
    from eval.graded import Graded
    from eval.metrics import Score
    from eval.questions import Question
    from eval.records import Suite
    from surgery.intervene import Branch

INTACT: Final = "intact"


@dataclass(frozen=True)
class Switching:
    """Layers, or their branches, switched off one at a time; first of all none.

    Attributes:
        offs: What is switched off.
    """

    offs: tuple[Off, ...]

    @property
    def items(self) -> tuple[Off | None, ...]:
        """The intact model, then the ablated parts."""
        return (None, *self.offs)

    def label(self, question: Question, item: Off | None) -> str:
        """Return the branch and layer that is off."""
        return "" if item is None else f"off.{item.branch}.{item.layer}"

    def blocks(
        self, engine: TransformersEngine, questions: Sequence[Question],
        items: Sequence[Off | None],
    ) -> Ablation:  # fmt: skip
        """Return one block for each."""
        return Ablation(items)


def offs_of(branches: Sequence[Branch], layers: Sequence[int]) -> tuple[Off, ...]:
    """Every branch of every layer."""
    return tuple(Off(layer, branch) for branch in branches for layer in layers)


def with_accuracy(suites: Sequence[Suite]) -> tuple[Suite, ...]:
    """Return the suites as plain accuracy suites: every task's metric is accuracy."""
    return tuple(
        replace(
            suite, tasks=tuple(replace(task, metric=Metric.ACCURACY) for task in suite.tasks)
        )
        for suite in suites
    )  # fmt: skip


def ablate(
    subject: Subject,
    switching: Switching,
    store: Store,
    report: Report,
    *,
    grader: str = "strict",
    sequential: bool = False,
) -> list[tuple[Off | None, Graded]]:
    """Ask the suites of the intact model and of every ablated one.

    Args:
        subject: The model.
        switching: What is switched off.
        store: Where responses are kept.
        report: Called with the number of responses that arrived, and of all.
        grader: How answers are read and compared.
        sequential: One question and one layer at a time.

    Returns:
        Every response with its grade, and what was off.
    """
    model = AnsweringModel(subject, switching, sequential=sequential)
    ask(model, subject.questions, store, report)
    records = []
    for off in switching.items:
        keyed_questions = [(question, model.key(question, off)) for question in subject.questions]
        name = INTACT if off is None else str(off)
        result = graded(
            name, keyed_questions, store.responses, store.failures, style=subject.style,
            grader=grader,
        )  # fmt: skip
        records += [(off, record) for record in result]
    return records


def rows(model: str, records: Sequence[tuple[Off | None, Graded]]) -> list[LayerValue]:
    """Scores without each layer, and the loss compared with the intact model.

    Args:
        model: What it is called.
        records: As `ablate` returns them.
    """
    off_of = {record.variant: off for off, record in records}
    graded_ = [record for _, record in records]
    layer_rows = []
    for score in scores(graded_):
        if score.split or score.measure not in tuple(Metric):
            continue
        off = off_of[score.variant]
        branches = [off.branch] if off else dict.fromkeys(o.branch for o in off_of.values() if o)
        for branch in branches:  # each kind has a row of the intact model
            layer_rows.append(
                LayerValue(
                    model, off.layer if off else None, branch, _task(score), score.measure,
                    score.value, score.low, score.high, score.n,
                )
            )  # fmt: skip
    for pair in pairs(graded_, INTACT):  # 0 - x, for -x of nothing lost is -0.0
        off = off_of[pair.variant]
        assert off is not None
        layer_rows.append(
            LayerValue(
                model, off.layer, off.branch, _task(pair), f"{pair.measure} drop",
                0 - pair.difference, 0 - pair.high, 0 - pair.low, pair.n,
            )
        )  # fmt: skip
    return layer_rows


def _task(row: Score | PairedDifference) -> str:
    """Return the task's name; pooled tasks of equal metric are `all` if it is accuracy."""
    return "all" if row.pooled and row.measure == Metric.ACCURACY else row.task
