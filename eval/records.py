"""Small frozen values that all parts of the harness use."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

    from eval.images import Header


class Condition(StrEnum):
    """The part of a sample that is shown: f(i,p), f(b,p), f(b,d,p), f(p) in arXiv 2602.12395."""

    IMAGE = "image"
    BLANK = "blank"
    DESCRIBED = "described"
    TEXT = "text"


class Metric(StrEnum):
    """A metric over a task's outcomes (arXiv 2602.12395)."""

    VISION = "m_vis"
    ALIGNMENT = "m_v2r"
    REASONING = "m_rea"
    ACCURACY = "accuracy"


CONDITIONS: Final[Mapping[Metric, tuple[Condition, ...]]] = MappingProxyType(
    {
        Metric.VISION: (Condition.IMAGE, Condition.BLANK),
        Metric.ALIGNMENT: (Condition.IMAGE, Condition.DESCRIBED),
        Metric.REASONING: (Condition.TEXT,),
        Metric.ACCURACY: (Condition.IMAGE,),
    }
)
"""The conditions of each metric; a sample without image is asked as text instead."""


class AnswerKind(StrEnum):
    """The kind of a correct answer, which determines the comparison."""

    OPTION = "option"  # a letter; `Sample.choices` holds the texts
    NUMBER = "number"
    MATH = "math"  # an expression, compared by math-verify
    TEXT = "text"  # words, compared without regard to case, articles and punctuation
    EXACT = "exact"  # character for character


@dataclass(frozen=True)
class Picture:
    """An image as it was stored.

    Attributes:
        data: The encoded file: PNG, JPEG, or another format that Pillow reads.
    """

    data: bytes = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """sha256 of the bytes, in hex."""
        return sha256(self.data).hexdigest()

    @cached_property
    def header(self) -> Header:
        """Return the facts in the file's header.

        Raises:
            ExecutionError: If it is no image that is read here; says why.
        """
        from eval.images import read_header

        return read_header(self.data)

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels, after EXIF rotation."""
        return self.header.size

    def open(self) -> Image.Image:
        """Return the pixels in RGB, as `eval.images` reads them.

        Raises:
            ExecutionError: If it cannot be read.
        """
        from eval.images import load_image

        return load_image(self.data)

    @cached_property
    def upright(self) -> Picture:
        """Return an image that every reader decodes to these pixels: itself, or a PNG."""
        from eval.images import encode_png

        return Picture(encode_png(self.open())) if self.header.odd else self


@dataclass(frozen=True)
class Sample:
    """One question.

    Attributes:
        id: Unique in its task.
        task: The task it belongs to.
        prompt: The question with its options, without chat template and style. `<image 1>` marks
            where an image stands; images without a mark stand before the text.
        answer: The right answer; for `OPTION` its letter.
        kind: What the answer is.
        choices: Texts of the options, A first; empty for a free question.
        also: Further answers that are right.
        images: What it is about; empty for a question in text alone.
        description: The image description, or None without one.
        tolerance: For `NUMBER`, how far off an answer may be.
        categories: Further names by which its scores are split, for example `{"level": "4"}`.
        group: Samples of one group share an image or a source, so they are not independent;
            empty when it stands for itself.
        demonstration: A right response in full, where one is known.
        official: The prompt of the benchmark's authors, including its answer-format instruction;
            "" where they publish none.
    """

    id: str
    task: str
    prompt: str
    answer: str
    kind: AnswerKind
    choices: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    images: tuple[Picture, ...] = ()
    description: str | None = None
    tolerance: float = 0.0
    categories: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    demonstration: str = ""
    official: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of prompt and images, without the gold answer, which may be corrected."""
        parts = [self.prompt, *(picture.digest for picture in self.images)]
        return sha256("\0".join(parts).encode()).hexdigest()

    @property
    def cluster(self) -> str:
        """Name of the group of dependent samples."""
        return self.group or self.id


@dataclass(frozen=True)
class Task:
    """Questions that one number is worked out from.

    Attributes:
        name: For example `general-vqa`.
        metric: What is made of the outcomes.
        samples: The questions.
    """

    name: str
    metric: Metric
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Suite:
    """Tasks that are asked together.

    Attributes:
        name: For example `paper`.
        tasks: Their order is that of reports.
        max_new_tokens: Longest answer, unless the run says otherwise.
    """

    name: str
    tasks: tuple[Task, ...]
    max_new_tokens: int = 2048


@dataclass(frozen=True)
class Response:
    """A model's response.

    Attributes:
        text: The new text, without special tokens.
        tokens: Number of new tokens, the end of turn among them.
        truncated: Whether it was cut off at the token limit.
    """

    text: str
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class Failure:
    """The reason for a missing response: a timeout, memory, a server. Never a wrong answer.

    Attributes:
        reason: One sentence.
    """

    reason: str


@dataclass(frozen=True)
class Extraction:
    """The answer extracted from a response.

    Attributes:
        answer: The answer, or None where none was found.
        rule: How it was found, for example `answer-tag`.
        guessed: Whether nothing marked it as the answer.
    """

    answer: str | None
    rule: str
    guessed: bool = False


@dataclass(frozen=True)
class Grade:
    """The grade of a response and the rule that decided.

    Attributes:
        correct: Whether it is.
        extraction: The answer it took.
        comparison: How the answer was compared, for example `math-verify`; "" when there was none.
    """

    correct: bool
    extraction: Extraction
    comparison: str
