"""Sentences of a response, and the yes or no that may open it."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SENTENCE_END: Final = re.compile(
    r"(?:(?<=\b[Nn]o)\.(?!\s*\d)"
    r"|(?<!\b[Nn]o)(?<!\bSt)(?<!\bMr)(?<!\bDr)(?<!\bMs)(?<!\bMrs)(?<!\bvs)"
    r"(?<!\b[Ff]ig)(?<!\bi\.e)(?<!\be\.g)(?<!^\d)(?<!\n\d)[.!?;]+)(?=[\s)\"'*]|$)|\n"
)
"""The end of a sentence or line; a point of an abbreviation, a number or `No. 6` is none."""
FIRST_WORD: Final = re.compile(r"[\s*_\"']*(yes|no|true|false)(?![\w'-])\s*", re.IGNORECASE)


def sentences(line: str) -> Iterator[str]:
    """Yield the sentences of a line, in order and without blanks around them."""
    ends = [0, *(end.end() for end in SENTENCE_END.finditer(line)), len(line)]
    for start, end in pairwise(ends):
        if line[start:end].strip():
            yield line[start:end].strip()
