"""Responses to grades. Pure: text in, verdict out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from eval.records import Grade

if TYPE_CHECKING:
    from eval.records import Response, Sample

_TAG: Final = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)


def extract_answer(text: str) -> str | None:
    """What stands in the last complete `<answer>` tag, blanks around it removed.

    Returns:
        The answer, or None where there is no complete tag.
    """
    found = _TAG.findall(text)
    return str(found[-1]).strip() if found else None


def grade_exact(sample: Sample, response: Response) -> Grade:
    """Right if the tagged answer is the sample's, character for character.

    Raises:
        ValueError: If the response belongs to another sample.
    """
    if response.sample != sample.id:
        raise ValueError(f"response to {response.sample!r} graded against sample {sample.id!r}")
    answer = extract_answer(response.text)
    return Grade(sample.id, answer, answer == sample.answer)
