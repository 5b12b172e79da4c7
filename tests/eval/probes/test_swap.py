"""Rates of swapped answers against plain counting; the specimen's swaps against plain answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from eval.asking.changes import AnsweringModel, Unchanged
from eval.asking.store import Store
from eval.engines.transformers import TransformersEngine
from eval.probes.pairs import SPECIMEN, ImagePair, load_pairs, suites_of
from eval.probes.swap import Swapped, Swapping, resized, rows, swap
from eval.prompts import STYLES, messages, scaled
from eval.records import Condition, Metric
from eval.statistics.intervals import proportion
from surgery.intervene import Mode
from tests.eval.engines.plainly import alone
from tests.eval.samples import picture, question

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from eval.asking.session import Subject

LAYERS = range(9)


def nobody(*_: int) -> None:
    """Ignore progress."""


# Rates


def swapped_row(
    number: int, layer: int | None, source: bool, *, task: str = "t", group: str = "", **more: Any
) -> Swapped:
    """A response to a made-up pair: it gives the source's answer, or the target's."""
    target, other = (
        replace(question(f"q{number}", answer=answer), task=task, group=group) for answer in "78"
    )
    text = None if more.pop("missing", False) else "8" if source else "7"
    fields = {
        "text": text, "source": source and text is not None,
        "target": not source and text is not None,
        "changed": None if layer is None else source, "known": True, **more,
    }  # fmt: skip
    return Swapped(ImagePair(target, other), layer, **fields)


def by_place(result: Sequence[Any]) -> dict[tuple[Any, ...], Any]:
    placed = {(row.layer, row.task, row.metric): row for row in result}
    assert len(placed) == len(result)
    return placed


def wilson(count: int, n: int) -> tuple[float, float, float]:
    item = stats.binomtest(count, n).proportion_ci(method="wilson")
    return count / n, item.low, item.high


def numbers(row: Any) -> tuple[float, float, float]:
    return row.value, row.low, row.high


@pytest.mark.parametrize("right", [0, 3, 8])
def test_rates_are_wilson_s(right: int) -> None:
    results = [swapped_row(i, 2, i < right) for i in range(8)] + [
        swapped_row(i, None, False) for i in range(8)
    ]
    placed = by_place(rows("m", Mode.FROM, results))
    for end in ("", ", known"):
        assert numbers(placed[2, "t", f"source{end}"]) == pytest.approx(wilson(right, 8))
        assert numbers(placed[2, "t", f"change{end}"]) == pytest.approx(wilson(right, 8))
        assert numbers(placed[2, "t", f"target{end}"]) == pytest.approx(wilson(8 - right, 8))
        assert numbers(placed[None, "t", f"source{end}"]) == pytest.approx(wilson(0, 8))
        assert numbers(placed[None, "t", f"target{end}"]) == pytest.approx(wilson(8, 8))
    assert (None, "t", "change") not in placed  # nothing is changed where nothing is swapped
    assert {(row.n, row.what, row.model) for row in placed.values()} == {(8, "from", "m")}


def test_known_pairs_stand_apart() -> None:
    known_names = [True, True, False, None, True, False]
    results = [swapped_row(i, 0, i in (0, 2), known=item) for i, item in enumerate(known_names)]
    placed = by_place(rows("m", Mode.ONLY, results))
    assert numbers(placed[0, "t", "source"]) == pytest.approx(wilson(2, 6))
    assert numbers(placed[0, "t", "source, known"]) == pytest.approx(wilson(1, 3))
    assert (placed[0, "t", "source"].n, placed[0, "t", "source, known"].n) == (6, 3)


def test_without_a_known_pair_there_is_no_rate_of_them() -> None:
    placed = by_place(
        rows("m", Mode.FROM, [swapped_row(i, 0, True, known=False) for i in range(3)])
    )
    assert {metric for _, _, metric in placed} == {"change", "source", "target"}


def test_a_missing_response_does_not_count() -> None:
    results = [
        swapped_row(i, 0, i < 2, missing=i == 0, known=None if i == 0 else True) for i in range(4)
    ]
    results[0] = replace(results[0], changed=None)
    placed = by_place(rows("m", Mode.FROM, results))
    for metric in ("source", "change"):
        assert numbers(placed[0, "t", metric]) == pytest.approx(wilson(1, 3))
        assert placed[0, "t", metric].n == 3


def test_a_missing_intact_response_takes_its_own_change_alone() -> None:
    """Nothing is known of what changed there; the others' rate stays."""
    results = [swapped_row(i, 0, i < 2) for i in range(4)]
    results[3] = replace(results[3], changed=None, known=None)
    placed = by_place(rows("m", Mode.FROM, results))
    assert numbers(placed[0, "t", "change"]) == pytest.approx(wilson(2, 3))
    assert placed[0, "t", "change"].n == 3
    assert numbers(placed[0, "t", "source"]) == pytest.approx(wilson(2, 4))


def test_tasks_together_and_apart() -> None:
    results = [swapped_row(i, 1, i < 3, task="a") for i in range(4)]
    results += [swapped_row(i, 1, i < 5, task="b") for i in range(4, 10)]
    placed = by_place(rows("m", Mode.FROM, results))
    for task, right, n in (("a", 3, 4), ("b", 1, 6), ("all", 4, 10)):
        assert numbers(placed[1, task, "source"]) == pytest.approx(wilson(right, n))
    alone_ = by_place(rows("m", Mode.FROM, results[:4]))
    assert {task for _, task, _ in alone_} == {"a"}


def test_pairs_about_one_target_are_one_cluster() -> None:
    right = [True, True, False, False, True, True, False, True]
    results = [swapped_row(i, 0, item, group=f"g{i // 2}") for i, item in enumerate(right)]
    placed = by_place(rows("m", Mode.FROM, results))
    item = proportion([float(x) for x in right], [f"g{i // 2}" for i in range(8)])
    row = placed[0, "t", "source"]
    assert numbers(row) == (item.value, item.low, item.high)
    low, high = wilson(5, 8)[1:]
    assert row.high - row.low > high - low


def test_a_record_is_a_line_of_json() -> None:
    result = swapped_row(3, 4, True, task="ocr").record(Mode.ONLY)
    assert json.loads(json.dumps(result)) == {
        "task": "ocr", "sample": "q3", "what": "only", "layer": 4, "text": "8", "source": True,
        "target": False, "changed": True, "known": True, "target_answer": "7", "source_answer": "8",
    }  # fmt: skip


# The specimen


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImagePair, ...]:
    result = load_pairs(SPECIMEN, tmp_path_factory.getbasetemp(), 2, 0)
    return tuple(pair for pair in result if pair.target.task in ("counting", "ocr"))


@pytest.fixture(scope="module")
def plain(pairs: tuple[ImagePair, ...], untouched: tuple[Any, Any]) -> Mapping[str, str]:
    """Return unmodified transformers' answer about every image, by the image's digest."""
    engine, result = TransformersEngine(*untouched), {}
    for pair in pairs:
        for sample in (pair.target, pair.source):
            result[sample.images[0].digest] = alone(engine, source_sample(sample))
    return result


def source_sample(sample: Any) -> Any:
    from eval.generation import Generation
    from eval.questions import Question

    turns = messages(sample, Condition.IMAGE, STYLES["plain"])
    return Question(
        "s", sample.task, Metric.ACCURACY, sample, Condition.IMAGE, 0, turns,
        Generation(max_new_tokens=128),
    )  # fmt: skip


def swapped(
    about: Callable[..., Subject], pairs: Sequence[ImagePair], folder: Path, mode: Mode, **more: Any
) -> dict[tuple[str, str, int | None], Swapped]:
    subject = about(*suites_of(pairs))
    result = swap(
        subject, pairs, Store(folder), more.pop("told", lambda _: nobody), mode=mode,
        layers=more.pop("layers", LAYERS), **more,
    )  # fmt: skip
    placed = {(item.pair.target.task, item.pair.target.id, item.layer): item for item in result}
    assert len(placed) == len(result)
    return placed


@pytest.fixture(scope="module", params=Mode)
def mode(request: pytest.FixtureRequest) -> Mode:
    return request.param


@pytest.fixture(scope="module")
def swap_answers(
    about: Any, pairs: tuple[ImagePair, ...], mode: Mode, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str, int | None], Swapped]:
    return swapped(about, pairs, tmp_path_factory.mktemp("swap"), mode)


def test_nothing_swapped_is_the_model_as_it_is(swap_answers: Any, plain: Mapping[str, str]) -> None:
    for (_, _, layer), item in swap_answers.items():
        if layer is None:
            assert item.text == plain[item.pair.target.images[0].digest]
            assert item.target == item.pair.says(item.text, source=False)
            assert item.source == item.pair.says(item.text, source=True)
            assert item.changed is None


def test_answers_are_told_apart(swap_answers: Any, plain: Mapping[str, str], mode: Mode) -> None:
    for (task, name, layer), item in swap_answers.items():
        target, source = (
            plain[sample.images[0].digest] for sample in (item.pair.target, item.pair.source)
        )
        right = f"<answer>{item.pair.target.answer}</answer>" in target
        assert item.known == (right and f"<answer>{item.pair.source.answer}</answer>" in source)
        assert item.source == (f"<answer>{item.pair.source.answer}</answer>" in item.text)
        assert item.target == (f"<answer>{item.pair.target.answer}</answer>" in item.text)
        if layer is not None:
            intact = swap_answers[task, name, None].text
            answers = [text.partition("<answer>")[2] for text in (intact, item.text)]
            assert item.changed == (answers[0] != answers[1])
    assert any(item.known for item in swap_answers.values())
    assert len({item.text for item in swap_answers.values()}) > 4 + 4 * (mode is Mode.FROM)


def test_from_the_first_layer_on_it_answers_as_of_the_source(
    about: Any, pairs: tuple[ImagePair, ...], plain: Mapping[str, str], tmp_path: Path
) -> None:
    """Question and size are the same, so the image is all that parts them."""
    for (_, _, layer), item in swapped(about, pairs, tmp_path, Mode.FROM, layers=[0]).items():
        if layer == 0:
            assert item.text == plain[item.pair.source.images[0].digest]
            assert item.text != plain[item.pair.target.images[0].digest]
            assert not item.known or item.source


def test_an_image_swapped_with_itself_changes_nothing(
    about: Any, pairs: tuple[ImagePair, ...], plain: Mapping[str, str], mode: Mode, tmp_path: Path
) -> None:
    same = [replace(pair, source=pair.target) for pair in pairs]
    for item in swapped(about, same, tmp_path, mode).values():
        assert item.text == plain[item.pair.target.images[0].digest], item.layer
        assert not item.changed


def test_batched_is_one_at_a_time(
    about: Any, pairs: tuple[ImagePair, ...], swap_answers: Any, mode: Mode, tmp_path: Path
) -> None:
    few = [pairs[0], pairs[-1]]
    assert {pair.target.task for pair in few} == {"counting", "ocr"}
    alone_ = swapped(about, few, tmp_path, mode, sequential=True)
    assert len(alone_) == 20
    for place, item in alone_.items():
        assert item == swap_answers[place]


def test_one_target_with_two_sources(
    about: Any, pairs: tuple[ImagePair, ...], plain: Mapping[str, str], room: Any, tmp_path: Path
) -> None:
    """The same question is swapped with each of its sources, in one batch and in several."""
    first, second = (pair for pair in pairs if pair.target.task == "ocr")
    other = replace(
        first, target=replace(first.target, id="x"), source=replace(second.source, id="x")
    )
    for name, most in (("together", 128), ("apart", 1)):
        room.max_batch = most
        output = swapped(about, [first, other], tmp_path / name, Mode.FROM, layers=[0])
        for pair in (first, other):
            text = output["ocr", pair.target.id, 0].text
            assert text == plain[pair.source.images[0].digest], name
    slow = swapped(about, [first, other], tmp_path, Mode.FROM, layers=[0], sequential=True)
    assert [item.text for item in slow.values()] == [item.text for item in output.values()]


def test_one_question_in_two_tasks(
    about: Any, pairs: tuple[ImagePair, ...], plain: Mapping[str, str], tmp_path: Path
) -> None:
    """Same id and same images: ids are unique in a task only."""
    target, source = (replace(item, task="again") for item in (pairs[0].target, pairs[0].source))
    again = replace(pairs[0], target=target, source=source)
    output = swapped(about, [pairs[0], again], tmp_path, Mode.FROM, layers=[0])
    assert len(output) == 4
    for entry in output.values():
        sample = entry.pair.target if entry.layer is None else entry.pair.source
        assert entry.text == plain[sample.images[0].digest]


def test_the_source_is_looked_at_once_for_all_layers(
    about: Any,
    pairs: tuple[ImagePair, ...],
    room: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []
    look = Swapping._look
    monkeypatch.setattr(Swapping, "_look", lambda *args: looks.append(1) or look(*args))
    room.max_batch = 4
    swapped(about, pairs[:1], tmp_path, Mode.FROM)
    assert looks == [1]


def test_steps_are_told_and_nothing_is_asked_twice(
    about: Any, pairs: tuple[ImagePair, ...], tmp_path: Path
) -> None:
    for expected in ([("sources", 0, 2), ("sources", 2, 2), ("swapped", 0, 6), ("swapped", 6, 6)],
                     [("sources", 2, 2), ("swapped", 6, 6)]):  # fmt: skip
        calls: list[tuple[str, int, int]] = []
        swapped(
            about, pairs[:2], tmp_path, Mode.ONLY, layers=[3, 5],
            told=lambda kind, calls=calls: lambda n, total: calls.append((kind, n, total)),
        )  # fmt: skip
        assert calls == expected


def test_a_response_hangs_on_mode_layer_and_source(
    about: Any, pairs: tuple[ImagePair, ...], tmp_path: Path
) -> None:
    subject = about(*suites_of(pairs))
    targets, sources = subject.questions[: len(pairs)], subject.questions[len(pairs) :]
    by_name = {(q.sample.task, q.sample.id): q for q in sources}
    crossed = dict(zip(by_name, [*sources[1:], sources[0]], strict=True))
    swappings = [
        Swapping(mode, tuple(LAYERS), by_key) for mode in Mode for by_key in (by_name, crossed)
    ]
    keys = {
        AnsweringModel(subject, swapping).key(target, layer)
        for swapping in swappings for target in targets for layer in LAYERS
    }  # fmt: skip
    assert len(keys) == 2 * 2 * len(pairs) * 9
    swapping = Swapping(Mode.FROM, tuple(LAYERS), by_name)
    plain_ = AnsweringModel(subject, Unchanged()).key(targets[0], None)
    assert AnsweringModel(subject, swapping).key(targets[0], None) == plain_


def test_out_of_memory_on_a_row_is_no_answer(
    about: Any, pairs: tuple[ImagePair, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = about().engine
    answer = engine.answer_blocks

    def little(selected: Any, blocks: Any, keys: Any) -> Any:
        if 3 in getattr(blocks, "_layers", ()):
            raise MemoryError
        return answer(selected, blocks, keys)

    monkeypatch.setattr(engine, "answer_blocks", little)
    output = swapped(about, pairs[:2], tmp_path, Mode.FROM, layers=[3, 8])
    for (_, _, layer), item in output.items():
        assert (item.text is None) == (layer == 3)
        if layer == 3:
            assert (item.source, item.target, item.changed) == (False, False, None)
    placed = by_place(rows("m", Mode.FROM, list(output.values())))
    assert {layer for layer, _, _ in placed} == {None, 8}


def test_resized_sources_have_their_target_s_size() -> None:
    small, large = picture("red", (56, 84)), picture("blue", (140, 112))
    pair = ImagePair(question("a", small), question("a", large))
    (fitted,) = resized([pair])
    assert fitted.source.images[0].size == (56, 84)
    assert fitted.source.images == (scaled(large, (56, 84)),)
    assert fitted.target is pair.target
    (same,) = resized([replace(pair, source=replace(pair.source, images=(small,)))])
    assert same.source.images == (small,)


def test_a_source_of_another_size_is_swapped_in_all_the_same(
    about: Any, pairs: tuple[ImagePair, ...], plain: Mapping[str, str], tmp_path: Path
) -> None:
    (pair,) = [pair for pair in pairs if pair.target.task == "ocr"][:1]
    wide = replace(pair.source, images=(scaled(pair.source.images[0], (168, 84)),))
    output = swapped(about, [replace(pair, source=wide)], tmp_path, Mode.FROM, layers=[0, 8])
    digits = np.array([len(item.text) for item in output.values()])
    assert len(digits) == 3
    intact = output["ocr", pair.target.id, None].text
    assert intact == plain[pair.target.images[0].digest]
    assert output["ocr", pair.target.id, 0].text != intact
