"""The graders, and the forms of a well-formed response."""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from eval.grading.boxes import find_boxes
from eval.grading.compare import compare
from eval.grading.extract import extract
from eval.grading.paper import grade_paper
from eval.records import Grade
from surgery.errors import SurgeryError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eval.records import Sample

_ANSWER: Final = re.compile(r"</?answer>")
_THINK: Final = re.compile(r"</?think>")
_AFTER_BOX: Final = re.compile(r"(?:\s|[.$*。]|\\[)\]])*")


def grade_strict(sample: Sample, text: str) -> Grade:
    """Extract the answer, then compare it by the sample's kind.

    Args:
        sample: The question.
        text: The response.
    """
    extraction = extract(sample, text)
    if extraction.answer is None:
        return Grade(False, extraction, "")
    correct, comparison = compare(sample, extraction.answer)
    for gold in () if correct else sample.also:
        correct, comparison = compare(replace(sample, answer=gold), extraction.answer)
        if correct:
            break
    return Grade(correct, extraction, comparison)


GRADERS: Final[Mapping[str, Callable[[Sample, str], Grade]]] = MappingProxyType(
    {"strict": grade_strict, "paper": grade_paper}
)
"""`strict` is ours; `paper` follows the reference implementation's lenient rules."""


def grade(sample: Sample, text: str, grader: str = "strict") -> Grade:
    """Grade a response.

    Args:
        sample: The question.
        text: The response.
        grader: A key of `GRADERS`.

    Raises:
        SurgeryError: If there is no such grader.
    """
    if grader not in GRADERS:
        raise SurgeryError(f"there is no grader {grader!r}.{did_you_mean(grader, GRADERS)}")
    return GRADERS[grader](sample, text)


def _thinks_first(text: str) -> bool:
    """Check for no think tag, or one closed pair at the start."""
    tags = _THINK.findall(text)
    return not tags or (tags == ["<think>", "</think>"] and text.lstrip().startswith("<think>"))


def _is_tagged(text: str) -> bool:
    if _ANSWER.findall(text) != ["<answer>", "</answer>"] or not _thinks_first(text):
        return False
    before, _, rest = text.partition("<answer>")
    answer, _, after = rest.partition("</answer>")
    inside = _THINK.search(rest) is not None or ("<think>" in before and "</think>" not in before)
    return bool(answer.strip()) and not after.strip() and not inside


def _is_boxed(text: str) -> bool:
    boxes = find_boxes(text)
    if not boxes or not _thinks_first(text):
        return False
    last = boxes[-1]
    after = text[last.end :]
    return bool(last.content.strip()) and _AFTER_BOX.fullmatch(after) is not None


def _is_any(text: str) -> bool:
    return True


FORMS: Final[Mapping[str, Callable[[str], bool]]] = MappingProxyType(
    {"answer-tag": _is_tagged, "boxed": _is_boxed, "any": _is_any}
)
"""Forms of a response, by the name that prompt styles use.

`answer-tag`: one closed, non-empty `<answer>` pair with nothing after it. `boxed`: ends with a
closed, non-empty `\\boxed{}`; a full stop, `$` and the like may follow. With a think tag, both want
one closed pair that begins the response and ends before the answer.
"""


def format_ok(text: str, form: str) -> bool:
    """Check whether a response has a form.

    Args:
        text: The response.
        form: A key of `FORMS`.

    Raises:
        SurgeryError: If there is no such form.
    """
    if form not in FORMS:
        raise SurgeryError(f"there is no response form {form!r}.{did_you_mean(form, FORMS)}")
    return FORMS[form](text)
