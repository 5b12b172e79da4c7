"""Statements that mark an answer: `the answer is`, `option B is correct`, `答案是`, `#### 42`."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from eval.grading import options
from eval.grading.normalise import words
from eval.grading.numbers import numbers_in, quantity
from eval.grading.refusals import REFUSED, is_non_answer
from eval.grading.sentences import FIRST_WORD, SENTENCE_END
from eval.records import AnswerKind, Extraction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eval.records import Sample

BOLD: Final = re.compile(r"(?<!\w)(?:\*\*|__)|(?:\*\*|__)(?!\w)")
_LEAD: Final = re.compile(
    r"(?<![\w-])(?:answers?|(?:correct|right|best|final|my) (?:answer|option|choice|result|value"
    r"|one)|(?<!step )solution|answer choice)(?![\w-])(?: (?:to|of|for|in|here|from|among"
    r"|that)\b[^.:\n=]{0,80}?)?(?:\s?[:=]|,? (?:is|are|was|should be|would be|will be|must be"
    r"|becomes)\b)(?: (?:therefore|thus|indeed|simply|clearly|then|just|most likely|likely"
    r"|probably)\b,?)?\s?:?",
    re.IGNORECASE,
)
_LEAD_FOREIGN: Final = re.compile(
    r"(?:正确)?答案(?:应该|应|就)?\s?(?:是|为|选|[:=])\s?:?|选项(?:应该|应)?(?:是|为)\s?:?|(?:因此|所以|故|应该?|即|答案"
    r"|正确)?选(?:择|项)?\s?(?=[(\[*]*[A-Z](?![A-Za-z])(?!\s?[\u4e00-\u9fff]))|答えは|正解は|정답은|답은|答[:]"
    r"|\bla (?:respuesta|réponse|risposta)(?: correcta| final| correcte| finale"
    r"| corretta)?\s?(?:es|est|è|:)|\bla bonne réponse (?:est|:)|\ba resposta(?: correta"
    r"| final)? (?:é|:)|\bdie (?:richtige |korrekte )?Antwort (?:ist|lautet|:)|(?:^"
    r"|\n)\s*(?:Antwort|Respuesta|Réponse|Ответ)\s?:"
    r"|\b\u043e\u0442\u0432\u0435\u0442\s?[:\-\u2014]|\bđáp án(?: đúng)?(?: là|\s?:)",
    re.IGNORECASE,
)
_HASHES: Final = re.compile(r"^\s*####\s+(?=[^#\s])", re.MULTILINE)
_HEADING: Final = re.compile(
    r"^[#*\s]{1,8}(?:the )?(?:final |correct )?answer[*\s]*$", re.IGNORECASE | re.MULTILINE
)
_VERDICT: Final = re.compile(
    r"(?:\b(?:option|choice|answer) )?[(\[\"]?\b([A-Z])\b[)\]\"]?,? (?:is|would be|must be"
    r"|seems to be) (?:(?:the|a) )?(?:(?:most|single|only) )?(?:correct|right|best|accurate"
    r"|appropriate)\b"
)
_NAMED: Final = re.compile(
    r"\b(?:is|be|to|with|leaves|namely) (?:the )?(?:option"
    r"|choice) [(*\"]*([A-Z])[)*\"]*\s?(?=[:.,\n]|$)",
    re.IGNORECASE,
)
_CHINESE_VERDICT: Final = re.compile(
    r"选项?\s?[(\[]?([A-Z])[)\]]?\s?(?:是)?(?:正确|对的|最合适|符合题意)(?!的?吗)"
)
SYMBOL: Final = re.compile(r"\s*\\?[A-Za-z]+(?:_\{?\w+\}?)?\s*")
PROSE: Final = re.compile(r"(?<!\\)\b[A-Za-z]{3,}\b")
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
    r"\s*(?:\w+ly )?not\b[^\n]{0,60}?(?:\bbut(?: rather)?|\bit is|\bit's|\brather"
    r"|\binstead)\b,?\s*",
    re.IGNORECASE,
)
_NOT: Final = re.compile(
    r"\s*(?:\w+ly )?(?:not|neither|none of my)\b(?! (?:enough|sufficient|given|available|possible"
    r"|determin|defined|known|listed|among|in the|one of|clear))",
    re.IGNORECASE,
)
FORMULA: Final = re.compile(
    r"\$\$([^$]{1,400})\$\$|(?<!\\)\$((?:\\\$|[^$\n]){1,400}?)(?<!\\)\$|\\\[(.{1,400}?)\\\]"
    r"|\\\((.{1,400}?)\\\)",
    re.DOTALL,
)
_REFUSABLE: Final = (AnswerKind.OPTION, AnswerKind.NUMBER)
"""Kinds of which `undefined` and the like are no answers."""
_YES_NO: Final = frozenset({"yes", "no", "true", "false"})

MOST_WORDS: Final = 8
LONGEST: Final = 300
_STATEMENTS: Final = 50
"""Statements to consider, from the last one: a looping model repeats many."""


def stated_in(sample: Sample, content: str) -> str | None:
    """Return the answer of the last statement in a text, if it has one."""
    extraction = last_statement(sample, content)
    return None if extraction is None else extraction.answer


def last_statement(sample: Sample, body: str) -> Extraction | None:
    """Return the last statement of the answer, or that there is none; None without a statement."""
    text = BOLD.sub("", body) if sample.kind is not AnswerKind.EXACT else body
    places = [*statements(text)]
    if sample.kind is AnswerKind.OPTION:
        for pattern in (_VERDICT, _CHOICE, _NAMED, _CHINESE_VERDICT):
            places += [
                (hit.start(), hit[1])
                for hit in pattern.finditer(text)
                if hit[1] in options.letters(sample) and not options.is_denied(text, *hit.span())
            ]
    for _, statement in sorted(places, key=lambda pair: pair[0], reverse=True)[:_STATEMENTS]:
        answer = _stated(sample, statement)
        if answer is not None:
            return Extraction(answer, "sentence")
        if sample.kind in _REFUSABLE and is_non_answer(sample, statement):
            return REFUSED
    return None


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield the text after `the answer is`, to the end of its sentence or line, with position."""
    leads = (pattern.finditer(text) for pattern in (_LEAD, _LEAD_FOREIGN, _HEADING, _HASHES))
    for lead in chain.from_iterable(leads):
        if _DENIED.search(text[max(0, lead.start() - 24) : lead.start()]):
            continue
        rest = text[lead.end() : lead.end() + 2 * LONGEST]
        if contrast := _CONTRAST.match(rest):
            rest = rest[contrast.end() :]
        if _NOT.match(rest):
            continue
        rest = rest.lstrip(" \n*:")
        end = SENTENCE_END.search(rest)
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
    if is_yes_no(sample) and (first_word := FIRST_WORD.match(statement)):
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
    formulas = formulas_in(statement)
    outside = FORMULA.sub(" ", statement)
    if formulas and all(SYMBOL.fullmatch(formula) for formula in formulas):
        # `The largest $n$ is 34`: the variable is not the answer where a number stands next to it.
        numbers = numbers_in(outside)
        if PROSE.search(outside) and numbers:
            return numbers[-1]
        if numbers:
            return statement.replace("$", "")
    if formulas:
        return formulas[0] if len(formulas) == 1 else statement
    short = len(statement.split()) <= MOST_WORDS
    is_formula = any(sign.isdigit() or sign in "\\(" for sign in statement)
    return statement if short or is_formula else None


def formulas_in(text: str) -> list[str]:
    """Return what stands between dollar signs or LaTeX brackets."""
    return [next(filter(None, hit.groups())).strip() for hit in FORMULA.finditer(text)]


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
    if is_non_answer(sample, statement):
        return None
    if letter := options.contained(sample, statement):
        return letter
    formulas = formulas_in(statement) or [statement]
    letters = (options.by_mathematics(sample, formula) for formula in formulas)
    return next(filter(None, letters), None) or options.only_mention(sample, statement)


def _unquoted(text: str) -> str:
    text = text.strip()
    for opening, right in ('""', "''", "``", "“”"):
        if len(text) > 1 and text[0] == opening and text[-1] == right:
            return text[1:-1].strip()
    return text


def is_yes_no(sample: Sample) -> bool:
    """Check for a question whose answer is yes or no, true or false."""
    return words(sample.answer) in _YES_NO
