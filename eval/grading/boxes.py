r"""`\boxed{...}` and other LaTeX wrappers, braces counted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

# Several backslashes are what is left of one after careless escaping.
_TOKEN: Final = re.compile(r"\\+(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_WRAPPER: Final = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|mathrm|mathbf|mathit|mathsf|mbox|operatorname)"
    r"\s?\{([^{}]*)\}"
)
_BETWEEN: Final = re.compile(
    r"(?:[\s,;$&]|\\q?quad|\\[,;: ()\[\]]|\\text\{\s*(?:and|or|,)\s*\}|\band\b|\bor\b)*"
)
"""Text between the boxes of one answer: `\\boxed{1}, \\boxed{2} and \\boxed{3}`."""
_DEPTH: Final = 4


@dataclass(frozen=True)
class Box:
    """A closed box.

    Attributes:
        content: What stands in it.
        start: Where it begins in the text.
        end: Where it ends in the text.
    """

    content: str
    start: int
    end: int


def find_boxes(text: str) -> list[Box]:
    r"""Every closed `\boxed{}` and `\fbox{}`, in the order of their ends: the outer one after the
    boxes inside it. Takes time linear in the text.
    """  # noqa: D205
    boxes: list[Box] = []
    open_: list[re.Match[str] | None] = []  # None for other braces
    for token in _TOKEN.finditer(text):
        if token[0].endswith("{") and token[0] != "\\{":
            open_.append(token if len(token[0]) > 1 else None)
        elif token[0] == "}" and open_:
            box = open_.pop()
            if box is not None:
                content = text[box.end() : token.start()]
                boxes.append(Box(content, box.start(), token.end()))
    return boxes


def last_box(text: str) -> str | None:
    """Return the contents of the last box, and of the last box inside that."""
    answer: str | None = None
    for _ in range(_DEPTH):
        boxes = find_boxes(text)
        if not boxes:
            break
        answer = text = boxes[-1].content
    return answer


def joined_boxes(text: str) -> str | None:
    """Return the contents of the last boxes that make up one answer, separated by commas.

    Boxes belong together when only commas, `and`, blanks and the like stand between them. A box
    that corrects an earlier one follows other words, and counts alone.
    """
    boxes = find_boxes(text)
    last = last_box(text)
    if last is None or any(a.end > b.start for a, b in pairwise(boxes)):
        return last  # a box in a box
    parts = [boxes.pop()]
    while boxes and _BETWEEN.fullmatch(text[boxes[-1].end : parts[0].start]):
        parts.insert(0, boxes.pop())
    return ", ".join(box.content for box in parts)


def unwrapped(text: str) -> str:
    r"""Return the text without `\\text{}`, `\\mathbf{}` and the like around its parts."""
    for _ in range(_DEPTH):
        if "\\" not in text:
            break
        text = _WRAPPER.sub(r"\1", text)
    return text
