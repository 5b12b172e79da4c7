"""Extraction of the answer from a response, without a look at the gold answer's value."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final

from eval.grading import options
from eval.grading.boxes import last_box, unwrapped
from eval.grading.normalise import plain, words
from eval.grading.numbers import numbers_in, quantity
from eval.records import AnswerKind, Extraction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eval.records import Sample

NOTHING: Final = Extraction(None, "none")

_TAG: Final = re.compile(r"<answer>|</answer>", re.IGNORECASE)
_THINK: Final = re.compile(r"<think>|</think>", re.IGNORECASE)
_BOLD: Final = re.compile(r"(?<!\w)(?:\*\*|__)|(?:\*\*|__)(?!\w)")

_LEAD: Final = re.compile(
    r"(?<![\w-])(?:answer|(?:correct|right|best|final|my) (?:answer|option|choice|result|value|one)"
    r"|solution|answer choice)(?![\w-])"
    r"(?: (?:to|of|for|in|here|from|among|that)\b[^.:\n=]{0,80}?)?"
    r"(?:\s?[:=]|,? (?:is|are|was|should be|would be|will be|must be|becomes)\b)"
    r"(?: (?:therefore|thus|indeed|simply|clearly|then|just|most likely|likely|probably)\b,?)?"
    r"\s?:?",
    re.IGNORECASE,
)
_LEAD_CHINESE: Final = re.compile(r"答案\s?(?:是|为|[:=])\s?:?")
_HEADING: Final = re.compile(
    r"^[#*\s]{1,8}(?:the )?(?:final |correct )?answer[*\s]*$", re.IGNORECASE | re.MULTILINE
)
_VERDICT: Final = re.compile(
    r"(?:\b(?:option|choice|answer) )?[(\[\"]?\b([A-Z])\b[)\]\"]?,? "
    r"(?:is|would be|must be|seems to be) (?:(?:the|a) )?(?:(?:most|single|only) )?"
    r"(?:correct|right|best|accurate|appropriate)\b"
)
_CHOICE: Final = re.compile(
    r"\b(?:[Ii](?:'ll| will| would|'d)? (?:choose|pick|select|go with)|[Cc]hoose|[Ss]elect"
    r"|[Ww]e (?:choose|pick|select)) (?:[Oo]ption |[Cc]hoice )?[(\[\"]?([A-Z])\b"
)
_DENIED: Final = re.compile(
    r"(?:\b(?:in|un)correct|\bwrong|\bnot(?: the| a| my)?|\bif(?: the| my)?|\bwhether(?: the)?"
    r"|\bunless(?: the)?|n't(?: the)?)\s*$",
    re.IGNORECASE,
)
_CONTRAST: Final = re.compile(
    r"\s*(?:\w+ly )?not\b[^\n]{0,60}?"
    r"(?:\bbut(?: rather)?|\bit is|\bit's|\brather|\binstead)\b,?\s*",
    re.IGNORECASE,
)
_STATEMENT_END: Final = re.compile(
    r"(?<!\bSt)(?<!\bMr)(?<!\bDr)(?<!\bMs)(?<!\bMrs)[.!?;]+(?=\s|$)|\n"
)
_NOT: Final = re.compile(r"\s*(?:\w+ly )?(?:not|neither|none of my)\b", re.IGNORECASE)
_FORMULA: Final = re.compile(
    r"\$\$([^$]{1,400})\$\$|\$([^$\n]{1,400})\$|\\\[(.{1,400}?)\\\]|\\\((.{1,400}?)\\\)", re.DOTALL
)
_OPERATOR: Final = re.compile(r"\\[a-zA-Z]+|[\^+*/]|\d\s*-\s*\d")
_DENIED_NUMBER: Final = re.compile(r"(?:\bnot|n't)\s+[-$]?\d[\d.,]*", re.IGNORECASE)
_YES_NO: Final = frozenset({"yes", "no", "true", "false"})
_FIRST_WORD: Final = re.compile(r"[\s*_\"']*(yes|no|true|false)(?![\w'-])\s*", re.IGNORECASE)
_YES_NO_WORD: Final = re.compile(r"(?<![\w'-])(yes|no|true|false)(?![\w'-])", re.IGNORECASE)

_SHORT: Final = 80
_WORDS: Final = 8
_STATEMENTS: Final = 50
"""Statements to consider, from the last one: a looping model repeats many."""
_LONGEST: Final = 300


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
    body, thoughts = _split(text if sample.kind is AnswerKind.EXACT else plain(text))
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
    boxed = last_box(body)
    if boxed is not None:
        return Extraction(_inside(sample, boxed), "boxed")
    stated = _sentence(sample, body)
    if stated is not None:
        return Extraction(stated, "sentence")
    return _unmarked(sample, body)


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
    boxed = last_box(content)
    content = (content if boxed is None else boxed).strip()
    if sample.kind is AnswerKind.EXACT:
        return content
    if sample.kind is AnswerKind.OPTION:
        return _option(sample, content) or content
    if sample.kind is AnswerKind.NUMBER and quantity(content) is None:
        return _sentence(sample, content) or _only_number(content) or content
    if len(content.split()) > _WORDS:
        return _sentence(sample, content) or content
    return content


def _option(sample: Sample, content: str) -> str | None:
    """Return the option letter of marked text, which may contain sentences."""
    if letter := options.choose(sample, content):
        return letter
    if options.several(sample, content):
        return None
    if stated := _sentence(sample, content):
        return stated if len(stated) == 1 else None
    if letter := options.leading_letter(sample, _BOLD.sub("", content)):
        return letter if len(set(options.mentions(sample, content)) | {letter}) == 1 else None
    if len(content) <= _LONGEST and (letter := options.contained(sample, content)):
        return letter
    named = set(options.mentions(sample, content))
    return named.pop() if len(named) == 1 else None


def _only_number(content: str) -> str | None:
    """Return the one number of a few words; a number in a formula is only a part of it."""
    if len(content) > _LONGEST or _OPERATOR.search(unwrapped(content)):
        return None
    numbers = numbers_in(content)
    return numbers[0] if len(numbers) == 1 else None


def _sentence(sample: Sample, body: str) -> str | None:
    """Return the last statement of the answer."""
    text = _BOLD.sub("", body) if sample.kind is not AnswerKind.EXACT else body
    statements = [*_statements(text)]
    if sample.kind is AnswerKind.OPTION:
        for pattern in (_VERDICT, _CHOICE):
            statements += [
                (hit.start(), hit[1])
                for hit in pattern.finditer(text)
                if hit[1] in options.letters(sample)
                and options.mentions(sample, text[max(0, hit.start() - 12) : hit.end()])
            ]
    for _, statement in sorted(statements, key=lambda pair: pair[0], reverse=True)[:_STATEMENTS]:
        answer = _stated(sample, statement)
        if answer is not None:
            return answer
    return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield the text after `the answer is`, to the end of its sentence or line, with position."""
    leads = (pattern.finditer(text) for pattern in (_LEAD, _LEAD_CHINESE, _HEADING))
    for lead in chain.from_iterable(leads):
        if _DENIED.search(text[max(0, lead.start() - 24) : lead.start()]):
            continue
        rest = text[lead.end() : lead.end() + 2 * _LONGEST]
        if contrast := _CONTRAST.match(rest):
            rest = rest[contrast.end() :]
        if _NOT.match(rest):
            continue
        rest = rest.lstrip(" \n*:")
        end = _STATEMENT_END.search(rest)
        line = rest[: end.start()] if end else rest
        if line.count("$$") % 2 or line.strip() in {"\\[", "$$"}:  # a formula of its own
            line = rest.split("\n\n")[0]
        if line.strip():
            yield lead.start(), line.strip()


def _stated(sample: Sample, statement: str) -> str | None:
    """Return the answer in a statement, or None if it has none of this kind."""
    if sample.kind is AnswerKind.OPTION:
        return _stated_option(sample, statement)
    statement = _unquoted(statement)
    if sample.kind is AnswerKind.NUMBER:
        return _stated_number(statement)
    if sample.kind is AnswerKind.MATH:
        return _stated_formula(statement)
    if _is_yes_no(sample) and (first_word := _FIRST_WORD.match(statement)):
        return first_word[1]
    return statement


def _stated_number(statement: str) -> str | None:
    if quantity(statement) is not None:
        return statement
    numbers = numbers_in(statement)
    if numbers and _starts_with(statement, numbers[0]):
        return numbers[0]
    after = statement.rpartition("=")[2].strip()
    if "=" in statement and quantity(after) is not None:
        return after
    return numbers[0] if len(numbers) == 1 else None


def _stated_formula(statement: str) -> str | None:
    formulas = [next(filter(None, hit.groups())) for hit in _FORMULA.finditer(statement)]
    if formulas:
        return formulas[0].strip() if len(formulas) == 1 else statement
    short = len(statement.split()) <= _WORDS
    is_formula = any(sign.isdigit() or sign in "\\(" for sign in statement)
    return statement if short or is_formula else None


def _starts_with(statement: str, number: str) -> bool:
    rest = statement.lstrip("$(*\\ ")
    if not rest.startswith(number):
        return False
    after = rest[len(number) :].lstrip("$)*\\ ")
    return not after or after[0].isalpha() or after[0] in ",;.("


def _stated_option(sample: Sample, statement: str) -> str | None:
    if letter := options.choose(sample, statement):
        return letter
    if options.several(sample, statement):
        return statement
    if letter := options.leading_letter(sample, statement):
        return letter
    if letter := options.contained(sample, statement):
        return letter
    named = set(options.mentions(sample, statement))
    return named.pop() if len(named) == 1 else None


def _unquoted(text: str) -> str:
    text = text.strip()
    for opening, right in ('""', "''", "``", "“”"):
        if len(text) > 1 and text[0] == opening and text[-1] == right:
            return text[1:-1].strip()
    return text


def _is_yes_no(sample: Sample) -> bool:
    return words(sample.answer) in _YES_NO


def _unmarked(sample: Sample, body: str) -> Extraction:
    """Return the answer in a response that marks none."""
    match sample.kind:
        case AnswerKind.OPTION:
            return _unmarked_option(sample, body)
        case AnswerKind.NUMBER:
            if _is_short(body) and quantity(body.strip()) is not None:
                return Extraction(body.strip(), "whole")
        case AnswerKind.MATH:
            formulas = [next(filter(None, hit.groups())) for hit in _FORMULA.finditer(body)]
            if _is_short(body) and (not formulas or _FORMULA.fullmatch(body.strip(" \n."))):
                return Extraction(body.strip(), "whole")
            if formulas:
                return Extraction(formulas[-1].strip(), "last-formula", guessed=True)
        case AnswerKind.TEXT | AnswerKind.EXACT:
            return _unmarked_text(sample, body)
    numbers = numbers_in(_DENIED_NUMBER.sub(" ", body))
    return Extraction(numbers[-1], "last-number", guessed=True) if numbers else NOTHING


def _is_short(body: str) -> bool:
    bare = body.strip()
    return "\n" not in bare and len(bare) <= _SHORT and len(bare.split()) <= _WORDS


def _unmarked_text(sample: Sample, body: str) -> Extraction:
    bare = body.strip()
    if sample.kind is AnswerKind.TEXT and _is_yes_no(sample):
        if first := _FIRST_WORD.match(body):
            return Extraction(first[1], "yes-no")
        words_found = [hit[1] for hit in _YES_NO_WORD.finditer(body)]
        if len({word.lower() for word in words_found}) == 1:
            return Extraction(words_found[0], "yes-no", guessed=True)
    return Extraction(bare, "whole") if "\n" not in bare else NOTHING


def _unmarked_option(sample: Sample, body: str) -> Extraction:
    lines = [line.strip() for line in body.strip().splitlines() if line.strip()]
    letter = options.choose(sample, lines[-1])
    # The last of several lines that are options each is a list of them, unless it is bare.
    listed = {options.choose(sample, line) for line in lines[:-1][-12:]} - {None, letter}
    if letter and (not listed or len(lines[-1].strip("*_().[] ")) == 1):
        texts = options.by_text(sample, lines[-1]) == letter
        return Extraction(letter, "option-text" if texts else "option-letter")
    for part in _parts(lines):
        named = options.mentions(sample, part)
        if named:
            if len(set(named)) == 1 and not options.several(sample, part):
                return Extraction(named[-1], "option-letter", guessed=True)
            return NOTHING
        if letter := options.contained(sample, part):
            return Extraction(letter, "option-text", guessed=True)
    numbers = numbers_in(body)
    if numbers and (letter := options.by_text(sample, numbers[-1])):
        return Extraction(letter, "last-number", guessed=True)
    return NOTHING


def _parts(lines: list[str]) -> Iterator[str]:
    """Sentences of the last lines, from the end."""
    for line in reversed(lines[-3:]):
        ends = [0, *(end.end() for end in _STATEMENT_END.finditer(line)), len(line)]
        for start, end in reversed(list(pairwise(ends))):
            if line[start:end].strip():
                yield line[start:end].strip()
