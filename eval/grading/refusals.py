"""Responses that say that they have no answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from eval.grading.normalise import words
from eval.records import Extraction

if TYPE_CHECKING:
    from eval.records import Sample

REFUSED: Final = Extraction(None, "no-answer")

_VERBS: Final = (
    r"(?:determined?|answer(?:ed)?|calculated?|computed?|f(?:i|ou)nd|solved?|work(?:ed)? out"
    r"|infer(?:red)?|identif(?:y|ied)|derived?|tell|say|provided?|see|view|count|assist|help|give"
    r"|evaluated?|conclude|compare|be (?:sure|certain)|know|make out|choose|select|analy[sz]e"
    r"|process)"
)
_CANNOT: Final = r"(?:can ?not|can't|could ?not|couldn't)(?: be)?(?: \w+ly)?"
_OFFERED: Final = r"(?:given |above |provided |available |listed |answer |offered |possible )*"
_REFUSALS: Final = (
    rf"\b{_CANNOT} {_VERBS}\b",
    r"\b(?:is|am|are|'m|was) (?:not able|unable) to\b",
    r"\bunable to (?:determine|answer|see|provide)",
    r"(?:\bnot?|n't)(?: have)? (?:enough|sufficient)\b[^.\n]{0,20}"
    r"\b(?:information|data|details?|context)",
    r"\binsufficient (?:information|data|details?|context)\b",
    r"\bnot enough information\b",
    r"\b(?:answer|value|result|solution) (?:is|remains|would be) (?:undefined|indeterminate|unknown"
    r"|undetermined|not (?:given|available|determinable|defined|known|clear))",
    rf"\bnone of (?:the|these|those) {_OFFERED}"
    r"(?:options?|choices?|answers?|above|match\w*|fits?|is|are)\b",
    r"\bn(?:ot|'t)(?: listed| included| found| present| available| mentioned| provided)?"
    r"(?: (?:among|in|within|one of|any of)| match\w*(?: any of| one of)?| correspond to any of)"
    rf" the {_OFFERED}(?:options|choices|answers)\b",
    r"\bno (?:correct|right|valid|suitable|matching|definite|option|choice)\b[^.\n]{0,12}"
    r"\b(?:answer|options?|choices?|match\w*|fits?|correct|listed)\b",
    rf"\b(?:is|it's) (?:not|n't|im)\s?possible to (?:\w+ly )?{_VERBS}\b",
    r"\b(?:please|could you|can you) (?:\w+ )?"
    r"(?:provide|share|describe|upload|clarify|supply|send)\b",
    r"\b(?:i|we|would) (?:\w+ )?(?:need|require)(?: \w+)? "
    r"(?:more|further|additional) (?:information|context|details?|data)\b",
    rf"\b(?:difficult|hard|challenging|impossible) to (?:\w+ly )?{_VERBS}\b",
    r"\b(?:i'm|i am|we are) sorry\b",
    r"\bi apologi[sz]e\b",
    r"\bno (?:image|picture|figure|diagram) (?:is|was|has been|provided|given|attached)\b",
    r"无法(?:确定|判断|回答|计算|得出|看到)",
    r"信息不足|条件不足|没有(?:正确|合适)的?(?:答案|选项)",
)
_REFUSAL: Final = re.compile("|".join(_REFUSALS), re.IGNORECASE)
_NON_ANSWER: Final = re.compile(
    r"\W*(?:therefore |simply |that )?(?:it |this |the \w+ )?(?:is )?(?:undefined|indeterminate"
    r"|unknown|unclear|impossible|not (?:enough|sufficient|given|available|possible|determin\w+"
    r"|defined|known|clear|provided|listed|among|in the)|insufficient|none of|cannot|can't|n/?a\b"
    r"|unanswerable|uncertain|missing|no (?:correct |valid |right )?(?:answer|option|choice)|无法"
    r"|不确定|信息不足)",
    re.IGNORECASE,
)
_ANYWAY: Final = re.compile(
    r"\b(?:closest|nearest|best guess|most likely|likely|probably|assum\w+|however|but"
    r"|approximat\w+|i would|i(?:'d| will|'ll)|if (?:i|we) (?:have|had|must)|reasonabl[ey])\b",
    re.IGNORECASE,
)
_EDGE: Final = 300
"""Characters at both ends of a response where a refusal speaks of the whole question."""


def is_non_answer(sample: Sample, statement: str) -> bool:
    """Check whether what follows `the answer is` states that there is none.

    Args:
        sample: The question; an option such as `none of these` is an answer.
        statement: The words behind `the answer is`.
    """
    if not (_NON_ANSWER.match(statement) or _REFUSAL.search(statement)):
        return False
    return not is_offered(sample)


def after_refusal(sample: Sample, body: str) -> str | None:
    """Return what a response says after it refused to answer.

    Args:
        sample: The question; where an option such as `cannot be determined` is offered, there is
            no refusal.
        body: The response.

    Returns:
        The rest after the last refusal if it names an answer all the same (`the closest option
        is`), else an empty text; None if the response does not refuse.
    """
    if is_offered(sample):
        return None
    matches = [
        match
        for match in _REFUSAL.finditer(body)
        if match.start() < _EDGE or match.end() > len(body) - _EDGE
    ]
    if not matches:
        return None
    rest = body[matches[-1].end() :]
    return rest if _ANYWAY.search(rest) else ""


def is_offered(sample: Sample) -> bool:
    """Check for an option that says that there is no answer."""
    return any(
        _REFUSAL.search(choice)
        or _NON_ANSWER.match(choice)
        or words(choice) in {"none", "neither", "none of these", "none of above", "no solution"}
        for choice in sample.choices
    )
