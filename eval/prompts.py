"""Samples to messages: the prompt under each condition, and the prompt styles.

Styles are data. The user of an evaluation chooses a style, or it follows the model's chat
template; a model's name says nothing about it. `eval.styles` reads a user's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from eval.images import encode_png
from eval.records import Condition, Picture
from surgery.errors import ExecutionError, SurgeryError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from PIL import Image

    from eval.records import Sample

MIN_SIDE: Final = 28
"""Shortest side of an image in the reference implementation; Qwen-VL needs one patch."""

_MARK: Final = re.compile(r"<image (\d{1,2})>")


@dataclass(frozen=True)
class Style:
    """A way to ask a model for an answer.

    Attributes:
        name: What a sweep calls it.
        system: The system message; "" for none.
        form: What a well-formed response looks like, one of `eval.grading.FORMS`.
        prefix: Text in front of the question.
        suffix: Text behind it.
        heading: What stands over a description of the image.
        official: Whether each benchmark's own prompt replaces ours.
    """

    name: str
    system: str
    form: str
    prefix: str = ""
    suffix: str = ""
    heading: str = "Image description:"
    official: bool = False


_PAPER_PREFIX: Final = (
    'Please solve the problem step by step and put your answer in one "\\boxed{}".\n\n'
)
_PAPER_SYSTEMS: Final = (
    ("paper-base", "", "boxed"),
    (
        "paper-reasoner",
        "You are a helpful assistant. When the user asks a question, your response must include "
        "two parts: first, the reasoning process enclosed in <think>...</think> tags, then the "
        "final answer enclosed in <answer>...</answer> tags. Please provide a clear, concise "
        "response within <answer> </answer> tags that directly addresses the question.",
        "answer-tag",
    ),
    (
        "paper-revisual",
        "You FIRST think about the reasoning process as an internal monologue and then provide the "
        "final answer. The reasoning process MUST BE enclosed within <think> </think> tags. The "
        "final answer MUST BE put in \\boxed{}.",
        "boxed",
    ),
    (
        "paper-api",
        "You are a helpful assistant that solves math and reasoning problems.\nWhen answering, "
        "first think through the problem step by step, then provide your final answer.\nPut your "
        "final answer in \\boxed{} format.",
        "boxed",
    ),
)
"""The prompts of arXiv 2602.12395, word for word: name, system message, form.

They are data of its experiments, from `scripts/transferability_test.py` of
github.com/xirui-li/Frankenstein at 0b273f8, which chooses by the model's name.
"""

PLAIN: Final = Style("plain", "", "any")
STYLES: Final[Mapping[str, Style]] = MappingProxyType(
    {
        style.name: style
        for style in (
            PLAIN,
            Style("official", "", "any", official=True),
            Style(
                "think-answer",
                "Reason about the question first, between <think> and </think>. Then write the "
                "final answer, short and nothing else, between <answer> and </answer>.",
                "answer-tag",
            ),
            Style(
                "think-boxed",
                "Reason about the question first, between <think> and </think>. Then write the "
                "final answer, short and nothing else, inside \\boxed{}.",
                "boxed",
            ),
            *(
                Style(name, system, form, _PAPER_PREFIX, heading="Image Description:")
                for name, system, form in _PAPER_SYSTEMS
            ),
        )
    }
)
TEMPLATE: Final = "template"
"""The style that adds nothing and expects the form of the model's chat template."""


@dataclass(frozen=True)
class Message:
    """One turn.

    Attributes:
        role: "system" or "user".
        parts: Texts and images in order.
    """

    role: str
    parts: tuple[str | Picture, ...]

    @cached_property
    def digest(self) -> str:
        """sha256 of role, texts and images."""
        parts = [part if isinstance(part, str) else f"\0{part.digest}" for part in self.parts]
        return sha256("\0\0".join([self.role, *parts]).encode()).hexdigest()


def find_style(name: str, template: str | None = None) -> Style:
    """Return the style of a name.

    Args:
        name: A key of `STYLES`, or "template".
        template: The model's chat template, which decides the form under "template".

    Raises:
        SurgeryError: If there is no such style.
    """
    if name == TEMPLATE:
        text = template or ""
        form = "answer-tag" if "<answer>" in text else "boxed" if "\\boxed" in text else "any"
        return Style(TEMPLATE, "", form)
    if name not in STYLES:
        near = did_you_mean(name, [*STYLES, TEMPLATE])
        raise SurgeryError(f"there is no prompt style {name!r}.{near}")
    return STYLES[name]


def messages(
    sample: Sample, condition: Condition, style: Style, max_pixels: int | None = None
) -> tuple[Message, ...]:
    """Return the messages of a question.

    Args:
        sample: The question.
        condition: What of it is shown. Blank images are black and of the same size, as in arXiv
            2602.12395.
        style: How to answer.
        max_pixels: Larger images are made smaller.

    Raises:
        ValueError: If the condition needs an image or a description that the sample lacks.
        ExecutionError: If an image cannot be read.
        SurgeryError: If the style is `official` and the sample has no official prompt.
    """
    pictures = _pictures(sample, condition, max_pixels)
    prompt = sample.official if style.official else sample.prompt
    if style.official and not prompt:
        raise SurgeryError(
            f"task {sample.task!r} has no official prompt. Use another --style, such as plain."
        )
    if condition is Condition.DESCRIBED:
        if sample.description is None:
            raise ValueError(f"sample {sample.id!r} has no description")
        prompt = f"{style.heading}\n{sample.description}\n\nQuestion:\n{prompt}"
    prompt = style.prefix + prompt + style.suffix
    user = Message("user", tuple(_interleaved(prompt, pictures)))
    return (Message("system", (style.system,)), user) if style.system else (user,)


def _pictures(sample: Sample, condition: Condition, max_pixels: int | None) -> tuple[Picture, ...]:
    if condition is Condition.TEXT:
        return ()
    if not sample.images:
        raise ValueError(f"sample {sample.id!r} has no image to show under {condition!r}")
    try:
        if condition is Condition.IMAGE:
            return tuple(fitted(picture, max_pixels) for picture in sample.images)
        return tuple(blank(*size_within(picture, max_pixels)) for picture in sample.images)
    except ExecutionError as error:
        raise ExecutionError(
            f"an image of sample {sample.id!r} cannot be read: it {error}"
        ) from None


def _interleaved(prompt: str, pictures: tuple[Picture, ...]) -> Iterator[str | Picture]:
    """Images where the text marks them, the others before it; no mark is left behind."""
    pieces = _MARK.split(prompt)
    marked = {int(number) for number in pieces[1::2]}
    for number, picture in enumerate(pictures, start=1):
        if number not in marked:
            yield picture
    placed: set[int] = set()
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            if piece.strip():
                yield piece
        elif int(piece) in placed or not 0 < int(piece) <= len(pictures):
            yield f"(image {piece})"  # named again, or not shown at all
        else:
            placed.add(int(piece))
            yield pictures[int(piece) - 1]


@lru_cache(maxsize=256)
def blank(width: int, height: int) -> Picture:
    """Return a black image."""
    from PIL import Image

    return _encoded(Image.new("RGB", (width, height)))


@lru_cache(maxsize=4096)
def size_within(picture: Picture, max_pixels: int | None) -> tuple[int, int]:
    """Width and height after `fitted`, in pixels; reads the file's header only."""
    width, height = picture.size
    up = max(1.0, MIN_SIDE / width, MIN_SIDE / height)
    down = 1.0
    if max_pixels is not None:
        down = min(1.0, (max_pixels / (width * up * height * up)) ** 0.5)
    if up == down == 1.0:
        return width, height
    return max(1, int(width * up * down)), max(1, int(height * up * down))


def fitted(picture: Picture, max_pixels: int | None) -> Picture:
    """Return the image, or a copy with at most `max_pixels` and at least `MIN_SIDE`."""
    return scaled(picture, size_within(picture, max_pixels))


def scaled(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return the image itself if it has this width and height, else a resized copy.

    Either way a file that all readers decode equally.
    """
    from PIL import Image

    if picture.size == size:
        return picture.upright
    return _encoded(picture.open().resize(size, Image.Resampling.LANCZOS))


def as_png(picture: Picture) -> Picture:
    """Return the image as a PNG, from any format."""
    return _encoded(picture.open())


def _encoded(image: Image.Image) -> Picture:
    return Picture(encode_png(image))
