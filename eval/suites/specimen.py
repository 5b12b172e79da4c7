"""Held-out questions of the world that the specimen family was trained in, drawn from a seed.

No stage was trained on combine: it asks about the images of `count` with words that are new to
the models.
"""

from __future__ import annotations

from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from eval.records import AnswerKind, Metric, Picture, Sample, Suite, Task
from surgery.specimen.world import items, training_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from surgery.specimen.world import Item

NAME: Final = "specimen"
TASKS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        "read": Metric.VISION,
        "count": Metric.VISION,
        "recognise": Metric.VISION,
        "locate": Metric.VISION,
        "expression": Metric.ALIGNMENT,
        "combine": Metric.ALIGNMENT,
        "arithmetic": Metric.REASONING,
    }
)
"""Expression is arithmetic seen; combine is counting, then computing; arithmetic is in text."""

TRAINED: Final = (
    "read",
    "count",
    "recognise",
    "locate",
    "arithmetic",
    "expression",
    "caption",
    "filled",
)
"""Tasks that a training may draw from; the last two are of training alone."""

SAMPLES: Final = 100
"""Of each task, unless the run says otherwise."""

_LONGEST: Final = 48  # tokens of the longest demonstration the models were trained on, and some


def load(samples: int, seed: int) -> Suite:
    """Draw different questions; the same arguments give the same questions.

    Args:
        samples: How many of each task.
        seed: Any whole number from 0.

    Raises:
        SurgeryError: If a task has fewer held-out questions.
    """
    tasks = tuple(
        Task(name, metric, tuple(sample_of(item) for item in items(name, samples, seed)))
        for name, metric in TASKS.items()
    )
    return Suite(NAME, tasks, max_new_tokens=_LONGEST)


def lessons(task: str, seed: int) -> Iterator[Sample]:
    """Yield training questions without end, none of which `load` ever asks."""
    return map(sample_of, training_stream(task, seed))


def sample_of(item: Item) -> Sample:
    """Return a question of the specimen as a sample."""
    return Sample(
        id=item.id,
        task=item.task,
        prompt=item.prompt,
        answer=item.answer,
        kind=AnswerKind.EXACT,
        images=() if item.image is None else (_picture(item),),
        description=None if item.scene is None else str(item.scene),
        demonstration=item.target,
    )


def _picture(item: Item) -> Picture:
    assert item.image is not None
    file = BytesIO()
    item.image.save(file, "PNG")
    return Picture(file.getvalue())
