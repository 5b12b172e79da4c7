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
    """Ignore progress."""


def graded(right: dict[Off | None, list[bool | None]] = RIGHT, **more: Any) -> list[Any]:
    more = {"metric": Metric.ACCURACY, "condition": Condition.IMAGE, **more}
    return [
        (off, text)
        for off, item in right.items()
        for text in texts(INTACT if off is None else str(off), item, **more)
    ]


def by_place(result: Sequence[Any]) -> dict[tuple[Any, ...], Any]:
    placed = {(row.layer, row.what, row.task, row.metric): row for row in result}
    assert len(placed) == len(result)  # no two rows of one place
    return placed


def test_accuracy_is_wilson_s_and_the_intact_stands_beside_each_branch() -> None:
    result = by_place(rows("m", graded()))
    for off, item in RIGHT.items():
        output = [right for right in item if right is not None]
        expected = wilson(sum(output), len(output))
        for branch in ("layer", "mlp") if off is None else (str(off.branch),):
            row = result[off.layer if off else None, branch, "t", "accuracy"]
            assert (row.value, row.low, row.high) == pytest.approx(
                (sum(output) / len(output), expected.low, expected.high)
            )
            assert (row.model, row.n) == ("m", len(output))


def test_a_drop_is_what_the_layer_s_absence_costs() -> None:
    """The pair of the comparison, negated, its ends swapped: intact less ablated."""
    records = graded()
    result = by_place(rows("m", records))
    compared = {pair.variant: pair for pair in pairs([item for _, item in records], INTACT)}
    assert len(compared) == 3
    for off, entries in list(RIGHT.items())[1:]:
        row, pair = result[off.layer, str(off.branch), "t", "accuracy drop"], compared[str(off)]
        both = [(a, b) for a, b in zip(RIGHT[None], entries, strict=True) if b is not None]
        intact, ablated = ([float(item) for item in side] for side in zip(*both, strict=True))
        assert row.value == pytest.approx(sum(intact) / len(both) - sum(ablated) / len(both))
        assert (row.value, row.low, row.high, row.n) == (
            -pair.difference, -pair.high, -pair.low, len(both)
        )  # fmt: skip
        separate = difference(intact, ablated, [str(i) for i in range(len(both))])
        assert (row.value, row.low, row.high) == pytest.approx(
            (separate.value, separate.low, separate.high)
        )
        assert row.low <= row.value <= row.high
    assert result[0, "layer", "t", "accuracy drop"].value == pytest.approx(3 / 6)
    assert result[3, "mlp", "t", "accuracy drop"].value == pytest.approx(1 / 5)
    assert result[3, "layer", "t", "accuracy drop"].value == 0
    assert not any(layer is None and metric.endswith("drop") for layer, _, _, metric in result)


def test_tasks_together_are_called_all() -> None:
    other = {off: item[:4] for off, item in RIGHT.items()}
    result = by_place(rows("m", [*graded(), *graded(other, task="u")]))
    assert {task for _, _, task, _ in result} == {"t", "u", "all"}
    row = result[0, "layer", "all", "accuracy"]
    assert (row.value, row.n) == (pytest.approx((2 + 1) / 10), 10)
    drop = result[0, "layer", "all", "accuracy drop"]
    assert (drop.value, drop.n) == (pytest.approx((5 + 3 - 2 - 1) / 10), 10)
    assert {task for _, _, task, _ in by_place(rows("m", graded()))} == {"t"}


def test_clusters_widen_the_interval() -> None:
    alone_, together = (
        by_place(rows("m", [
            (off, replace(item, cluster=name(item.sample))) for off, item in graded()
        ]))[0, "layer", "t", "accuracy drop"]
        for name in (str, lambda sample: str(int(sample[1:]) // 2))
    )  # fmt: skip
    assert alone_.value == together.value
    assert together.high - together.low > alone_.high - alone_.low


def test_another_metric_keeps_its_name() -> None:
    """Seen with the image and not without it, and text: nothing but the metrics themselves."""
    calls = {(True, False): 5, (True, True): 2, (False, False): 3}
    blind = {(True, False): 1, (True, True): 4, (False, False): 5}
    records: list[tuple[Off | None, Graded]] = []
    for off, cells in ((None, calls), (Off(1), blind)):
        name = INTACT if off is None else str(off)
        for task in ("v", "w"):
            records += [(off, r) for r in paired(name, Metric.VISION, cells, task=task)]
    records += graded({None: [True, True], Off(1): [True, False]}, metric=Metric.REASONING,
                      condition=Condition.TEXT)  # fmt: skip
    result = by_place(rows("m", records))
    assert {(task, metric) for _, _, task, metric in result} == {
        (task, metric)
        for task, name in (("v", "m_vis"), ("w", "m_vis"), ("all m_vis", "m_vis"), ("t", "m_rea"))
        for metric in (name, f"{name} drop")
    }
    assert result[None, "layer", "v", "m_vis"].value == pytest.approx(5 / 10)
    assert result[1, "layer", "all m_vis", "m_vis drop"].value == pytest.approx(4 / 10)
    assert result[1, "layer", "t", "m_rea drop"].value == pytest.approx(1 / 2)


def test_rows_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    records = graded()
    output = probe_run(table(rows("m", records)), {"probe": "ablation", "layers": 4})
    write_run(output, tmp_path, [vars(item) for _, item in records])
    read = read_run(tmp_path)
    assert output.summary.items() <= read.summary.items()
    assert read.layers.to_csv() == output.layers.to_csv()
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
    result = offs_of([Branch.ATTENTION, Branch.LAYER], [4, 2])
    assert result == (
        Off(4, Branch.ATTENTION), Off(2, Branch.ATTENTION), Off(4), Off(2),
    )  # fmt: skip
    assert Switching(result).items == (None, *result)


# The specimen


@pytest.fixture(scope="module")
def asking(
    rl_subject: Subject, tmp_path_factory: pytest.TempPathFactory
) -> tuple[AnsweringModel[Any], Store]:
    store = Store(tmp_path_factory.mktemp("together"))
    answering_model = AnsweringModel(rl_subject, EVERY)
    ask(answering_model, rl_subject.questions, store, nobody)
    return answering_model, store


def answers_without(
    subject: Subject, asking: AnsweringModel[Any], store: Store
) -> dict[tuple[str, Off | None], Any]:
    return {
        (q.sample.id, off): store.responses[asking.key(q, off)]
        for q in subject.questions
        for off in EVERY.items
    }


def test_batched_is_one_at_a_time(
    rl_subject: Subject, asking: tuple[AnsweringModel[Any], Store], tmp_path: Path
) -> None:
    store = Store(tmp_path)
    slow = AnsweringModel(rl_subject, EVERY, sequential=True)
    ask(slow, rl_subject.questions, store, nobody)
    together, one_by_one = (
        answers_without(rl_subject, *asking),
        answers_without(rl_subject, slow, store),
    )
    assert together == one_by_one
    assert len({response.text for response in together.values()}) > 10


def test_nothing_off_is_the_model_as_it_is(
    rl_subject: Subject, asking: tuple[AnsweringModel[Any], Store], untouched: tuple[Any, Any]
) -> None:
    together, plain = answers_without(rl_subject, *asking), TransformersEngine(*untouched)
    for item in rl_subject.questions:
        assert together[item.sample.id, None].text == alone(plain, item)


def test_a_layer_off_says_what_a_model_without_it_says(
    rl_subject: Subject, asking: tuple[AnsweringModel[Any], Store], untouched: tuple[Any, Any]
) -> None:
    together = answers_without(rl_subject, *asking)
    model, processor = untouched
    for layer in range(9):
        shorter = TransformersEngine(without(model, layer), processor)
        for item in rl_subject.questions:
            text = together[item.sample.id, Off(layer)].text
            assert text == alone(shorter, item), layer


def test_ablate_grades_every_answer(
    rl_subject: Subject, asking: tuple[AnsweringModel[Any], Store], about: Callable[..., Subject]
) -> None:
    _, store = asking
    lines: list[tuple[int, int]] = []
    ablated = ablate(rl_subject, EVERY, store, lambda *call: lines.append(call))
    assert lines == [(56, 56)]  # all is kept
    answers = answers_without(rl_subject, *asking)
    gold = {q.sample.id: q.sample.answer for q in rl_subject.questions}
    assert [(off, item.sample) for off, item in ablated] == [
        (off, q.sample.id) for off in EVERY.items for q in rl_subject.questions
    ]
    for off, item in ablated:
        assert item.text == answers[item.sample, off].text
        assert item.correct == item.text.endswith(f"<answer>{gold[item.sample]}</answer>")
        assert item.variant == (INTACT if off is None else f"{off.branch} {off.layer} off")
        assert item.metric is Metric.ACCURACY
    drops = by_place(rows("rl", ablated))
    assert drops[0, "layer", "all", "accuracy drop"].value == 1  # nothing goes without the first
    assert drops[None, "mlp", "read", "accuracy"].value == 1


def test_a_missing_answer_is_no_wrong_one(
    rl_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, off = rl_subject.engine.answer_blocks, Off(2)

    def little_memory(selected: Sequence[Any], blocks: Any, keys: Sequence[str]) -> Any:
        if off in blocks.offs and any(item.sample.task == "arithmetic" for item in selected):
            raise MemoryError
        return answer(selected, blocks, keys)

    monkeypatch.setattr(rl_subject.engine, "answer_blocks", little_memory)
    ablated = ablate(rl_subject, Switching((off,)), Store(tmp_path), nobody)
    (missing,) = [item for _, item in ablated if item.correct is None]
    assert (missing.task, missing.variant) == ("arithmetic", "layer 2 off")
    assert missing.failure == "out of memory with one row at a time"
    placed = by_place(rows("rl", ablated))
    counts = {task: placed[2, "layer", task, "accuracy drop"].n for task in ("read", "all")}
    assert counts == {"read": 1, "all": 1}
    assert placed[None, "layer", "all", "accuracy"].n == 2
    assert placed[2, "layer", "arithmetic", "accuracy"].n == 0
    assert isnan(placed[2, "layer", "arithmetic", "accuracy drop"].value)
