r"""`\boxed{...}` and other LaTeX wrappers, braces counted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# Several backslashes are what is left of one after careless escaping.
_TOKEN: Final = re.compile(r"\\+(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_WRAPPER: Final = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|mathrm|mathbf|mathit|mathsf|mbox|operatorname)"
    r"\s?\{([^{}]*)\}"
)
_DEPTH: Final = 4


@dataclass(frozen=True)
class Box:
    """A closed box.

    Attributes:
        content: What stands in it.
        end: Where it ends in the text.
    """

    content: str
    end: int


def find_boxes(text: str) -> list[Box]:
    r"""Every closed `\boxed{}` and `\fbox{}`, in the order of their ends: the outer one after the
    boxes inside it. Takes time linear in the text.
    """  # noqa: D205
    boxes: list[Box] = []
    open_: list[int | None] = []  # where a box's content starts, None for other braces
    for token in _TOKEN.finditer(text):
        if token[0].endswith("{") and token[0] != "\\{":
            open_.append(token.end() if len(token[0]) > 1 else None)
        elif token[0] == "}" and open_:
            start = open_.pop()
            if start is not None:
                boxes.append(Box(text[start : token.start()], token.end()))
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


def unwrapped(text: str) -> str:
    r"""Return the text without `\\text{}`, `\\mathbf{}` and the like around its parts."""
    for _ in range(_DEPTH):
        if "\\" not in text:
            break
        text = _WRAPPER.sub(r"\1", text)
    return text
