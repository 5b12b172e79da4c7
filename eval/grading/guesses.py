"""Answers of responses that mark none: the first or the last sentence that commits itself.

A guess that is not safe is no answer. A guess is made from, in this order: a last line that is an
option; a first line that is one; a last sentence that concludes; a first sentence that names one
option; the last sentence that names one. A number is the one in bold, the one that a count begins
with (`There are 4 bars below 60`), the one behind the last `=`, or the last that is no bound.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from eval.grading import options
from eval.grading.numbers import NUMBER_WORDS, numbers_in, quantity
from eval.grading.refusals import REFUSED, after_refusal, is_offered
from eval.grading.sentences import FIRST_WORD, sentences
from eval.records import AnswerKind, Extraction

if TYPE_CHECKING:
    from eval.records import Sample

NOTHING: Final = Extraction(None, "none")

_CONCLUDES: Final = re.compile(
    r"^\W*(?:so|thus|overall)\b|\b(?:therefore|hence|conclu\w+|final\w*|must be|correct|answer"
    r"|(?:that|this|which) leaves|consequently|choose|select|pick|accordingly|in summary"
    r"|this means|as a result|based on)\b|因此|所以|故",
    re.IGNORECASE,
)
_HEDGED: Final = re.compile(
    r"\b(?:at first|at a first|first sight|seems? likely|might|may(?! \d)|could|let's|let us"
    r"|to determine|to (?:find|solve|answer|identify|decide)|we need|we (?:must|should"
    r"|can) (?:compare|look|check|find|determine)|if|look(?:ing)? at|consider|suppose|assum\w+"
    r"|initially|either|whether|options?(?: are|:)|choices)\b|\?",
    re.IGNORECASE,
)
_REJECTS: Final = re.compile(
    r"\b(?:in contrast|by contrast|on the other hand|less (?:similar|likely|accurate|suitable)"
    r"|dissimilar|unrelated|lacks?|deviates?|fails to|does not|doesn't|is not|isn't|unlikely"
    r"|focus(?:es)? more|least likely|(?:quite|distinctly|noticeably|significantly|completely"
    r"|very|entirely|a) different)\b",
    re.IGNORECASE,
)
"""A sentence about the option that is not the answer."""
_TRUTHS: Final = frozenset({"yes", "no", "true", "false", "cannot tell", "not sure"})
_NEITHER: Final = re.compile(r"\bneither\b.*\bn?or\b|\bnone of (?:the|these|them)\b", re.IGNORECASE)
_BOLD_NUMBER: Final = re.compile(r"(?<![*\w])\*\*\s*([^*\n]{1,40}?)\s*\*\*(?![*\w])")
_NUMBER: Final = r"[-$]{0,2}\d[\d,]*(?:\.\d+)?%?"
_NUMBER_WORD: Final = "|".join(sorted(NUMBER_WORDS, key=len, reverse=True))
_COUNT: Final = re.compile(
    rf"(?:[^.!?\n\d]{{1,80}},\s*(?=there ))?\s*(?:(?:so|thus|hence|therefore|yes|in total"
    rf"|overall),?\s+)*(?:there (?:is|are|were|was|will be)\s+|(?=(?:only|just|exactly|a total of"
    rf"|about|approximately|{_NUMBER}|{_NUMBER_WORD})\b))(?:(?:only|just|exactly|a total of"
    rf"|in total|about|approximately)\s+)*(\\?{_NUMBER}"
    rf"|(?:{_NUMBER_WORD})\b)(?=\s+[^\W\d_])(?!\s+(?:can|could|must|might|should|would|may|sees?"
    rf"|of the (?:reasons?|ways?)|way|has to|needs? to|and \d|plus|minus|times|divided|squared"
    rf"|more than|less than|x)\b)",
    re.IGNORECASE,
)
_BOUND: Final = re.compile(
    r"(?:\b(?:below|under|above|over|than|beyond|exceed\w*|at (?:least|most)|up to|no more than"
    r"|first|within|(?:lower|less|fewer|more|greater|higher|larger|smaller|bigger) than|top"
    r"|out of|number|no\.?)\s+|#|\bnot\s+|n't\s+|step\s+)(?:the\s|about\s"
    r"|a\s)?[-$\\]{0,2}\d[\d,]*(?:\.\d+)?%?",
    re.IGNORECASE,
)
_MIXED: Final = re.compile(r"(?<![\d.])\d{1,9}\s?\+\s?\d{1,9}/\d{1,9}(?!\d)")
_TERM: Final = re.compile(
    r"(?<![\w.])[-$]?\d[\d.,]*\s*(?:[-+*/:]\s*(?:[A-Za-z]+\b|\d+(?![\d./])(?<=:\d))|\s*:\s*\d+)"
)
"""A number that is a part of something else: `158 + LK`, `3:1`."""
_POWER_OF_UNIT: Final = re.compile(r"(?<=[A-Za-z\u00b5])\s?\^\s?\{?-?\d\}?")
_DOLLAR_S: Final = re.compile(r"(?<![\w$])S(?=\d+(?:[.,]\d+)*(?!\w))")
_MONEY: Final = re.compile(r"\$\s?\d[\d,]*(?:\.\d+)?")
_EQUALS: Final = re.compile(r"=\s*(?=[-$\\(]*\d)")
_CALCULATION: Final = re.compile(r"=|\d\s*[+*/\u00d7]\s*\d")
_FIRST: Final = 200
"""Characters of a first sentence that can state an answer."""


def guess_option(sample: Sample, body: str) -> Extraction:
    """Return the option that an unmarked response names.

    Args:
        sample: A question of kind `option`.
        body: The response, without its thinking.
    """
    lines = [line.strip() for line in body.strip().splitlines() if line.strip()]
    if options.several(sample, lines[0]):
        return NOTHING
    if extraction := _from_lines(sample, lines):
        return extraction
    rest = after_refusal(sample, body)
    if rest is not None:
        _, extraction = _last_statement(sample, rest.splitlines())
        return extraction or REFUSED
    while lines and options.choose(sample, lines[-1]):
        lines.pop()  # the question's options, repeated
    return _from_sentences(sample, lines) if lines else NOTHING


def _from_lines(sample: Sample, lines: list[str]) -> Extraction | None:
    """Return the option that a line is: the last, the first, or the only one that is an option."""
    if letter := _truth(sample, lines[0]):
        return Extraction(letter, "option-text")
    first, last = options.choose(sample, lines[0]), options.choose(sample, lines[-1])
    # The last of several lines that are options each is a list of them, unless it is bare.
    listed = {options.choose(sample, line) for line in lines[:-1][-12:]} - {None, last}
    if last and (not listed or len(lines[-1].strip("*_().[] ")) == 1):
        return _whole_line(sample, lines[-1], last)
    later = {options.choose(sample, line) for line in lines[1:12]} - {None, first}
    if first and not later and "=" not in lines[0]:
        return _whole_line(sample, lines[0], first)
    letter = _only_line(sample, lines)
    return Extraction(letter, "option-line", guessed=True) if letter else None


def _truth(sample: Sample, line: str) -> str | None:
    """Return the option yes or no that opens a response, such as `No, it is not there`."""
    texts = [choice.strip().lower() for choice in sample.choices]
    word = FIRST_WORD.match(line)
    if word is None or not set(texts) <= _TRUTHS or word[1].lower() not in texts:
        return None
    return options.letters(sample)[texts.index(word[1].lower())]


def _only_line(sample: Sample, lines: list[str]) -> str | None:
    """Return the option that stands alone in a line, if no other option does."""
    if options.are_values(sample):
        return None
    letters = {
        letter
        for line in lines[-12:]
        if (letter := options.choose(sample, line)) and len(line.split()) <= _longest(sample)
    }
    return letters.pop() if len(letters) == 1 else None


def _longest(sample: Sample) -> int:
    """Return the words of the longest option, with its letter."""
    return 1 + max((len(choice.split()) for choice in sample.choices), default=1)


def _whole_line(sample: Sample, line: str, letter: str) -> Extraction:
    is_text = options.by_text(sample, line) == letter
    return Extraction(letter, "option-text" if is_text else "option-letter")


def _from_sentences(sample: Sample, lines: list[str]) -> Extraction:
    if options.are_values(sample) and (letter := _result(sample, lines[-1])):
        return Extraction(letter, "option-text", guessed=True)
    first = _first_statement(sample, lines[0])
    sentence, last = _last_statement(sample, lines)
    if last is REFUSED:
        return last
    if first is not None and not (last and _CONCLUDES.search(sentence)):
        return first
    return last or _last_number(sample, "\n".join(lines))


def _last_statement(sample: Sample, lines: list[str]) -> tuple[str, Extraction | None]:
    """Return the last sentence that names an option, and the option."""
    for line in reversed(lines[-3:]):
        for sentence in reversed(list(sentences(line))):
            if _NEITHER.search(sentence) and not is_offered(sample):
                return sentence, REFUSED
            rejects = _REJECTS.search(sentence) and not is_offered(sample)
            if rejects and not _affirms(sample, sentence):
                continue
            if extraction := _named(sample, sentence):
                return sentence, extraction
    return "", None


def _affirms(sample: Sample, sentence: str) -> bool:
    """Check for a conclusion, or an option's letter that opens the sentence."""
    letter = options.leading_letter(sample, sentence)
    return letter is not None or _CONCLUDES.search(sentence) is not None


def _last_number(sample: Sample, body: str) -> Extraction:
    """Return the option that the last number equals."""
    numbers = numbers_in(body)
    letter = options.by_text(sample, numbers[-1]) if numbers else None
    return Extraction(letter, "last-number", guessed=True) if letter else NOTHING


def _result(sample: Sample, line: str) -> str | None:
    """Return the option that equals the result of the last calculation of a line."""
    if "=" not in line:
        return None
    result = line.rpartition("=")[2].strip(" .$\\)]")
    return options.by_text(sample, result) or options.by_mathematics(sample, result)


def _named(sample: Sample, sentence: str) -> Extraction | None:
    """Return the option that a sentence names; an answer of None if it names several."""
    if options.several(sample, sentence):
        return NOTHING
    clause = options.main_clause(sentence)
    letters = set(options.mentions(sample, clause)) or set(options.mentions(sample, sentence))
    if options.mislabels(sample, sentence):
        letters = set()
    if len(letters) > 1:
        return NOTHING
    if letters:
        return Extraction(letters.pop(), "option-letter", guessed=True)
    letter = options.contained(sample, clause) or options.contained(sample, sentence)
    return Extraction(letter, "option-text", guessed=True) if letter else None


def _first_statement(sample: Sample, line: str) -> Extraction | None:
    """Return the option that the first sentence commits itself to."""
    sentence = next(sentences(line), "")
    if len(sentence) > _FIRST or _HEDGED.search(sentence) or options.several(sample, sentence):
        return None
    letters = set(options.mentions(sample, options.main_clause(sentence)))
    if options.mislabels(sample, sentence):
        letters = set()
    if len(letters) == 1:
        return Extraction(letters.pop(), "first-sentence", guessed=True)
    if letters or (options.are_values(sample) and not _COUNT.match(sentence)):
        return None  # a value in the first sentence is mostly a premise
    letter = options.contained(sample, options.main_clause(sentence))
    return Extraction(letter, "first-sentence", guessed=True) if letter else None


def guess_number(sample: Sample, body: str) -> Extraction:
    """Return the number that an unmarked response gives as its answer.

    Args:
        sample: A question of kind `number` or `math`.
        body: The response, without its thinking.
    """
    rest = after_refusal(sample, body)
    if rest == "":
        return REFUSED
    text = _POWER_OF_UNIT.sub("", _DOLLAR_S.sub("$", rest or body))
    if bold := _bold(text):
        return Extraction(bold, "bold-number", guessed=True)
    text = _MIXED.sub(" ", text) if numbers_in(_MIXED.sub(" ", text)) else text
    parts = [sentence for line in text.splitlines() for sentence in sentences(line)]
    if parts and not _CALCULATION.search(text) and (count := _COUNT.match(parts[0])):
        return _number(count[1])
    numbers = (_last_of(sample, sentence) for sentence in reversed(parts))
    return next((_number(number) for number in numbers if number), NOTHING)


def _last_of(sample: Sample, sentence: str) -> str | None:
    """Return the number that a sentence ends in or counts; a bound is none, even on its own."""
    if not _CALCULATION.search(sentence) and (count := _COUNT.match(sentence)):
        return count[1]
    numbers = numbers_in(_TERM.sub(" ", _BOUND.sub(" ", sentence)))
    if not numbers:
        return None
    if _EQUALS.search(sentence):
        return next(iter(numbers_in(_EQUALS.split(sentence)[-1])), numbers[-1])
    money = _MONEY.findall(sentence)
    if len(money) == 1 and sample.kind is AnswerKind.NUMBER:
        return str(money[0]).lstrip("$ ")
    return numbers[-1]


def _number(text: str) -> Extraction:
    return Extraction(text, "last-number", guessed=True)


def _bold(text: str) -> str | None:
    """Return the last number in bold; a bold `1.` that numbers a list is none."""
    numbers = [
        hit[1]
        for hit in _BOLD_NUMBER.finditer(text)
        if quantity(hit[1]) is not None
        and not hit[1].rstrip().endswith((":", ")"))
        and not (hit[1].endswith(".") and text[: hit.start()].endswith(("\n", "\n- ")))
    ]
    return numbers[-1] if numbers and len(set(numbers)) == 1 else None
