"""Extraction of the answer from a response, without a look at the gold answer's value."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from eval.grading import options
from eval.grading.boxes import joined_boxes, last_box, unwrapped
from eval.grading.guesses import NOTHING, guess_number, guess_option
from eval.grading.normalise import plain, without_tokens
from eval.grading.numbers import numbers_in, quantity
from eval.grading.refusals import REFUSED, after_refusal
from eval.grading.sentences import FIRST_WORD
from eval.grading.statements import (
    BOLD,
    FORMULA,
    LONGEST,
    MOST_WORDS,
    PROSE,
    SYMBOL,
    formulas_in,
    is_yes_no,
    last_statement,
    stated_in,
    statements,
)
from eval.records import AnswerKind, Extraction

if TYPE_CHECKING:
    from eval.records import Sample

_TAG: Final = re.compile(r"<answer>|</answer>", re.IGNORECASE)
_THINK: Final = re.compile(r"<think>|</think>", re.IGNORECASE)
_CHINESE: Final = re.compile(r"(?<=[\u4e00-\u9fff])(?=[A-Za-z])|(?<=[A-Za-z])(?=[\u4e00-\u9fff])")

_OPERATOR: Final = re.compile(r"\\[a-zA-Z]+|[\^+*/]|\d\s*-\s*\d")
_YES_NO_WORD: Final = re.compile(r"(?<![\w'-])(yes|no|true|false)(?![\w'-])", re.IGNORECASE)
_AFFIRMS: Final = frozenset({"correct", "right", "accurate", "true", "indeed"})
_FIRST_VERDICT: Final = re.compile(
    r"[\s*_\"']*(correct|incorrect|right|wrong|indeed|accurate|inaccurate)(?=[\s*\"']*(?:[.,!:;]"
    r"|$))",
    re.IGNORECASE,
)
_IS_TRUE: Final = re.compile(
    r"\b(?:statement|claim|answer|this|that|it|assertion|question)\s+(?:is"
    r"|was)\s+(not )?(?:indeed |in fact )?(correct|incorrect|true|false|accurate|inaccurate|right"
    r"|wrong)\b",
    re.IGNORECASE,
)

_SHORT: Final = 80


def extract(sample: Sample, text: str) -> Extraction:
    """Read the answer out of a response.

    The last of what marks an answer counts: an `<answer>` tag, else a box, else a sentence that
    says so; then, by kind, a line that is an option, or a whole response that is short and bare.
    What is found otherwise (a letter in prose, the last formula, the last number) is a guess.
    Thinking is dropped first; where nothing follows it, all that it holds is a guess.

    Args:
        sample: The question; its kind and options decide what can be an answer.
        text: The response.

    Returns:
        The answer as it was written, for an option its letter where it is one.
    """
    text = without_tokens(text)
    if sample.kind is not AnswerKind.EXACT:
        text = plain(text)
    if sample.kind is AnswerKind.OPTION and not text.isascii():
        text = _CHINESE.sub(" ", text)  # so that a letter between Chinese characters has an edge
    body, thoughts = _split(text)
    if sample.kind is AnswerKind.OPTION and options.asks_several(sample):
        return _several(sample, body)
    if body.strip():
        return _from(sample, body)
    return replace(_from(sample, thoughts), guessed=True) if thoughts.strip() else NOTHING


def _split(text: str) -> tuple[str, str]:
    """Return answer and thinking; a template may have opened the think tag already."""
    answer: list[str] = []
    thought: list[str] = []
    start, inside = 0, False
    for tag in _THINK.finditer(text):
        closes = tag[0].startswith("</")
        if closes and not inside:  # all so far was thinking
            thought, answer = [*answer, text[start : tag.start()]], []
        else:
            (thought if inside else answer).append(text[start : tag.start()])
        inside, start = not closes, tag.end()
    (thought if inside else answer).append(text[start:])
    return "".join(answer), "".join(thought)


def _from(sample: Sample, body: str) -> Extraction:
    tagged = last_tag(body)
    if tagged is not None:
        return Extraction(_inside(sample, tagged), "answer-tag")
    boxed = joined_boxes(body) if sample.kind is AnswerKind.MATH else last_box(body)
    if boxed is not None:
        return Extraction(_inside(sample, boxed), "boxed")
    stated = last_statement(sample, body)
    if stated is not None:
        return stated
    return _unmarked(sample, body)


def _several(sample: Sample, body: str) -> Extraction:
    """Return all options that a response names, for a question that asks for several."""
    boxes = joined_boxes(body)
    if (marked := boxes if (tag := last_tag(body)) is None else tag) is not None:
        return Extraction(options.several_letters(sample, marked), "boxed")
    statement = next((text for _, text in reversed(list(statements(body)))), None)
    if statement is not None:
        return Extraction(options.several_letters(sample, statement), "sentence")
    if not _is_short(body):
        return NOTHING
    letters = options.several_letters(sample, body)
    return Extraction(letters, "whole") if letters else NOTHING


def last_tag(text: str) -> str | None:
    """Return the contents of the last `<answer>` tag; an unclosed tag reaches to the end."""
    tags = list(_TAG.finditer(text))
    for index in range(len(tags) - 1, -1, -1):
        if not tags[index][0].startswith("</"):
            end = tags[index + 1].start() if index + 1 < len(tags) else len(text)
            return text[tags[index].end() : end].strip()
    return None


def _inside(sample: Sample, content: str) -> str:
    """Return the answer in a tag or a box."""
    boxed = joined_boxes(content) if sample.kind is AnswerKind.MATH else last_box(content)
    content = (content if boxed is None else boxed).strip()
    if sample.kind is AnswerKind.EXACT:
        return content
    if sample.kind is AnswerKind.OPTION:
        return _option(sample, content) or content
    if sample.kind is AnswerKind.NUMBER and quantity(content) is None:
        return stated_in(sample, content) or _only_number(content) or content
    if len(content.split()) > MOST_WORDS:
        return stated_in(sample, content) or content
    return content


def _option(sample: Sample, content: str) -> str | None:
    """Return the option letter of marked text, which may contain sentences."""
    if letter := options.choose(sample, content):
        return letter
    if options.several(sample, content):
        return None
    if stated := stated_in(sample, content):
        return stated if len(stated) == 1 else None
    if letter := options.leading_letter(sample, BOLD.sub("", content)):
        return letter if len(set(options.mentions(sample, content)) | {letter}) == 1 else None
    letter = options.contained(sample, content) if len(content) <= LONGEST else None
    return (
        letter or options.by_mathematics(sample, content) or options.only_mention(sample, content)
    )


def _only_number(content: str) -> str | None:
    """Return the one number of a few words; a number in a formula is only a part of it."""
    if len(content) > LONGEST or _OPERATOR.search(unwrapped(content)):
        return None
    numbers = numbers_in(content)
    return numbers[0] if len(numbers) == 1 else None


def _unmarked(sample: Sample, body: str) -> Extraction:
    """Return the answer in a response that marks none."""
    match sample.kind:
        case AnswerKind.OPTION:
            return guess_option(sample, body)
        case AnswerKind.NUMBER:
            if _is_short(body) and quantity(body.strip()) is not None:
                return Extraction(body.strip(), "whole")
            return guess_number(sample, body)
        case AnswerKind.MATH:
            return _unmarked_mathematics(sample, body)
        case AnswerKind.TEXT | AnswerKind.EXACT:
            return _unmarked_text(sample, body)


def _unmarked_mathematics(sample: Sample, body: str) -> Extraction:
    bare = body.strip()
    formulas = formulas_in(body)
    if _is_short(body) and not PROSE.search(FORMULA.sub(" ", unwrapped(body))):
        is_formula = not formulas or FORMULA.fullmatch(bare.strip(" ."))
        return Extraction(bare if is_formula else bare.replace("$", ""), "whole")
    if after_refusal(sample, body) == "":
        return REFUSED
    values = [formula for formula in formulas if not SYMBOL.fullmatch(formula)]
    last_line = bare.splitlines()[-1] if bare else ""
    if values and not (formulas_in(last_line) and not set(formulas_in(last_line)) & set(values)):
        return Extraction(values[-1], "last-formula", guessed=True)
    guess = guess_number(sample, FORMULA.sub(" ", body))
    if guess.answer is not None:
        return guess
    if values or formulas:
        return Extraction((values or formulas)[-1], "last-formula", guessed=True)
    return Extraction(bare, "whole") if _is_short(body) else guess


def _is_short(body: str) -> bool:
    bare = body.strip()
    return "\n" not in bare and len(bare) <= _SHORT and len(bare.split()) <= MOST_WORDS


def _unmarked_text(sample: Sample, body: str) -> Extraction:
    bare = body.strip()
    if sample.kind is AnswerKind.TEXT and is_yes_no(sample):
        if first := FIRST_WORD.match(body):
            return Extraction(first[1], "yes-no")
        if first := _FIRST_VERDICT.match(body):
            return Extraction(_truth(sample, first[1].lower() in _AFFIRMS), "yes-no")
        verdicts = {
            (hit[2].lower() in _AFFIRMS) != (hit[1] is not None) for hit in _IS_TRUE.finditer(body)
        }
        if len(verdicts) == 1:
            return Extraction(_truth(sample, verdicts.pop()), "yes-no", guessed=True)
        matches = [hit[1] for hit in _YES_NO_WORD.finditer(body)]
        if len({word.lower() for word in matches}) == 1:
            return Extraction(matches[0], "yes-no", guessed=True)
    return Extraction(bare, "whole") if "\n" not in bare else NOTHING


def _truth(sample: Sample, affirms: bool) -> str:
    """Return yes or no in the question's own words."""
    asks_for_truth = sample.answer.strip().lower() in {"true", "false"}
    return ("True" if affirms else "False") if asks_for_truth else ("Yes" if affirms else "No")
