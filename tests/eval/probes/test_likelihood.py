"""The log-probability screen against plain forward passes, one sample at a time, layers removed."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import stats

from eval.engines.transformers import chat
from eval.probes.ablation import Switching, offs_of
from eval.probes.likelihood import LIKELIHOODS, Likelihood, right_response, rows, screen
from eval.prompts import STYLES
from eval.questions import questions
from eval.records import Metric, Picture
from surgery.errors import ExecutionError
from surgery.intervene import Branch, Off
from tests.eval.samples import picture, question, suite
from tests.intervene.test_ablation import without

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from eval.asking.session import Subject
    from eval.questions import Question

EVERY = Switching(offs_of(list(Branch), range(9)))
SOME = Switching(offs_of([Branch.LAYER], [0, 4]))


def nobody(*_: int) -> None:
    """Ignore progress."""


def keyed(likelihoods: Sequence[Likelihood]) -> dict[tuple[Off | None, str], Likelihood]:
    return {(item.off, item.sample): item for item in likelihoods}


def screened(subject: Subject, folder: Path, switching: Switching = SOME, **more: Any) -> Any:
    return screen(subject, switching, folder, more.pop("told", nobody), **more)


def encoded(processor: Any, question: Question, ending: str = "") -> Any:
    """Plain transformers: the processor's own tokens and pixels, one row."""
    images = [
        part.open() for m in question.messages for part in m.parts if isinstance(part, Picture)
    ]
    text = chat(processor, question.messages) + ending
    return processor(text=[text], images=images or None, return_tensors="pt")


def plainly(model: Any, processor: Any, question: Question, ending: str) -> tuple[float, int]:
    """Sum of log-softmax over the ending's tokens, and how many they are."""
    start = encoded(processor, question)["input_ids"].shape[1]
    inputs = encoded(processor, question, ending)
    ids = inputs["input_ids"][0]
    assert torch.equal(ids[:start], encoded(processor, question)["input_ids"][0])
    with torch.inference_mode():
        output = model(**inputs).logits[0].double().log_softmax(-1)
    return sum(float(output[i - 1, ids[i]]) for i in range(start, len(ids))), len(ids) - start


def changed(model: Any, off: Off | None) -> Any:
    """The model with a layer taken out, or with a branch whose last projection is zero."""
    if off is None:
        return model
    if off.branch is Branch.LAYER:
        return without(model, off.layer)
    silent = copy.deepcopy(model)
    layer = silent.model.language_model.layers[off.layer]
    last = layer.self_attn.o_proj if off.branch is Branch.ATTENTION else layer.mlp.down_proj
    assert last.bias is None
    torch.nn.init.zeros_(last.weight)
    return silent


@pytest.fixture(scope="module")
def longer(about: Callable[..., Subject], draw_suite: Callable[..., Any]) -> Subject:
    """Answers of different length, with images and without."""
    return about(draw_suite("read", "count", "arithmetic", samples=2))


@pytest.fixture(scope="module")
def screened_values(longer: Subject, tmp_path_factory: pytest.TempPathFactory) -> list[Likelihood]:
    return screened(longer, tmp_path_factory.mktemp("found"), EVERY)


@pytest.mark.parametrize("off", EVERY.items, ids=str)
def test_values_are_those_of_a_plain_pass_over_a_model_that_lacks_it(
    screened_values: list[Likelihood], longer: Subject, untouched: tuple[Any, Any], off: Off | None
) -> None:
    model, processor = untouched
    lacking = changed(model, off)
    for asked_question in longer.questions:
        sample = asked_question.sample
        value, tokens = plainly(lacking, processor, asked_question, sample.demonstration)
        item = keyed(screened_values)[off, sample.id]
        assert item.value == pytest.approx(value, abs=1e-4, rel=1e-5)
        assert item.tokens == tokens
        assert (item.task, item.cluster) == (sample.task, sample.cluster)


def test_the_answers_differ_in_length_and_the_layers_count(
    screened_values: list[Likelihood],
) -> None:
    """Or the test above would say little."""
    assert len({item.tokens for item in screened_values if item.task in ("read", "count")}) >= 2
    assert len(screened_values) == 28 * 6
    intact = {item.sample: item.value for item in screened_values if item.off is None}
    assert all(-20 < value < 0 for value in intact.values())
    assert max(abs(item.value - intact[item.sample]) for item in screened_values) > 10
    assert sum(item.value != intact[item.sample] for item in screened_values) == 27 * 6


def test_batched_is_one_at_a_time(
    rl_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = passes(rl_subject, monkeypatch)
    together = keyed(screened(rl_subject, tmp_path / "fast", EVERY))
    assert sizes == [28, 28]
    alone = keyed(screened(rl_subject, tmp_path / "slow", EVERY, sequential=True))
    assert sizes[2:] == [1] * 56
    for place, item in together.items():
        assert item.value == pytest.approx(alone[place].value, abs=1e-4)
        assert item.tokens == alone[place].tokens


def passes(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every forward pass of the model from now on."""
    sizes: list[int] = []
    model = subject.engine.model
    forward = model.forward

    def counted(*args: Any, **inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        return forward(*args, **inputs)

    monkeypatch.setattr(model, "forward", counted)
    return sizes


def test_what_is_kept_is_not_worked_out_again(
    rl_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = passes(rl_subject, monkeypatch)
    lines: list[tuple[int, int]] = []
    first = screened(rl_subject, tmp_path, told=lambda *call: lines.append(call))
    assert sum(sizes) == 6
    assert lines == [(0, 6), (3, 6), (3, 6)]
    del sizes[:], lines[:]
    assert screened(rl_subject, tmp_path, told=lambda *call: lines.append(call)) == first
    assert (sizes, lines) == ([], [(6, 6)])
    cold = replace(rl_subject)  # no model is loaded for what is known
    assert screened(cold, tmp_path) == first
    assert "engine" not in vars(cold)
    more = screened(rl_subject, tmp_path, Switching(offs_of([Branch.LAYER], [0, 4, 7])))
    assert [item for item in more if item.off in SOME.items] == first


def test_after_an_interruption_only_what_is_missing_is_worked_out(
    rl_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = screened(rl_subject, tmp_path / "whole")
    sizes = passes(rl_subject, monkeypatch)

    def interrupt(received: int, total: int) -> None:
        if received:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        screened(rl_subject, tmp_path / "broken", told=interrupt)
    assert sizes == [3]
    assert screened(rl_subject, tmp_path / "broken") == whole
    assert sizes == [3, 3]
    keys = [json.loads(line)["key"] for line in lines(tmp_path / "broken")]
    assert len(set(keys)) == len(keys) == 6


def lines(folder: Path) -> list[str]:
    return (folder / LIKELIHOODS).read_text().splitlines()


@pytest.mark.parametrize(
    "broken", ["nonsense", "[]", '{"value": 1.0, "tokens": 3}', '{"key": "k", "tokens": 3}',
               '{"key": "k", "value": "much", "tokens": 3}', '{"key": "k", "value": 1.0}',
               '{"key": "k", "value": null, "tokens": 3}'],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_told(
    rl_subject: Subject, tmp_path: Path, broken: str
) -> None:
    screened(rl_subject, tmp_path)
    stored = lines(tmp_path)
    stored[1] = broken
    (tmp_path / LIKELIHOODS).write_text("\n".join(stored) + "\n")
    with pytest.raises(ExecutionError, match=r"likelihoods\.jsonl:2 is not a valid"):
        screened(rl_subject, tmp_path)
    assert lines(tmp_path) == stored


def test_a_line_that_a_killed_writer_left_is_worked_out_again(
    rl_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = screened(rl_subject, tmp_path)
    path = tmp_path / LIKELIHOODS
    whole = path.read_text()
    path.write_text(whole[:-20])
    sizes = passes(rl_subject, monkeypatch)
    assert screened(rl_subject, tmp_path) == first
    assert sizes == [3]
    assert set(path.read_text().splitlines()) == set(whole.splitlines())


def test_other_answers_are_other_values(rl_subject: Subject, tmp_path: Path, about: Any) -> None:
    """The right answer is part of what a value depends on; a run may correct it."""
    before = screened(rl_subject, tmp_path)
    answer = "<think></think><answer>7</answer>"
    corrected = tuple(
        replace(q, sample=replace(q.sample, demonstration=answer)) for q in rl_subject.questions
    )
    after = screened(replace(rl_subject, questions=corrected), tmp_path)
    assert all(a.value != b.value for a, b in zip(before, after, strict=True))
    assert screened(rl_subject, tmp_path) == before


@pytest.mark.parametrize("memory", [4_000_000, 1_000_000, 1])
def test_little_memory_makes_small_batches_of_the_same_values(
    rl_subject: Subject, room: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    expected = keyed(screened(rl_subject, tmp_path / "large", EVERY))
    sizes = passes(rl_subject, monkeypatch)
    room.memory = memory
    result = keyed(screened(rl_subject, tmp_path / "small", EVERY))
    assert sum(sizes) == 56
    assert max(sizes) < 20
    assert memory > 1 or set(sizes) == {1}
    for place, item in expected.items():
        assert result[place].value == pytest.approx(item.value, abs=1e-4)
        assert result[place].tokens == item.tokens


def test_logits_of_a_large_vocabulary_count(
    rl_subject: Subject, room: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.memory = 100_000_000
    sizes = passes(rl_subject, monkeypatch)
    screened(rl_subject, tmp_path / "small")
    assert sizes == [3, 3]
    monkeypatch.setattr(rl_subject.engine.model.config.get_text_config(), "vocab_size", 400_000)
    screened(rl_subject, tmp_path / "large")
    assert len(sizes) > 4
    _, most = right(rl_subject)
    for rows_ in sizes[2:]:
        assert rows_ == 1 or rows_ * most * 400_000 * 12 <= room.memory


def right(subject: Subject) -> tuple[int, int]:
    tokenizer = subject.engine.processor.tokenizer
    counts = [len(tokenizer(q.sample.demonstration)["input_ids"]) for q in subject.questions]
    return min(counts), max(counts)


def test_lack_of_memory_halves_and_then_is_told(
    rl_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = keyed(screened(rl_subject, tmp_path / "large"))
    forward, most = rl_subject.engine.model.forward, [2]

    def little(*args: Any, **inputs: Any) -> Any:
        if len(inputs["input_ids"]) > most[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return forward(*args, **inputs)

    monkeypatch.setattr(rl_subject.engine.model, "forward", little)
    result = keyed(screened(rl_subject, tmp_path / "halves"))
    for place, item in expected.items():
        assert result[place].value == pytest.approx(item.value, abs=1e-4)
    most[0] = 0
    with pytest.raises(ExecutionError, match="out of memory with one row at a time"):
        screened(rl_subject, tmp_path / "none")
    assert not (tmp_path / "none" / LIKELIHOODS).exists() or not lines(tmp_path / "none")


def test_the_right_response_has_the_style_s_form() -> None:
    bare = question(answer="12")
    assert right_response(bare, STYLES["plain"]) == "12"
    assert right_response(bare, STYLES["think-answer"]) == "<answer>12</answer>"
    assert right_response(bare, STYLES["think-boxed"]) == "\\boxed{12}"
    displayed = question(answer="12", demonstration="<think>x</think><answer>12</answer>")
    for style in STYLES.values():
        assert right_response(displayed, style) == displayed.demonstration


def test_samples_without_demonstration_in_a_style(
    about: Callable[..., Subject], untouched: tuple[Any, Any], tmp_path: Path
) -> None:
    samples = [question("a", picture("red", (84, 84))), question("b", answer="12")]
    subject, style = about(), STYLES["think-boxed"]
    requests = questions([suite(Metric.ACCURACY, *samples)], style, subject.settings.generation)
    prepared = replace(subject.prepared, style=style)
    subject = replace(subject, prepared=prepared, questions=tuple(requests))
    vars(subject)["engine"] = about().engine
    result = keyed(screened(subject, tmp_path, Switching(())))
    for requests in subject.questions:
        assert requests.messages[0].role == "system"
        value, tokens = plainly(*untouched, requests, right_response(requests.sample, style))
        item = result[None, requests.sample.id]
        assert item.value == pytest.approx(value, abs=1e-4)
        assert item.tokens == tokens > 3


def test_a_record_tells_what_was_off() -> None:
    likelihood = Likelihood(Off(3, Branch.MLP), "t", "q", "c", -1.5, 4)
    values = {"task": "t", "sample": "q", "cluster": "c", "value": -1.5, "tokens": 4}
    assert likelihood.record() == {"layer": 3, "what": "mlp", **values}
    assert replace(likelihood, off=None).record() == {"layer": None, "what": "", **values}
    json.dumps(likelihood.record())


# Rows

VALUES = {"a": [-1.0, -2.0, -4.0, -1.5], "b": [-3.0, -0.5, -2.5]}
LOWER = {
    Off(0): {"a": [-3.0, -2.5, -9.0, -2.0], "b": [-3.5, -1.0, -2.0]},
    Off(1): {"a": [-1.0, -2.0, -4.5, -1.0], "b": [-4.0, -6.5, -2.5]},
    Off(1, Branch.MLP): {"a": [-2.0, -2.0, -4.0, -3.0], "b": [-3.0, -0.5, -2.0]},
}


def make_likelihoods(clusters: Callable[[str, int], str] = "{}{}".format) -> Iterator[Likelihood]:
    for off, item in {None: VALUES, **LOWER}.items():
        for task, values in item.items():
            for number, value in enumerate(values):
                yield Likelihood(off, task, f"q{number}", clusters(task, number), value, 3)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    item = stats.ttest_1samp(values, 0).confidence_interval()
    return float(np.mean(values)), item.low, item.high


def test_rows_are_means_and_paired_drops_with_student_s_interval() -> None:
    result = {(r.layer, r.what, r.task, r.metric): r for r in rows("m", list(make_likelihoods()))}
    assert len(result) == 3 * (2 + 2 * 3)  # two intact rows per task, and two of each thing off
    both = [*VALUES["a"], *VALUES["b"]]
    for task, intact in (*VALUES.items(), ("all", both)):
        for branch in ("layer", "mlp"):
            row = result[None, branch, task, "logprob"]
            assert (row.value, row.low, row.high) == pytest.approx(interval(intact))
        for off, item in LOWER.items():
            values = [*item["a"], *item["b"]] if task == "all" else item[task]
            row = result[off.layer, str(off.branch), task, "logprob"]
            assert (row.value, row.low, row.high) == pytest.approx(interval(values))
            drop = result[off.layer, str(off.branch), task, "logprob drop"]
            separate = [a - b for a, b in zip(intact, values, strict=True)]
            assert (drop.value, drop.low, drop.high) == pytest.approx(interval(separate))
            assert row.n == drop.n == len(values)
            assert row.model == "m"


def test_samples_are_paired_by_name_and_not_by_order() -> None:
    ordered = list(make_likelihoods())
    mixed = sorted(ordered, key=lambda item: (item.off is not None, item.value))
    by_place = [
        {(r.layer, r.what, r.task, r.metric): (r.value, r.low, r.high) for r in rows("m", entries)}
        for entries in (ordered, mixed)
    ]
    assert by_place[0].keys() == by_place[1].keys()
    for place, values in by_place[0].items():
        assert by_place[1][place] == pytest.approx(values)


def test_one_task_has_no_row_of_all() -> None:
    result = rows("m", [item for item in make_likelihoods() if item.task == "b"])
    assert {row.task for row in result} == {"b"}


def test_samples_of_one_image_are_one_cluster() -> None:
    """The interval is that of cluster means where clusters are of one size."""
    result = rows(
        "m", [item for item in make_likelihoods(lambda t, n: f"{t}{n // 2}") if item.task == "a"]
    )
    (drop,) = [r for r in result if (r.layer, r.what, r.metric) == (0, "layer", "logprob drop")]
    separate = np.subtract(VALUES["a"], LOWER[Off(0)]["a"])
    entries = stats.ttest_1samp(separate.reshape(2, 2).mean(1), 0).confidence_interval()
    assert (drop.value, drop.low, drop.high) == pytest.approx(
        (separate.mean(), entries.low, entries.high)
    )


def test_rows_of_the_screen_hold_its_values(screened_values: list[Likelihood]) -> None:
    by_off = defaultdict(list)
    for item in screened_values:
        by_off[item.off].append(item.value)
    entries = {
        (r.layer, r.what, r.metric): r for r in rows("rl", screened_values) if r.task == "all"
    }
    for off in EVERY.offs:
        drop = entries[off.layer, str(off.branch), "logprob drop"]
        assert drop.value == pytest.approx(np.mean(by_off[None]) - np.mean(by_off[off]))
        assert drop.low < drop.value < drop.high
        assert drop.n == 6
