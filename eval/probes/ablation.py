"""Which layers a task needs: its score with each one switched off, beside the intact model's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from eval.comparison import pairs
from eval.graded import graded
from eval.metrics import scores
from eval.probes.ask import Asking
from eval.probes.results import LayerValue
from eval.records import Metric
from surgery.intervene import Ablation, Off

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.asks import Ask, Question
    from eval.engines.transformers import TransformersEngine
    from eval.graded import Graded
    from eval.probes.ask import Told
    from eval.probes.subject import Subject
    from eval.records import Suite
    from eval.store import Store
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
        """The intact model, and then what is switched off."""
        return (None, *self.offs)

    def named(self, question: Question, item: Off | None) -> str:
        """What is off."""
        return "" if item is None else f"off.{item.branch}.{item.layer}"

    def blocks(
        self, engine: TransformersEngine, asks: Sequence[Ask], items: Sequence[Off | None]
    ) -> Ablation:
        """One block for each."""
        return Ablation(items)


def offs_of(branches: Sequence[Branch], layers: Sequence[int]) -> tuple[Off, ...]:
    """Every branch of every layer."""
    return tuple(Off(layer, branch) for branch in branches for layer in layers)


def with_accuracy(suites: Sequence[Suite]) -> tuple[Suite, ...]:
    """The suites, asked plainly: every task's metric is accuracy."""
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
    told: Told,
    *,
    grader: str = "strict",
    sequential: bool = False,
) -> list[tuple[Off | None, Graded]]:
    """Ask the suites of the intact model and of every ablated one.

    Args:
        subject: The model.
        switching: What is switched off.
        store: Where responses are kept.
        told: Told how many there are.
        grader: How answers are read and compared.
        sequential: One question and one layer at a time.

    Returns:
        Every response with its grade, and what was off.
    """
    asking = Asking(subject, switching, store, sequential=sequential)
    asking.ask(subject.questions, told)
    records = []
    for off in switching.items:
        asks = [asking.address(question, off) for question in subject.questions]
        name = INTACT if off is None else str(off)
        found = graded(
            name, subject.work.suites, subject.work.generation, style=subject.planned.style,
            asks=asks, responses=store.responses, failures=store.failures, grader=grader,
        )  # fmt: skip
        records += [(off, record) for record in found]
    return records


def rows(model: str, records: Sequence[tuple[Off | None, Graded]]) -> list[LayerValue]:
    """Scores of every layer's absence, and what it costs: the intact model's less that.

    Args:
        model: What it is called.
        records: As `ablate` returns them.
    """
    off_of = {record.variant: off for off, record in records}
    graded_ = [record for _, record in records]
    found = []
    for score in scores(graded_):
        if score.split or score.measure not in tuple(Metric):
            continue
        off = off_of[score.variant]
        branches = [off.branch] if off else dict.fromkeys(o.branch for o in off_of.values() if o)
        for branch in branches:  # the intact model stands beside each kind
            found.append(
                LayerValue(
                    model, off.layer if off else None, branch, _task(score.task), score.measure,
                    score.value, score.low, score.high, score.n,
                )
            )  # fmt: skip
    for pair in pairs(graded_, INTACT):  # 0 - x, for -x of nothing lost is -0.0
        off = off_of[pair.variant]
        assert off is not None
        found.append(
            LayerValue(
                model, off.layer, off.branch, _task(pair.task), f"{pair.measure} drop",
                0 - pair.difference, 0 - pair.high, 0 - pair.low, pair.n,
            )
        )  # fmt: skip
    return found


def _task(name: str) -> str:
    """`all accuracy` is all tasks; other metrics keep their name."""
    return "all" if name == f"all {Metric.ACCURACY}" else name
