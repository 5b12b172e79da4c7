r"""The rules of the reference implementation of arXiv 2602.12395, for comparable numbers.

They are those of its merging experiments, `scripts/transferability_test.py` of its code in March
2026. A response is read by the first of: an answer tag; the last box; a number at a line's end; for
options a letter; what follows "answer is" or "therefore"; the last number; the last 50 characters.
An answer is right when it equals the gold answer but for case and spaces, shares nine tenths of its
characters with it, is the same to math-verify, or is a number within 1%.

The reference misreads some answers, and so does this grader: a digit or a letter up to H before a
full stop, colon, dash or bracket is read as an option's label (`0.5` as 5, `3.14` as 14); "The
answer is Blue" names option B; of `1,000` at the end of a line, `000` is read; `(B)` or `\text{B}`
in a tag or box is no letter; of LaTeX outside `$`, math-verify reads a fraction or one number, so
that `2k+5` is right for `2k+1`; a gold answer of one letter up to H is an option's letter for any
question. Grade by `strict` to know what is right.

Deliberate differences:

- The gold answer of an option is its text, as in MathVista's columns, though a sample holds its
  letter; the letter stands in where the texts are unknown.
- An answer of one letter is an option's letter past H, too. The reference shows eight options.
- If yes or no is the gold answer as text (kind `text`, so never MathVista's), an answer counts
  by the word it begins with; without tag and box, so does the response, or its "answer is".
- Each of a sample's further right answers counts.
- Mathematics that could take minutes, and text longer than 4,000 characters, is not worked out; the
  reference stops after some seconds.
"""

from __future__ import annotations

import re
from string import ascii_uppercase
from typing import TYPE_CHECKING, Final

from eval.grading.mathematics import same_in_prose
from eval.records import AnswerKind, Extraction, Grade

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval.records import Sample

_OPEN: Final = re.compile("<answer>", re.IGNORECASE)
_CLOSE: Final = re.compile("</answer>", re.IGNORECASE)
_BOX: Final = re.compile(r"\\boxed\s*\{")
_BRACE: Final = re.compile("[{}]")
_NUMBER: Final = re.compile(r"-?\d+\.?\d*")
_NUMBER_BACKWARDS: Final = re.compile(r"(?:\d*\.)?\d+-?")
_LABEL: Final = re.compile(r"[A-Ha-h0-9]\s*[-.:)]\s*(.+)")
_STANDALONE: Final = re.compile(r"\b([A-H])\b")
_YES_OR_NO: Final = re.compile(r"(?:^|\banswer\s*(?:is|:))\W*(yes|no)\b", re.IGNORECASE)

_LETTERS: Final = (
    ("answer-tag", re.compile(r"(?i:<answer>\s*([A-H])\s*</answer>)")),
    ("boxed", re.compile(r"(?i:\\boxed\{\s*([A-H])\s*\})")),
    ("sentence", re.compile(r"[Tt]he\s+(?:correct\s+)?answer\s+is\s*:?\s*\(?([A-H])")),
    ("answer-colon", re.compile(r"[Aa]nswer\s*:\s*\(?([A-H])")),
    ("bracket", re.compile(r"\(([A-H])\)\s*$")),
    ("line", re.compile(r"^([A-H])\.$", re.MULTILINE)),
    ("bold", re.compile(r"\*\*([A-H])\*\*")),
    ("option", re.compile(r"(?i:(?:option|choice)\s+([A-H]))")),
    ("verdict", re.compile(r"(?i:([A-H])\s*(?:is|would be)\s+(?:the\s+)?(?:correct|right|best))")),
    ("choice", re.compile(r"(?i:(?:select|choose)\s+([A-H]))")),
)
"""The patterns for a letter, in order of preference; the letter may begin a word."""

_SENTENCES: Final = (
    ("sentence", re.compile(r"answer\s*(?:is|:)[:\s]*(.+?)(?:\.|$)", re.IGNORECASE)),
    (
        "therefore",
        re.compile(
            r"(?:therefore|thus|hence|so)[,\s]+(?:the\s+)?(?:answer\s+is\s+)?(.+?)(?:\.|$)",
            re.IGNORECASE,
        ),
    ),
)
"""Both end at a full stop or with the response, and never continue on another line."""

_GUESSES: Final = frozenset({"paper-standalone", "paper-last-number", "paper-tail"})
_MARK_RULES: Final = frozenset({"paper-answer-tag", "paper-boxed"})
_TAIL_LETTERS: Final = 100
_TAIL: Final = 50
_SENTENCE: Final = 100  # a longer one is passed over
_ABSOLUTE: Final = 1e-6
_RELATIVE: Final = 0.01
_CONTAINED: Final = 0.9


def grade_paper(sample: Sample, text: str) -> Grade:
    """Grade by the reference implementation's rules.

    Args:
        sample: The question.
        text: The model's response.
    """
    extraction = _extract(text, options=sample.kind is AnswerKind.OPTION)
    for gold in _golds(sample) if extraction.answer else ():
        name = _agreement(sample, extraction, gold, text)
        if name:
            return Grade(True, extraction, f"paper-{name}")
    return Grade(False, extraction, "paper-none" if extraction.answer else "")


def _extract(text: str, *, options: bool) -> Extraction:
    rule, answer = _read_mark(text)
    if answer:
        if label := _LABEL.fullmatch(answer):
            answer = label[1]
        elif _is_letter(answer):
            answer = answer.upper()
    else:
        rule, answer = _search(text, options=options)
    name = f"paper-{rule}"
    return Extraction(answer or None, name, guessed=name in _GUESSES)


def _read_mark(text: str) -> tuple[str, str]:
    tag = _first_tag(text)
    if tag is not None:
        return "answer-tag", tag
    if box := _last_box(text):
        return "boxed", box
    for line in reversed(text.strip().split("\n")):
        if number := _NUMBER_BACKWARDS.match(line.rstrip()[::-1]):
            return "last-number", number[0][::-1]
    return "", ""


def _first_tag(text: str) -> str | None:
    start = _OPEN.search(text)
    end = _CLOSE.search(text, start.end()) if start else None
    return text[start.end() : end.start()].strip() if start and end else None


def _last_box(text: str) -> str | None:
    """Return the content of the box that opens last; escaped braces count as braces, too."""
    start = None
    for opening in _BOX.finditer(text):
        start = opening.end()
    depth = 1
    for brace in _BRACE.finditer(text, start) if start is not None else ():
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return text[start : brace.start()].strip()
    return None


def _search(text: str, *, options: bool) -> tuple[str, str]:
    """Read a response without a marked answer."""
    if options and (letter := _letter(text)):
        return letter
    if box := _last_box(text):
        return "boxed", box
    for rule, pattern in _SENTENCES:
        match = pattern.search(text)
        if match and 0 < len(match[1].strip()) < _SENTENCE:
            return rule, match[1].strip()
    numbers = _NUMBER.findall(text)
    return ("last-number", numbers[-1]) if numbers else ("tail", text.strip()[-_TAIL:])


def _letter(text: str) -> tuple[str, str] | None:
    text = text.strip()
    for rule, pattern in _LETTERS:
        if match := pattern.search(text):
            return rule, match[1].upper()
    match = _STANDALONE.search(text[-_TAIL_LETTERS:])
    return ("standalone", match[1]) if match else None


def _is_letter(text: str) -> bool:
    return len(text) == 1 and text.upper() in "ABCDEFGH"


def _squeeze(text: str) -> str:
    return text.strip().lower().replace(" ", "")


def _golds(sample: Sample) -> tuple[str, ...]:
    """Return the gold answers; for an option its text, if the sample has one."""
    gold = sample.answer.strip()
    if sample.kind is AnswerKind.OPTION and (text := _option(sample, gold)):
        gold = text
    return tuple(filter(None, (gold, *sample.also)))


def _option(sample: Sample, letter: str) -> str:
    """Return the text of an option, or an empty text if no option has this letter."""
    index = ascii_uppercase.find(letter.upper()) if len(letter) == 1 else -1
    return sample.choices[index].strip() if 0 <= index < len(sample.choices) else ""


def _agreement(sample: Sample, extraction: Extraction, gold: str, text: str) -> str:
    """Return the name of the comparison that accepts an answer; empty if none does."""
    answer, gold = (extraction.answer or "").strip(), gold.strip()
    if _is_letter(gold):
        letters = (_letter(source) for source in (answer, text))
        return "letter" if gold.upper() in [letter[1] for letter in letters if letter] else ""
    if _squeeze(_option(sample, answer)) == _squeeze(gold):
        return "option"
    for name, check in _CHECKS:
        if check(answer, gold):
            return name
    yes_or_no = sample.kind is AnswerKind.TEXT and _word(extraction, text) == gold.lower()
    return "yes-or-no" if yes_or_no else ""


def _word(extraction: Extraction, text: str) -> str | None:
    """Return the yes or no at the start of the answer, or else in an unmarked response."""
    words = _YES_OR_NO.findall(extraction.answer or "")
    if not words and extraction.rule not in _MARK_RULES:
        words = _YES_OR_NO.findall(text)
    return words[-1].lower() if words else None


def _equal(answer: str, gold: str) -> bool:
    return _squeeze(answer) == _squeeze(gold)


def _contains(answer: str, gold: str) -> bool:
    short, long = sorted((_squeeze(answer), _squeeze(gold)), key=len)
    return short in long and len(short) >= _CONTAINED * len(long)


def _mathematics(answer: str, gold: str) -> bool:
    return same_in_prose(gold, answer) is True


def _near(answer: str, gold: str) -> bool:
    try:
        value, right = (
            float(_squeeze(text).replace(",", "").replace("%", "")) for text in (answer, gold)
        )
    except ValueError:
        return False
    gap = abs(value - right)
    return gap < _ABSOLUTE or (right != 0 and gap / abs(right) < _RELATIVE)


_CHECKS: Final[tuple[tuple[str, Callable[[str, str], bool]], ...]] = (
    ("equal", _equal),
    ("contained", _contains),
    ("math-verify", _mathematics),
    ("near", _near),
)
"""Any of them is enough."""
