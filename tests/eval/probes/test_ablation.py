"""Accuracy with layers off: rows against plain arithmetic, batches against one row at a time."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Any

import pytest

from eval.asking.changes import AnsweringModel
from eval.asking.loop import ask
from eval.asking.store import Store
from eval.comparison import pairs
from eval.engines.transformers import TransformersEngine
from eval.probes.ablation import INTACT, Switching, ablate, offs_of, rows, with_accuracy
from eval.probes.results import probe_run, table
from eval.records import Condition, Metric, Suite, Task
from eval.statistics.intervals import difference, wilson
from surgery.intervene import Branch, Off
from surgery.runs import read_run, write_run
from tests.eval.engines.plainly import alone
from tests.eval.made import paired, texts
from tests.eval.samples import question
from tests.intervene.test_ablation import without

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from eval.asking.session import Subject
    from eval.graded import Graded

EVERY = Switching(offs_of(list(Branch), range(9)))
RIGHT: dict[Off | None, list[bool | None]] = {
    None: [True, True, True, False, True, True],
    Off(0): [False, False, True, False, False, True],
    Off(3): [True, True, True, True, True, False],
    Off(3, Branch.MLP): [True, False, None, False, True, True],
}


def nobody(*_: int) -> None:
    """Is not told."""


def graded(right: dict[Off | None, list[bool | None]] = RIGHT, **more: Any) -> list[Any]:
    more = {"metric": Metric.ACCURACY, "condition": Condition.IMAGE, **more}
    return [
        (off, one)
        for off, its in right.items()
        for one in texts(INTACT if off is None else str(off), its, **more)
    ]


def by_place(found: Sequence[Any]) -> dict[tuple[Any, ...], Any]:
    placed = {(row.layer, row.what, row.task, row.metric): row for row in found}
    assert len(placed) == len(found)  # no two rows of one place
    return placed


def test_accuracy_is_wilson_s_and_the_intact_stands_beside_each_branch() -> None:
    found = by_place(rows("m", graded()))
    for off, its in RIGHT.items():
        said = [right for right in its if right is not None]
        expected = wilson(sum(said), len(said))
        for branch in ("layer", "mlp") if off is None else (str(off.branch),):
            row = found[off.layer if off else None, branch, "t", "accuracy"]
            assert (row.value, row.low, row.high) == pytest.approx(
                (sum(said) / len(said), expected.low, expected.high)
            )
            assert (row.model, row.n) == ("m", len(said))


def test_a_drop_is_what_the_layer_s_absence_costs() -> None:
    """The pair of the comparison, negated, its ends swapped: intact less ablated."""
    records = graded()
    found = by_place(rows("m", records))
    compared = {pair.variant: pair for pair in pairs([one for _, one in records], INTACT)}
    assert len(compared) == 3
    for off, its in list(RIGHT.items())[1:]:
        row, pair = found[off.layer, str(off.branch), "t", "accuracy drop"], compared[str(off)]
        both = [(a, b) for a, b in zip(RIGHT[None], its, strict=True) if b is not None]
        intact, ablated = ([float(one) for one in side] for side in zip(*both, strict=True))
        assert row.value == pytest.approx(sum(intact) / len(both) - sum(ablated) / len(both))
        assert (row.value, row.low, row.high, row.n) == (
            -pair.difference, -pair.high, -pair.low, len(both)
        )  # fmt: skip
        apart = difference(intact, ablated, [str(i) for i in range(len(both))])
        assert (row.value, row.low, row.high) == pytest.approx((apart.value, apart.low, apart.high))
        assert row.low <= row.value <= row.high
    assert found[0, "layer", "t", "accuracy drop"].value == pytest.approx(3 / 6)
    assert found[3, "mlp", "t", "accuracy drop"].value == pytest.approx(1 / 5)
    assert found[3, "layer", "t", "accuracy drop"].value == 0
    assert not any(layer is None and metric.endswith("drop") for layer, _, _, metric in found)


def test_tasks_together_are_called_all() -> None:
    other = {off: its[:4] for off, its in RIGHT.items()}
    found = by_place(rows("m", [*graded(), *graded(other, task="u")]))
    assert {task for _, _, task, _ in found} == {"t", "u", "all"}
    row = found[0, "layer", "all", "accuracy"]
    assert (row.value, row.n) == (pytest.approx((2 + 1) / 10), 10)
    drop = found[0, "layer", "all", "accuracy drop"]
    assert (drop.value, drop.n) == (pytest.approx((5 + 3 - 2 - 1) / 10), 10)
    assert {task for _, _, task, _ in by_place(rows("m", graded()))} == {"t"}


def test_clusters_widen_the_interval() -> None:
    alone_, together = (
        by_place(rows("m", [
            (off, replace(one, cluster=name(one.sample))) for off, one in graded()
        ]))[0, "layer", "t", "accuracy drop"]
        for name in (str, lambda sample: str(int(sample[1:]) // 2))
    )  # fmt: skip
    assert alone_.value == together.value
    assert together.high - together.low > alone_.high - alone_.low


def test_another_metric_keeps_its_name() -> None:
    """Seen with the image and not without it, and text: nothing but the metrics themselves."""
    seen = {(True, False): 5, (True, True): 2, (False, False): 3}
    blind = {(True, False): 1, (True, True): 4, (False, False): 5}
    records: list[tuple[Off | None, Graded]] = []
    for off, cells in ((None, seen), (Off(1), blind)):
        name = INTACT if off is None else str(off)
        for task in ("v", "w"):
            records += [(off, r) for r in paired(name, Metric.VISION, cells, task=task)]
    records += graded({None: [True, True], Off(1): [True, False]}, metric=Metric.REASONING,
                      condition=Condition.TEXT)  # fmt: skip
    found = by_place(rows("m", records))
    assert {(task, metric) for _, _, task, metric in found} == {
        (task, metric)
        for task, name in (("v", "m_vis"), ("w", "m_vis"), ("all m_vis", "m_vis"), ("t", "m_rea"))
        for metric in (name, f"{name} drop")
    }
    assert found[None, "layer", "v", "m_vis"].value == pytest.approx(5 / 10)
    assert found[1, "layer", "all m_vis", "m_vis drop"].value == pytest.approx(4 / 10)
    assert found[1, "layer", "t", "m_rea drop"].value == pytest.approx(1 / 2)


def test_rows_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    records = graded()
    made = probe_run(table(rows("m", records)), {"probe": "ablation", "layers": 4})
    write_run(made, tmp_path, [vars(one) for _, one in records])
    read = read_run(tmp_path)
    assert made.summary.items() <= read.summary.items()
    assert read.layers.to_csv() == made.layers.to_csv()
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == len(records)


def test_every_task_is_asked_for_accuracy() -> None:
    first = Suite(
        "s", (Task("t", Metric.VISION, (question(),)), Task("u", Metric.REASONING, ())), 9
    )
    (plain,) = with_accuracy([first])
    assert [(task.name, task.metric) for task in plain.tasks] == [
        ("t", Metric.ACCURACY), ("u", Metric.ACCURACY),
    ]  # fmt: skip
    assert plain.tasks[0].samples == first.tasks[0].samples
    assert (plain.name, plain.max_new_tokens) == ("s", 9)


def test_offs_are_every_branch_of_every_layer() -> None:
    found = offs_of([Branch.ATTENTION, Branch.LAYER], [4, 2])
    assert found == (
        Off(4, Branch.ATTENTION), Off(2, Branch.ATTENTION), Off(4), Off(2),
    )  # fmt: skip
    assert Switching(found).items == (None, *found)


# The specimen


@pytest.fixture(scope="module")
def asking(
    its: Subject, tmp_path_factory: pytest.TempPathFactory
) -> tuple[AnsweringModel[Any], Store]:
    store = Store(tmp_path_factory.mktemp("together"))
    found = AnsweringModel(its, EVERY)
    ask(found, its.questions, store, nobody)
    return found, store


def said(
    its: Subject, asking: AnsweringModel[Any], store: Store
) -> dict[tuple[str, Off | None], Any]:
    return {
        (q.sample.id, off): store.responses[asking.key(q, off)]
        for q in its.questions
        for off in EVERY.items
    }


def test_batched_is_one_at_a_time(
    its: Subject, asking: tuple[AnsweringModel[Any], Store], tmp_path: Path
) -> None:
    store = Store(tmp_path)
    slow = AnsweringModel(its, EVERY, sequential=True)
    ask(slow, its.questions, store, nobody)
    together, one_by_one = said(its, *asking), said(its, slow, store)
    assert together == one_by_one
    assert len({response.text for response in together.values()}) > 10


def test_nothing_off_is_the_model_as_it_is(
    its: Subject, asking: tuple[AnsweringModel[Any], Store], untouched: tuple[Any, Any]
) -> None:
    together, plain = said(its, *asking), TransformersEngine(*untouched)
    for asked in its.questions:
        assert together[asked.sample.id, None].text == alone(plain, asked)


def test_a_layer_off_says_what_a_model_without_it_says(
    its: Subject, asking: tuple[AnsweringModel[Any], Store], untouched: tuple[Any, Any]
) -> None:
    together = said(its, *asking)
    model, processor = untouched
    for layer in range(9):
        shorter = TransformersEngine(without(model, layer), processor)
        for asked in its.questions:
            text = together[asked.sample.id, Off(layer)].text
            assert text == alone(shorter, asked), layer


def test_ablate_grades_every_answer(
    its: Subject, asking: tuple[AnsweringModel[Any], Store], about: Callable[..., Subject]
) -> None:
    _, store = asking
    told: list[tuple[int, int]] = []
    found = ablate(its, EVERY, store, lambda *seen: told.append(seen))
    assert told == [(56, 56)]  # all is kept
    answers = said(its, *asking)
    gold = {q.sample.id: q.sample.answer for q in its.questions}
    assert [(off, one.sample) for off, one in found] == [
        (off, q.sample.id) for off in EVERY.items for q in its.questions
    ]
    for off, one in found:
        assert one.text == answers[one.sample, off].text
        assert one.correct == one.text.endswith(f"<answer>{gold[one.sample]}</answer>")
        assert one.variant == (INTACT if off is None else f"{off.branch} {off.layer} off")
        assert one.metric is Metric.ACCURACY
    drops = by_place(rows("rl", found))
    assert drops[0, "layer", "all", "accuracy drop"].value == 1  # nothing goes without the first
    assert drops[None, "mlp", "read", "accuracy"].value == 1


def test_a_missing_answer_is_no_wrong_one(
    its: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, off = its.engine.answer_blocks, Off(2)

    def little_memory(asked: Sequence[Any], blocks: Any, keys: Sequence[str]) -> Any:
        if off in blocks.offs and any(each.sample.task == "arithmetic" for each in asked):
            raise MemoryError
        return answer(asked, blocks, keys)

    monkeypatch.setattr(its.engine, "answer_blocks", little_memory)
    found = ablate(its, Switching((off,)), Store(tmp_path), nobody)
    (missing,) = [one for _, one in found if one.correct is None]
    assert (missing.task, missing.variant) == ("arithmetic", "layer 2 off")
    assert missing.failure == "out of memory with one row at a time"
    placed = by_place(rows("rl", found))
    counts = {task: placed[2, "layer", task, "accuracy drop"].n for task in ("read", "all")}
    assert counts == {"read": 1, "all": 1}
    assert placed[None, "layer", "all", "accuracy"].n == 2
    assert placed[2, "layer", "arithmetic", "accuracy"].n == 0
    assert isnan(placed[2, "layer", "arithmetic", "accuracy drop"].value)
