"""Pairs of images with one question whose answer they change: folders of them, or the specimen's.

The folder's format is that of the data published with arXiv 2602.12395.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import islice
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from eval.grading.extract import extract
from eval.grading.grade import grade
from eval.probes.boxes import box_in, iou
from eval.records import AnswerKind, Metric, Sample, Suite, Task
from eval.suites.benchmark import draw_indexes, picture_group
from eval.suites.rows import json_rows
from eval.suites.specimen import sample_of
from surgery.errors import ExecutionError
from surgery.specimen.world import heldout_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from eval.probes.boxes import Box, Frame
    from eval.suites.rows import Row
    from surgery.specimen.world import Item

SPECIMEN: Final = "specimen"
SPECIMEN_TASKS: Final[Mapping[str, str]] = MappingProxyType(
    {"counting": "count", "ocr": "read", "recognition": "recognise", "grounding": "locate"}
)
"""Name of the specimen's built-in pairs."""
SAMPLES: Final = 100
"""Pairs of each task, unless the run says otherwise."""

_DATA: Final = "data.jsonl"
_ANSWERS: Final = ("answer", "text", "bbox_xyxy")
_NUMBERS: Final = re.compile(r"(?<![\w.])-?(?:\d+(?:\.\d+)?|\.\d+)")
_IMAGE: Final = re.compile(r"^\s*<image>\s*")
_IOU: Final = 0.5
TARGETS: Final = "target"
SOURCES: Final = "source"
"""Suites of a pair's two questions, each a field of `ImagePair`."""

_LONGEST: Final = 128  # tokens


@dataclass(frozen=True)
class ImagePair:
    """One question about two images.

    Attributes:
        target: The question about the image whose answer is asked for.
        source: The same about the image that is swapped in; of the same task and id.
        boxes: Right boxes of target and source, x1 y1 x2 y2 in pixels, where the answer is one.
        threshold: Least intersection over union at which two boxes are the same.
        frames: How boxes of responses lie on target and source; None where both are in the pixels
            of `boxes`.
    """

    target: Sample
    source: Sample
    boxes: tuple[Box, Box] | None = None
    threshold: float = _IOU
    frames: tuple[Frame, Frame] | None = None

    def says(self, text: str, *, source: bool, about_source: bool = False) -> bool:
        """Check that a response gives the right answer of target or source.

        Args:
            text: The response.
            source: Whether the source's answer is meant.
            about_source: Whether the model was shown the source; otherwise the target, on whose
                tokens the source's keys and values may have stood.
        """
        if self.boxes is not None:
            box = box_in(text)
            if box is not None and self.frames is not None:
                size = (self.source if source else self.target).images[0].size
                box = self.frames[about_source].on(box, size)
            return box is not None and iou(box, self.boxes[source]) >= self.threshold
        return grade(self.source if source else self.target, text).correct

    def alike(self, a: str, b: str) -> bool:
        """Check whether two responses give the same answer."""
        if self.boxes is not None:
            first, second = box_in(a), box_in(b)
            if first is None or second is None:
                return first is second
            return iou(first, second) >= self.threshold
        first_said, second_said = (extract(self.target, text).answer for text in (a, b))
        if first_said is None or second_said is None:
            return first_said is second_said
        # The first response becomes the gold answer for the other one.
        sample = replace(self.target, answer=first_said, also=())
        return first_said == second_said or grade(sample, b).correct


def load_pairs(place: str, folder: Path, samples: int | None, seed: int) -> tuple[ImagePair, ...]:
    """Pairs, `samples` of each task.

    Args:
        place: What was asked for: `specimen`, or the folder.
        folder: The same as a path.
        samples: How many of each task; the specimen's own number, or all of a folder's, when None.
        seed: Seed of the selection.

    Raises:
        SurgeryError: If there are none, or one cannot be read.
    """
    if place == SPECIMEN:
        return tuple(_specimen(samples or SAMPLES, seed))
    pairs = []
    for file in sorted(folder.glob(f"*/{_DATA}")):
        rows = list(json_rows(file, file.parent))
        pairs += [_pair(rows[index], file) for index in draw_indexes(len(rows), samples, seed)]
    if not pairs:
        raise ExecutionError(
            f"{folder} holds no pairs. Expected one folder per task with a {_DATA} in it, or the "
            f"word '{SPECIMEN}' for generated pairs."
        )
    tasks_seen: set[tuple[str, str]] = set()
    for pair in pairs:
        place_of = pair.target.task, pair.target.id
        if place_of in tasks_seen:
            raise ExecutionError(f"{folder}: task {place_of[0]!r} has two pairs {place_of[1]!r}.")
        tasks_seen.add(place_of)
    return tuple(pairs)


def suites_of(pairs: Sequence[ImagePair]) -> tuple[Suite, Suite]:
    """Return the suites of the targets and of the sources."""
    tasks = list(dict.fromkeys(pair.target.task for pair in pairs))
    return tuple(
        Suite(
            name,
            tuple(
                Task(
                    task, Metric.ACCURACY,
                    tuple(getattr(pair, name) for pair in pairs if pair.target.task == task),
                )
                for task in tasks
            ),
            _LONGEST,
        )
        for name in (TARGETS, SOURCES)
    )  # type: ignore[return-value]  # fmt: skip


def _pair(row: Row, file: Path) -> ImagePair:
    meta = row["meta"]
    if not isinstance(meta, dict):
        raise ExecutionError(f"{row.where}: 'meta' is not an object.")
    meta = {name: value for name, value in meta.items() if value is not None}
    kind = next((name for name in _ANSWERS if f"target_{name}" in meta), None)
    if kind is None or f"source_{kind}" not in meta:
        expected = ", ".join(f"target_{name} and source_{name}" for name in _ANSWERS)
        raise ExecutionError(
            f"{row.where}: 'meta' has {', '.join(meta) or 'nothing'}. Expected one of {expected}."
        )
    answers = [meta[f"{side}_{kind}"] for side in ("target", "source")]
    boxes = None
    if kind == "bbox_xyxy":
        boxes = (_box(answers[0], row.where), _box(answers[1], row.where))
    pictures = [row.pictures(f"{side}_image") for side in ("target", "source")]
    if any(len(picture) != 1 for picture in pictures):
        raise ExecutionError(f"{row.where}: expected one target_image and one source_image.")
    both = [
        Sample(
            id=row.text("id"),
            task=row.text("task") if row.values.get("task") else file.parent.name,
            prompt=_IMAGE.sub("", row.text("prompt")),
            answer=json.dumps(answer) if boxes else str(answer),
            kind=_kind(answers),
            images=images,
            group=picture_group(pictures[0]),
        )
        for answer, images in zip(answers, pictures, strict=True)
    ]
    if both[0].task == "all":
        raise ExecutionError(f"{row.where}: no task can be called 'all', which is all of them.")
    threshold = meta.get("iou_threshold", _IOU)
    if not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
        raise ExecutionError(f"{row.where}: iou_threshold is {threshold!r}. Expected 0 to 1.")
    return ImagePair(both[0], both[1], boxes, float(threshold))


def _kind(answers: Sequence[Any]) -> AnswerKind:
    """Numbers are compared as numbers, all else as words."""
    numbers = all(_NUMBERS.fullmatch(str(answer).strip()) for answer in answers)
    return AnswerKind.NUMBER if numbers else AnswerKind.TEXT


def _box(value: Any, location: str) -> Box:
    try:
        x1, y1, x2, y2 = value
        box = (float(x1), float(y1), float(x2), float(y2))
        good = all(isfinite(x) for x in box) and x1 < x2 and y1 < y2 and isinstance(value, list)
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good or any(isinstance(x, (bool, str)) for x in value):
        text = str(value)[:80]
        raise ExecutionError(
            f"{location}: {text} is not a box. Expected [x1, y1, x2, y2], x1 < x2."
        )
    return box


def _specimen(samples: int, seed: int) -> Iterator[ImagePair]:
    for task, specimen_task in SPECIMEN_TASKS.items():
        yield from islice(_matched(task, heldout_stream(specimen_task, seed)), samples)


def _matched(task: str, items: Iterator[Item]) -> Iterator[ImagePair]:
    """Items of one prompt and different answers, two by two, as they come."""
    waiting: dict[str, Item] = {}
    for item in items:
        other = waiting.get(item.prompt)
        if other is None:
            waiting[item.prompt] = item
        elif other.answer != item.answer:
            del waiting[item.prompt]
            yield ImagePair(
                replace(sample_of(other), task=task),
                replace(sample_of(item), task=task, id=other.id),
            )
