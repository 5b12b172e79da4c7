"""Letters and texts of options: the choice of a short answer, and letters in prose."""

from __future__ import annotations

import re
from string import ascii_uppercase
from typing import TYPE_CHECKING, Final

from eval.grading.boxes import unwrapped
from eval.grading.mathematics import same_mathematics
from eval.grading.normalise import plain, words
from eval.grading.numbers import equal, quantity

if TYPE_CHECKING:
    from eval.records import Sample

_UNKNOWN: Final = 8
"""Letters A to H stand for options whose texts are not given."""

_EDGE: Final = " \t\n*_`$\"'.,;!"
_BARE: Final = re.compile(
    r"(?:(?:the )?(?:correct |right |best |final )?(?:option|choice|answer|letter)\s*(?:is"
    r"|:)?\s*)?([(\[{]?)\s*([A-Za-z])\s*[)\]}]?\s*[.:,]?",
    re.IGNORECASE,
)
_LABELLED: Final = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?(?:[(\[]\s*([A-Z])\s*[)\]]"
    r"|([A-Z])\s*[.:)\]=-])[.:)*\s-]*(?=\S)",
    re.IGNORECASE,
)
_LEADING: Final = re.compile(
    r"[\s*_`$\"':]*(?:(?i:option|choice|letter"
    r"|answer)\s*)?([(\[]?)\s*([A-Z])(?![\w'])\s*([)\].:,*]?)"
)
_ALSO: Final = re.compile(
    r"[\s*_$)\].]*(?:,?\s*(?:and|or|but also)|[,&/+])\s*(?:(?i:option"
    r"|choice)\s*)?[(\[*$]*([A-Z])(?![\w'])"
)
NOUN: Final = (
    r"(?:point|box|image|picture|photo|frame|figure|region|circle|square|mark|marker|marked|panel"
    r"|curve|line|graph|diagram|drawing|shape|object|item|spot|location|position|area|patch|label"
    r"|labell?ed|letter|tile|piece|sketch|sample|candidate|pattern|arrow|bar|group|view|scene"
    r"|pixel|statement|row|column|place|dot)"
)
_OR: Final = re.compile(r"\bor\s+(?:(?i:option|choice)\s*)?[(\[]\s?([A-Z])\s?[)\]]")
_MENTION: Final = re.compile(
    r"[(\[]\s?([A-Z])\s?[)\]]|\*\*\s?\(?([A-Z])\)?[.:)]?\s?\*\*|(?:\b(?:[Oo]ption|[Cc]hoice"
    r"|[Aa]nswer|OPTION|CHOICE)s?\s|选项?\s?)[\"'(]?([A-Z])(?![\w'])"
    r"|(?<![\w'(\[\\{])([A-Z])(?![\w'])"
)
_POINTED_AT: Final = re.compile(
    rf"(?:\b{NOUN}s?(?:\s(?:by|as|with))?|\b(?:is|be|are|was|choose|select|pick|by|with|to|as"
    rf"|leaves|therefore|thus"
    r"|hence|so|say|prefer|it's|letter)|[:>\u2192])\s*[\"'(]?$",
    re.IGNORECASE,
)
_OPENS: Final = re.compile(r"(?:^|[.!?\n]\s*)[\s\"'*(]*$")
_VERB: Final = re.compile(r"[\"')*]*\s*(?:is|was|has|appears|seems|looks|because|as|[.:)]|$)")
_IN_FORMULA: Final = re.compile(r"(?:[-=+/^<>_|]|(?<!\*)\*)\s?$")
_BEHIND_IN_FORMULA: Final = re.compile(r"\s?(?:[-=+/^<>_|]|\*(?!\*))")
_NEGATED_BEFORE: Final = re.compile(
    r"(?:\bnot|n't|\bnor|\bneither|\bnever|\bthan|\bcompared (?:to|with)|\bas opposed to"
    r"|\beliminat\w*|\bexclud\w*|\brul\w+ out|\breject\w*|\bdiscard\w*|\bunlike|\binstead of"
    r"|\brather than)\s(?:be\s|the\s|to\s|it\s|is\s|an?\s|that\s|those\s|of\s|in\s|at\s|with\s"
    r"|marked\s)*"
    rf"(?:(?:option|choice|answer|{NOUN})s?\s*)?[\s(\[*\"']*$",
    re.IGNORECASE,
)
_NEGATED_AFTER: Final = re.compile(
    r"[\s)\]*.:\"']*(?:(?:is|are|was|seems?|looks?|must be|would be)\s(?:\w+ly\s)?(?:wrong"
    r"|incorrect|the least\b|less\b|unlikely\b|not\b|false|out\b|eliminated|excluded|impossible"
    r"|ruled|invalid|too\b)|不|isn't|doesn't|does not|can't|cannot|can be (?:ruled|eliminated"
    r"|excluded))",
    re.IGNORECASE,
)
_DENIED: Final = re.compile(
    r"\b(?:not|isnt|arent|wasnt|doesnt|dont|cannot|cant|nor|neither|without|unlike|instead of"
    r"|rather than|compared (?:to|with)|than)(?: (?!but\b|rather\b|it\b|is\b)\S+){0,7} $"
    r"|\b(?:eliminat\w*|exclud\w*|reject\w*|discard\w*|rul\w+ out) (?:\S+ )?$"
)
_DENIED_AFTER: Final = re.compile(
    r"(?: (?!but\b|while\b|and\b)\S+){0,4}? (?:not|isnt|doesnt|cannot|cant|lacks|unlikely"
    r"|least likely|less)\b"
)
_ASIDE: Final = re.compile(
    r",?\s+(?:while|whereas|unlike|compared (?:to|with)|as opposed to|in contrast (?:to|with)"
    r"|rather than|instead of|than|(?:but|and) not|on the other hand)\b.*|,\s+not\b.*",
    re.IGNORECASE | re.DOTALL,
)
_OPENING_ASIDE: Final = re.compile(
    r"\s*(?:while|whereas|although|unlike|compared)\b[^,\n]*,\s*", re.IGNORECASE
)
_FORMULA: Final = re.compile(r"\\[a-zA-Z]+|[\^+*/=]|\d\s*-\s*\d")
_CONTRARY: Final = (
    (
        {"closer", "nearer", "closest", "nearest"},
        {"farther", "further", "farthest", "furthest", "behind", "distant", "background"},
    ),
    ({"darker", "darkest"}, {"brighter", "lighter", "brightest", "lightest"}),
    ({"larger", "bigger", "greater"}, {"smaller", "less"}),
    ({"higher", "taller"}, {"lower", "shorter"}),
    ({"longer"}, {"shorter"}),
    ({"hotter", "warmer"}, {"colder", "cooler"}),
    ({"faster"}, {"slower"}),
    ({"heavier"}, {"lighter"}),
)
_LETTERS: Final = re.compile(r"[A-Z](?:, [A-Z])+")
_LETTER: Final = re.compile(r"(?<![\w'])([A-Z])(?![\w'])")
_LOOK: Final = 48


def letters(sample: Sample) -> str:
    """Return the letters of a sample's options."""
    return ascii_uppercase[: len(sample.choices) or _UNKNOWN]


def asks_several(sample: Sample) -> bool:
    """Check for a question whose answer is several letters, such as `A, C`."""
    return _LETTERS.fullmatch(sample.answer) is not None


def several_letters(sample: Sample, text: str) -> str | None:
    """Return all letters that a short text names, as `A, C`; None if it names none."""
    valid = letters(sample)
    named = {hit[1] for hit in _LETTER.finditer(_tidy(text)) if hit[1] in valid}
    return ", ".join(sorted(named)) or None


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


def by_mathematics(sample: Sample, text: str) -> str | None:
    """Return the letter of the one option that equals a text as mathematics."""
    if not (are_values(sample) and any(sign.isdigit() or sign == "\\" for sign in text)):
        return None
    value = quantity(text)
    letters_of_equals = [
        letter
        for letter, choice in zip(letters(sample), sample.choices, strict=False)
        if (value is None or quantity(choice) is None) and same_mathematics(choice, text)
    ]
    return letters_of_equals[0] if len(letters_of_equals) == 1 else None


def are_values(sample: Sample) -> bool:
    """Check whether all options are numbers or formulas."""
    return bool(sample.choices) and all(
        quantity(choice) is not None or "$" in choice or _FORMULA.search(choice)
        for choice in sample.choices
    )


def are_labels(sample: Sample) -> bool:
    """Check whether the options' texts speak of letters in the image: `Point A`, `A is closer`."""
    labelled = [
        re.search(rf"\b{letter}\b", choice)
        for letter, choice in zip(letters(sample), sample.choices, strict=False)
    ]
    return sum(label is not None for label in labelled) >= 2


def contained(sample: Sample, text: str) -> str | None:
    """Return the letter of the one option whose text occurs in a text.

    An option that is part of another match (`car`, `red car`) does not count, nor one that is part
    of a formula.
    """
    padded = f" {words(text)} "
    valid = letters(sample)
    texts = {letter: words(choice) for letter, choice in zip(valid, sample.choices, strict=False)}
    if _FORMULA.search(unwrapped(text)):  # a value in a formula is a part of another value
        texts = {
            letter: choice
            for letter, choice in texts.items()
            if len(choice.split()) > 1 and not _FORMULA.search(sample.choices[valid.index(letter)])
        }
    matches = {
        letter: choice for letter, choice in texts.items() if choice and f" {choice} " in padded
    }
    longest = [
        letter
        for letter, choice in matches.items()
        if not any(choice != other and f" {choice} " in f" {other} " for other in matches.values())
        and not _is_denied(padded, choice)
    ]
    return longest[0] if len(longest) == 1 and len(texts[longest[0]]) > 1 else None


def _is_denied(padded: str, choice: str) -> bool:
    """Check for a `not` before an option's text or after it."""
    if choice.startswith(("none", "neither", "not ")):
        return False
    start = padded.index(f" {choice} ") + 1
    return bool(
        _DENIED.search(padded[:start]) or _DENIED_AFTER.match(padded[start + len(choice) :])
    )


def main_clause(sentence: str) -> str:
    """Return a sentence without what it compares with: `while point B is further`, `than B`."""
    sentence = _OPENING_ASIDE.sub("", sentence, count=1)
    return _ASIDE.sub("", sentence) or sentence


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
    """Check whether a statement names two options: `A and B`, `(A) the dog or (B) the cat`."""
    match = _LEADING.match(text)
    if match is None or match[2] not in letters(sample):
        return False
    also = _ALSO.match(text, match.end(2)) or (_OR.search(text, match.end()) if match[1] else None)
    return also is not None and also[1] in letters(sample) and also[1] != match[2]


def mentions(sample: Sample, text: str) -> list[str]:
    """Return the letters that a text mentions as options and does not deny, in order.

    A letter in brackets, in bold or behind `option` counts. A bare letter counts where something
    points at it (`point A`, `it is B`) or where the options speak of letters; never in a formula,
    and never where the options are numbers: there it belongs to the figure.
    """
    valid, results = letters(sample), []
    labels = are_labels(sample)
    values = not labels and are_values(sample)
    for hit in _MENTION.finditer(text):
        letter = hit[1] or hit[2] or hit[3] or hit[4]
        if letter not in valid:
            continue
        before, after = text[max(0, hit.start() - _LOOK) : hit.start()], text[hit.end() :]
        if hit[4] and (values or not _is_label(letter, before, after, labels=labels)):
            continue
        if is_denied(text, *hit.span()):
            continue
        if labels and _is_contrary(sample, text):
            continue
        results.append(letter)
    return results


def only_mention(sample: Sample, text: str) -> str | None:
    """Return the letter of the one option that a text mentions."""
    named = set(mentions(sample, text))
    return named.pop() if len(named) == 1 else None


def mislabels(sample: Sample, text: str) -> bool:
    """Check for a letter in brackets that no option has: the response uses labels of its own."""
    valid = letters(sample)
    return any(hit[1] and hit[1] not in valid for hit in _MENTION.finditer(text))


def is_denied(text: str, start: int, end: int) -> bool:
    """Check for a denial before or behind a part of a text: `not option B`, `B is wrong`."""
    before, after = text[max(0, start - _LOOK) : start], text[end : end + _LOOK]
    return bool(_NEGATED_BEFORE.search(before) or _NEGATED_AFTER.match(after))


def _is_label(letter: str, before: str, after: str, *, labels: bool) -> bool:
    """Check whether a bare capital stands for an option, and is no article, name or variable."""
    if _IN_FORMULA.search(before) or _BEHIND_IN_FORMULA.match(after):
        return False
    if _POINTED_AT.search(before):
        return True
    if _OPENS.search(before):
        return _VERB.match(after) is not None
    return labels and (letter not in "AI" or before[-1:].isspace())


def _is_contrary(sample: Sample, text: str) -> bool:
    """Check whether a text says the opposite of what the options say: `farther` for `closer`."""
    options_words = set(words(" ".join(sample.choices)).split())
    text_words = set(words(text).split())
    for pair in _CONTRARY:
        for stated, opposite in (pair, pair[::-1]):
            if options_words & stated and not options_words & opposite:
                return bool(text_words & opposite) and not text_words & stated
    return False
