"""Pairs of images from folders and from the specimen's world; what counts as one answer."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.probes.boxes import box_in, iou
from eval.probes.pairs import (
    SPECIMEN,
    SPECIMEN_TASKS,
    ImagePair,
    load_pairs,
    suites_of,
)
from eval.records import AnswerKind, Metric
from surgery.errors import ExecutionError
from surgery.specimen.world import split_of
from tests.eval.samples import picture, question

if TYPE_CHECKING:
    from collections.abc import Callable

COLOURS = ("red", "blue", "green", "black", "white", "yellow")


def line(number: int = 0, **more: Any) -> dict[str, Any]:
    """Return a line in the published format; `meta` is replaced, a field that is None omitted."""
    output = {
        "id": f"p{number}",
        "task": "colours",
        "target_image": f"images/{COLOURS[number]}.png",
        "source_image": "images/grey.png",
        "prompt": "<image>\nWhich colour?",
        "meta": {"target_answer": COLOURS[number], "source_answer": "grey"},
        **more,
    }
    return {name: value for name, value in output.items() if value is not None}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a task's folder with images in it; gives the folder of all tasks."""

    def put(*lines: dict[str, Any] | str, task: str = "recolour") -> Path:
        images = tmp_path / "data" / task / "images"
        images.mkdir(parents=True)
        for colour in (*COLOURS, "grey"):
            (images / f"{colour}.png").write_bytes(picture(colour).data)
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (images.parent / "data.jsonl").write_text(text + "\n", encoding="utf-8")
        return tmp_path / "data"

    return put


def loaded(folder: Path, samples: int | None = None, seed: int = 0) -> tuple[ImagePair, ...]:
    return load_pairs(str(folder), folder, samples, seed)


def test_a_line_is_one_question_about_two_images(write) -> None:
    (pair,) = loaded(write(line(1)))
    for sample, colour in ((pair.target, "blue"), (pair.source, "grey")):
        assert (sample.id, sample.task, sample.prompt) == ("p1", "colours", "Which colour?")
        assert sample.images == (picture(colour),)
        assert (sample.answer, sample.kind) == (colour, AnswerKind.TEXT)
    assert pair.target.cluster == pair.source.cluster
    assert (pair.boxes, pair.threshold) == (None, 0.5)


def test_pairs_about_one_target_are_one_cluster(write) -> None:
    """Their target image is what samples share."""
    a, b, c = loaded(write(line(0), line(0, id="x", source_image="images/green.png"), line(1)))
    assert a.target.cluster == b.target.cluster != c.target.cluster


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("<image>\nWhich?", "Which?"),
        ("  <image> Which?", "Which?"),
        ("<image>Which?", "Which?"),
        ("Which <image>?", "Which <image>?"),
        ("Which?", "Which?"),
        ("<image><image>Which?", "<image>Which?"),
    ],
)
def test_one_image_mark_at_the_head_of_a_prompt_is_dropped(write, prompt, expected) -> None:
    (pair,) = loaded(write(line(prompt=prompt)))
    assert (pair.target.prompt, pair.source.prompt) == (expected, expected)


def test_a_line_without_task_is_of_its_folder(write) -> None:
    first, second = loaded(write(line(0, task=None), line(1, task="")))
    assert first.target.task == first.source.task == second.target.task == "recolour"


def test_every_sub_folder_is_read_in_order(write) -> None:
    write(line(0, task=None), task="b")
    folder = write(line(1, task=None), "", line(2, task=None), task="a")
    (folder / "c").mkdir()  # holds no data
    assert [(p.target.task, p.target.id) for p in loaded(folder)] == [
        ("a", "p1"), ("a", "p2"), ("b", "p0"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "answers", "expected"),
    [
        ("answer", (3, 12), (AnswerKind.NUMBER, "3", "12")),
        ("answer", ("-1.5", 2.5), (AnswerKind.NUMBER, "-1.5", "2.5")),
        ("answer", ("3", "three"), (AnswerKind.TEXT, "3", "three")),
        ("text", ("ab c", "d"), (AnswerKind.TEXT, "ab c", "d")),
        ("text", ("0012", "34"), (AnswerKind.NUMBER, "0012", "34")),
    ],
)
def test_answers_decide_their_kind(write, kind, answers, expected) -> None:
    meta = {f"target_{kind}": answers[0], f"source_{kind}": answers[1]}
    (pair,) = loaded(write(line(meta=meta)))
    assert (pair.target.kind, pair.target.answer, pair.source.answer) == expected
    assert pair.source.kind is pair.target.kind


def test_boxes_and_their_threshold(write) -> None:
    meta = {"target_bbox_xyxy": [0, 0, 10, 10], "source_bbox_xyxy": [5, 5.5, 20, 20]}
    item, two = loaded(write(line(0, meta=meta), line(1, meta=meta | {"iou_threshold": 0.75})))
    assert item.boxes == ((0, 0, 10, 10), (5, 5.5, 20, 20))
    assert (item.threshold, two.threshold) == (0.5, 0.75)
    assert json.loads(item.target.answer) == [0, 0, 10, 10]
    assert json.loads(item.source.answer) == [5, 5.5, 20, 20]


def test_the_first_kind_of_answer_that_is_given_counts(write) -> None:
    """Data sets name all kinds and leave empty what is not theirs."""
    meta = {"target_answer": None, "source_answer": None, "target_text": "a", "source_text": "b"}
    (pair,) = loaded(write(line(meta=meta)))
    assert (pair.target.answer, pair.source.answer) == ("a", "b")


def test_only_a_newline_ends_a_line(write) -> None:
    prompt = "a\u2028b\x85c"
    (pair,) = loaded(write(json.dumps(line(prompt=prompt), ensure_ascii=False)))
    assert pair.target.prompt == prompt


def test_a_file_that_is_no_image_is_named(write) -> None:
    folder = write(line(target_image="data.jsonl"))
    with pytest.raises(ExecutionError, match=r"'data\.jsonl' is no image of a known format"):
        loaded(folder)


BOX = {"target_bbox_xyxy": [0, 0, 1, 1], "source_bbox_xyxy": [0, 0, 2, 2]}
MALFORMED = {
    "no json": ("{", "is not JSON"),
    "too deep": ("[" * 100_000, "is not JSON"),
    "no path": (line(target_image="a\0b"), "is no path"),
    "half a character": (line(prompt="a\ud800"), "half a surrogate pair"),
    "no such task": (line(task="all"), "no task can be called 'all'"),
    "turned over": (line(meta=BOX | {"target_bbox_xyxy": [3, 1, 1, 2]}), "[3, 1, 1, 2] is not a b"),
    "huge": (line(meta=BOX | {"target_bbox_xyxy": [0, 0, 1, 10**400]}), "is not a box"),
    "truth": (line(meta=BOX | {"target_bbox_xyxy": [0, 0, True, 2]}), "is not a box"),
    "no object": ("[1]", "is not a JSON object"),
    "no id": (line(id=None), "has no column 'id'; it has task, target_image"),
    "no prompt": (line(prompt=None), "has no column 'prompt'"),
    "no meta": (line(meta=None), "has no column 'meta'"),
    "meta is text": (line(meta="x"), "'meta' is not an object"),
    "empty meta": (line(meta={}), "'meta' has nothing. Expected one of target_answer and source_"),
    "other meta": (line(meta={"answer": 1}), "'meta' has answer. Expected one of target_answer"),
    "half of it": (line(meta={"target_text": "a"}), "'meta' has target_text. Expected one of"),
    "two kinds": (line(meta={"target_text": "a", "source_answer": "b"}), "has target_text, source"),
    "no answer": (line(meta={"target_text": None, "source_text": "b"}), "has source_text. Expecte"),
    "nor source": (line(meta={"target_text": "b", "source_text": None}), "has target_text. Expect"),
    "no target": (line(target_image=None), "expected one target_image and one source_image"),
    "no source": (line(source_image=""), "expected one target_image and one source_image"),
    "two images": (line(source_image=["images/red.png"] * 2), "expected one target_image and one"),
    "number": (line(target_image=3), "'target_image' holds no image"),
    "missing": (line(target_image="images/x.png"), "'images/x.png' cannot be read"),
    "leads out": (
        line(source_image="../../out.png"),
        "'source_image': '../../out.png' points outside",
    ),
    "absolute": (line(source_image="/etc/hostname"), "'/etc/hostname' points outside"),
    "flat box": (line(meta=BOX | {"source_bbox_xyxy": 3}), "3 is not a box. Expected [x1, y1, x2"),
    "short box": (line(meta=BOX | {"target_bbox_xyxy": [1, 2, 3]}), "[1, 2, 3] is not a box"),
    "words": (line(meta=BOX | {"target_bbox_xyxy": [1, 2, 3, "4"]}), "[1, 2, 3, '4'] is not a"),
    "no number": (line(meta=BOX | {"target_bbox_xyxy": [1, 2, 3, float("nan")]}), "is not a box"),
    "endless": (line(meta=BOX | {"target_bbox_xyxy": [1, 2, 3, float("inf")]}), "is not a box"),
    "threshold 0": (line(meta=BOX | {"iou_threshold": 0}), "iou_threshold is 0. Expected 0 to 1"),
    "above 1": (line(meta=BOX | {"iou_threshold": 1.01}), "iou_threshold is 1.01"),
    "half": (line(meta=BOX | {"iou_threshold": "half"}), "iou_threshold is 'half'"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_line_is_refused_with_its_place(write, case: str, tmp_path: Path) -> None:
    bad, text = MALFORMED[case]
    folder = write(line(0), bad)
    (tmp_path / "out.png").write_bytes(picture().data)
    with pytest.raises(ExecutionError) as caught:
        loaded(folder)
    assert f"{Path('recolour') / 'data.jsonl'}:2" in str(caught.value)
    assert text in str(caught.value)


def test_a_link_that_leads_out_is_refused(write, tmp_path: Path) -> None:
    folder = write(line(0, target_image="images/link.png"))
    (tmp_path / "secret.png").write_bytes(picture().data)
    (folder / "recolour" / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ExecutionError, match="points outside"):
        loaded(folder)


def test_an_id_twice_in_a_task_is_refused(write) -> None:
    folder = write(line(0), line(1, id="p0"))
    with pytest.raises(ExecutionError, match=r"data: task 'colours' has two pairs 'p0'"):
        loaded(folder)


def test_an_id_twice_in_one_task_of_two_folders_is_refused(write) -> None:
    write(line(0), task="a")
    with pytest.raises(ExecutionError, match="task 'colours' has two pairs 'p0'"):
        loaded(write(line(0), task="b"))


def test_tasks_may_share_ids(write) -> None:
    write(line(0, task=None), task="a")
    assert len(loaded(write(line(0, task=None), task="b"))) == 2


def test_nothing_to_load_is_refused(tmp_path: Path, write) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps(line()))
    for folder in (tmp_path, tmp_path / "none", write("")):
        with pytest.raises(ExecutionError, match=r"holds no pairs\. Expected one folder per task"):
            loaded(folder)


def test_a_seed_draws_some_of_each_task(write) -> None:
    lines = [line(i % 6, id=f"p{i}", task=None) for i in range(20)]
    write(*lines, task="a")
    folder = write(*lines[:3], task="b")
    first, again, other = loaded(folder, 5, 1), loaded(folder, 5, 1), loaded(folder, 5, 2)
    assert first == again
    assert first != other
    assert Counter(pair.target.task for pair in first) == {"a": 5, "b": 3}
    numbers = [int(pair.target.id[1:]) for pair in first if pair.target.task == "a"]
    assert numbers == sorted(numbers)  # in the file's order
    everything = loaded(folder)
    assert all(pair in everything for pair in first)


def test_what_is_not_drawn_need_not_be_there(write) -> None:
    """Only the images that are asked about are read."""
    lines = [line(i % 6, id=f"p{i}") for i in range(20)]
    folder = write(*lines)
    selected = {pair.target.id for pair in loaded(folder, 3, 1)}
    lines = [
        item if item["id"] in selected else item | {"target_image": "gone.png"} for item in lines
    ]
    (folder / "recolour" / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert {pair.target.id for pair in loaded(folder, 3, 1)} == selected


def test_suites_ask_targets_and_sources_alike(write) -> None:
    write(line(0, task=None), line(1, task=None), task="a")
    pairs = loaded(write(line(2, task=None), task="b"))
    target, source = suites_of(pairs)
    assert (target.name, source.name) == ("target", "source")
    for suite, side in ((target, "target"), (source, "source")):
        assert [task.name for task in suite.tasks] == ["a", "b"]
        assert {task.metric for task in suite.tasks} == {Metric.ACCURACY}
        samples = [sample for task in suite.tasks for sample in task.samples]
        assert samples == [getattr(pair, side) for pair in pairs]


# Boxes

CORNERS = st.tuples(*[st.integers(0, 12)] * 4)
RIGHT = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 12)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def pixels(box: tuple[int, ...]) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


@given(CORNERS, CORNERS)
def test_iou_counts_pixels(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Also where corners are the wrong way round: such a box has no pixel."""
    item, other = pixels(a), pixels(b)
    expected = len(item & other) / len(item | other) if item and other else 0.0
    assert iou(a, b) == pytest.approx(expected, abs=1e-12)


@given(RIGHT, RIGHT, st.integers(-20, 20), st.sampled_from([0.5, 3.0, 0.1]))
def test_laws_of_iou(a: tuple[int, ...], b: tuple[int, ...], move: int, scale: float) -> None:
    result = iou(a, b)
    assert 0 <= result <= 1
    assert result == iou(b, a)
    assert iou(a, a) == 1
    assert (result == 0) == (not pixels(a) & pixels(b))
    assert (result == 1) == (a == b)
    moved = [tuple(x * scale + move for x in box) for box in (a, b)]
    assert iou(*moved) == pytest.approx(result)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, 2, 3, 4]", (1, 2, 3, 4)),
        ("<think>1 and 2</think><answer>(10, 20.5), (30, 40)</answer>", (10, 20.5, 30, 40)),
        ('{"bbox_2d": [5, 6, 7, 8], "label": "cat"}', (5, 6, 7, 8)),
        ("-1 -2 3 4", (-1, -2, 3, 4)),
        ("first [9, 9, 9, 9], no: [1, 2, 3, 4].", (1, 2, 3, 4)),
        ("1, 2, 3", None),
        ("", None),
        ("no box", None),
        ("x1=10, y1=20, x2=30, y2=40", (10, 20, 30, 40)),
        ("10-20-30-40", (10, 20, 30, 40)),
        ("-1 .5 2 3", (-1, 0.5, 2, 3)),
    ],
)
def test_the_last_four_numbers_are_the_box(text: str, expected: Any) -> None:
    assert box_in(text) == expected


# What is said


def pair_of(target: str, source: str, kind: AnswerKind, **more: Any) -> ImagePair:
    return ImagePair(question(answer=target, kind=kind), question(answer=source, kind=kind), **more)


NUMBER = pair_of("7", "12", AnswerKind.NUMBER)
WORDS = pair_of("a red ring", "blue", AnswerKind.TEXT)
BOXES = pair_of("", "", AnswerKind.TEXT, boxes=((0, 0, 10, 10), (100, 100, 110, 110)))


@pytest.mark.parametrize(
    ("pair", "text", "target", "source"),
    [
        (NUMBER, "<think>12</think><answer>7</answer>", True, False),
        (NUMBER, "The answer is 7.0", True, False),
        (NUMBER, "<answer>twelve</answer>", False, True),
        (NUMBER, "<answer>71</answer>", False, False),
        (NUMBER, "", False, False),
        (WORDS, "<answer>The red ring.</answer>", True, False),
        (WORDS, "<answer>Blue</answer>", False, True),
        (WORDS, "<answer>red</answer>", False, False),
        (BOXES, "[0, 0, 10, 10]", True, False),
        (BOXES, "[0, 0, 10, 5]", True, False),  # half of it: just enough
        (BOXES, "[0, 0, 10, 4]", False, False),
        (BOXES, "[100, 100, 110, 109]", False, True),
        (BOXES, "somewhere", False, False),
    ],
)
def test_says(pair: ImagePair, text: str, target: bool, source: bool) -> None:
    assert pair.says(text, source=False) is target
    assert pair.says(text, source=True) is source


@pytest.mark.parametrize(
    ("pair", "a", "b", "alike"),
    [
        (NUMBER, "<answer>3</answer>", "<answer>3.0</answer>", True),
        (NUMBER, "<think>x</think><answer>3</answer>", "The answer is three", True),
        (NUMBER, "<answer>3</answer>", "<answer>4</answer>", False),
        (NUMBER, "<answer>3</answer>", "", False),
        (NUMBER, "", "", True),
        (WORDS, "<answer>A Circle</answer>", "<answer>the circle.</answer>", True),
        (WORDS, "<answer>circle</answer>", "<answer>square</answer>", False),
        (BOXES, "[0, 0, 10, 10]", "[0, 0, 10, 9]", True),
        (BOXES, "[0, 0, 10, 10]", "[0, 0, 10, 4]", False),
        (BOXES, "[50, 50, 60, 60]", "[50, 50, 60, 60]", True),  # neither image's own
        (BOXES, "[50, 50, 60, 60]", "nowhere", False),
        (BOXES, "nowhere", "not here", True),
    ],
)
def test_alike(pair: ImagePair, a: str, b: str, alike: bool) -> None:
    assert pair.alike(a, b) is alike
    assert pair.alike(b, a) is alike


def test_a_right_answer_elsewhere_makes_no_two_answers_alike() -> None:
    """Further right answers are the sample's, not those of what was read first."""
    pair = ImagePair(question(answer="7", also=("8",)), question(answer="9"))
    assert pair.says("<answer>8</answer>", source=False)
    assert not pair.alike("<answer>3</answer>", "<answer>8</answer>")


def test_the_threshold_is_the_pair_s() -> None:
    strict = pair_of("", "", AnswerKind.TEXT, boxes=BOXES.boxes, threshold=0.9)
    for pair, same in ((BOXES, True), (strict, False)):
        assert pair.says("0 0 10 8", source=False) is same
        assert pair.alike("0 0 10 8", "0 0 10 10") is same


# The specimen's own


def specimen(samples: int | None, seed: int) -> tuple[ImagePair, ...]:
    return load_pairs(SPECIMEN, Path(SPECIMEN), samples, seed)


def test_the_specimen_s_pairs_are_one_question_with_two_answers() -> None:
    pairs = specimen(12, 4)
    assert Counter(pair.target.task for pair in pairs) == dict.fromkeys(SPECIMEN_TASKS, 12)
    for pair in pairs:
        target, source = pair.target, pair.source
        assert (target.prompt, target.task, target.id) == (source.prompt, source.task, source.id)
        assert target.answer != source.answer
        assert target.images != source.images
        assert target.images[0].size == source.images[0].size
        assert pair.says(f"<answer>{target.answer}</answer>", source=False)
        assert not pair.says(f"<answer>{target.answer}</answer>", source=True)
        assert pair.boxes is None
        for sample in (target, source):
            kind = "number " + sample.answer if target.task == "ocr" else "scene %s"
            assert split_of(kind.replace("%s", str(sample.description))) == "heldout"


def test_no_image_of_the_specimen_is_used_twice() -> None:
    images = [
        item.images[0].digest for pair in specimen(12, 4) for item in (pair.target, pair.source)
    ]
    assert len(set(images)) == len(images)


def test_the_specimen_s_pairs_are_those_of_their_seed() -> None:
    assert specimen(5, 1) == specimen(5, 1)
    first, other = ({p.target.images for p in specimen(5, seed)} for seed in (1, 2))
    assert not first & other
    # More of them begin with the same.
    more = specimen(8, 1)
    assert [p for p in more if p.target.task == "ocr"][:5] == list(specimen(5, 1))[5:10]


def test_there_are_a_hundred_of_each_unless_the_run_says_otherwise() -> None:
    counts = Counter(pair.target.task for pair in specimen(None, 0))
    assert counts == dict.fromkeys(SPECIMEN_TASKS, 100)
