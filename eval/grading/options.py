"""Letters and texts of options: the choice of a short answer, and letters in prose."""

from __future__ import annotations

import re
from string import ascii_uppercase
from typing import TYPE_CHECKING, Final

from eval.grading.boxes import unwrapped
from eval.grading.normalise import plain, words
from eval.grading.numbers import equal, quantity

if TYPE_CHECKING:
    from eval.records import Sample

_UNKNOWN: Final = 8
"""Letters A to H stand for options whose texts are not given."""

_EDGE: Final = " \t\n*_`$\"'.,;!"
_BARE: Final = re.compile(
    r"(?:(?:the )?(?:correct |right |best |final )?(?:option|choice|answer|letter)\s*(?:is|:)?\s*)?"
    r"([(\[{]?)\s*([A-Za-z])\s*[)\]}]?\s*[.:,]?",
    re.IGNORECASE,
)
_LABELLED: Final = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?(?:[(\[]\s*([A-Z])\s*[)\]]|([A-Z])\s*[.:)\]=-])[.:)*\s-]*(?=\S)",
    re.IGNORECASE,
)
_LEADING: Final = re.compile(
    r"[\s*_`$\"':]*(?:(?i:option|choice|letter|answer)\s*)?([(\[]?)\s*([A-Z])(?![\w'])\s*([)\].:,*]?)"
)
_ALSO: Final = re.compile(
    r"[\s*_$)\].]*(?:,?\s*(?:and|or|but also)|[,&/+])\s*(?:(?i:option|choice)\s*)?[(\[*$]*"
    r"([A-Z])(?![\w'])"
)
_MENTION: Final = re.compile(
    r"[(\[]\s?([A-Z])\s?[)\]]|\*\*\s?\(?([A-Z])\)?[.:)]?\s?\*\*"
    r"|\b(?:[Oo]ption|[Cc]hoice|OPTION|CHOICE)s?\s\(?([A-Z])\b(?!')|(?<![\w'(\[\\{])([A-Z])(?![\w'])"
)
_NEGATED_BEFORE: Final = re.compile(
    r"(?:\bnot|n't|\bnor|\bneither|\bnever|\bthan|\beliminat\w*|\bexclud\w*"
    r"|\brul\w+ out|\breject\w*|\bdiscard\w*|\bunlike|\binstead of|\brather than)"
    r"\s(?:be\s|the\s|to\s|it\s|is\s|an?\s)*"
    r"(?:(?:option|choice|answer)s?\s*)?[\s(\[*\"']*$",
    re.IGNORECASE,
)
_NEGATED_AFTER: Final = re.compile(
    r"[\s)\]*.:\"']*(?:(?:is|are|was|seems?|looks?|must be|would be)\s(?:\w+ly\s)?"
    r"(?:wrong|incorrect|not\b|false|out\b|eliminated|excluded|impossible|ruled|invalid|too\b)"
    r"|isn't|doesn't|does not|can't|cannot|can be (?:ruled|eliminated|excluded))",
    re.IGNORECASE,
)
_DENIED: Final = re.compile(r"\b(?:not|isnt|nor|neither|than)(?: an?| the)? $")
_LOOK: Final = 48


def letters(sample: Sample) -> str:
    """Return the letters of a sample's options."""
    return ascii_uppercase[: len(sample.choices) or _UNKNOWN]


def choose(sample: Sample, text: str) -> str | None:
    """Return the option that a short text names: by its letter, its text, or both.

    Args:
        sample: The question; its gold answer plays no part.
        text: What stands in a tag, a box, or a line.

    Returns:
        A letter; None if it names no option, two of them, or a letter with another option's text.
    """
    bare = _tidy(text)
    valid = letters(sample)
    if match := _BARE.fullmatch(bare):
        letter = match[2].upper()
        if letter in valid:
            return letter
    if (match := _LABELLED.match(bare)) and (match[1] or match[2]).upper() in valid:
        letter, rest = (match[1] or match[2]).upper(), bare[match.end() :]
        other = by_text(sample, rest)
        if other is not None and other != letter and not same(sample, letter, other):
            return None
        return letter if not set(marked(rest, valid)) - {letter} else None
    exact = by_text(sample, bare)
    if exact is not None:
        return exact
    first = leading_letter(sample, bare)
    if first is not None and by_text(sample, bare[1:]) == first:
        return first  # "B 14"
    return None


def _tidy(text: str) -> str:
    text = unwrapped(plain(text)).strip(_EDGE)
    text = re.sub(r"\\[()\[\],;! ]", " ", text)
    return re.sub(r"^\{(.*)\}$", r"\1", text, flags=re.DOTALL).strip(_EDGE).replace("**", "")


def marked(text: str, valid: str) -> list[str]:
    """Letters in brackets, in bold or after the word option."""
    mentions = (hit[1] or hit[2] or hit[3] for hit in _MENTION.finditer(text))
    return [letter for letter in mentions if letter and letter in valid]


def same(sample: Sample, first: str, other: str) -> bool:
    """Check whether two letters' options have the same text."""
    texts = [words(sample.choices[ascii_uppercase.index(letter)]) for letter in (first, other)]
    return texts[0] == texts[1]


def by_text(sample: Sample, text: str) -> str | None:
    """Return the letter of the option with this text, as words or as a number."""
    if not text.strip():
        return None
    valid, answer_words = letters(sample), words(text)
    for letter, choice in zip(valid, sample.choices, strict=False):
        if words(choice) == answer_words:
            return letter
    squeezed = ["".join(words(choice).split()) for choice in sample.choices[: len(valid)]]
    if squeezed.count("".join(answer_words.split())) == 1:
        return valid[squeezed.index("".join(answer_words.split()))]
    number = quantity(text)
    if number is None:
        return None
    results = []
    for letter, choice in zip(valid, sample.choices, strict=False):
        gold = quantity(choice)
        if gold is not None and equal(number, gold) and number.scale == gold.scale:
            results.append(letter)
    return results[0] if len(results) == 1 else None


def contained(sample: Sample, text: str) -> str | None:
    """Return the letter of the one option whose text occurs in a text.

    An option that is part of another one found (`car`, `red car`) does not count.
    """
    padded = f" {words(text)} "
    valid = letters(sample)
    texts = {letter: words(choice) for letter, choice in zip(valid, sample.choices, strict=False)}
    matches = {
        letter: choice for letter, choice in texts.items() if choice and f" {choice} " in padded
    }
    longest = [
        letter
        for letter, choice in matches.items()
        if not any(choice != other and f" {choice} " in f" {other} " for other in matches.values())
        and not _DENIED.search(padded[: padded.index(f" {choice} ") + 1])
    ]
    return longest[0] if len(longest) == 1 and len(texts[longest[0]]) > 1 else None


def leading_letter(sample: Sample, text: str) -> str | None:
    """Return the letter that opens a statement, unless another follows: `B, because ...`."""
    match = _LEADING.match(text)
    if match is None or match[2] not in letters(sample) or several(sample, text):
        return None
    marked_up = match[1] or match[3] or text.strip()[:1] in "*$\"'`"
    if match[2] in "AI" and not marked_up and not _stands_alone(text[match.end() :]):
        return None
    return match[2]


def _stands_alone(rest: str) -> bool:
    """Check whether the context shows that `A` and `I` are letters, not words."""
    following = re.match(r"[\s*]*(\w+)", rest)
    return following is None or following[1].lower() in {
        "because", "since", "as", "which", "is", "with", "and", "for", "so",
    }  # fmt: skip


def several(sample: Sample, text: str) -> bool:
    """Check whether a statement opens with more than one letter: `A and B`."""
    match = _LEADING.match(text)
    if match is None:
        return False
    also = _ALSO.match(text, match.end(2))
    return also is not None and also[1] in letters(sample) and also[1] != match[2]


def mentions(sample: Sample, text: str) -> list[str]:
    """Letters that a text mentions and does not deny, in order; `A` and `I` only when marked."""
    valid, results = letters(sample), []
    for hit in _MENTION.finditer(text):
        letter = hit[1] or hit[2] or hit[3] or hit[4]
        if letter not in valid or (hit[4] and letter in "AI"):
            continue
        before, after = text[max(0, hit.start() - _LOOK) : hit.start()], text[hit.end() :]
        if _NEGATED_BEFORE.search(before) or _NEGATED_AFTER.match(after[:_LOOK]):
            continue
        results.append(letter)
    return results
