"""Text to `Selector`, with errors that point at the character."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from surgery.arch.regions import Region
from surgery.arch.site import Component, Module
from surgery.errors import RecipeError, did_you_mean
from surgery.recipe.select import Index, Range, Selector, Term
from surgery.text import abbreviate

if TYPE_CHECKING:
    from surgery.errors import Place
    from surgery.recipe.select import Span

_MAX_LENGTH = 2_000
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LEAF = re.compile(r"[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+)*")
_INTEGER = re.compile(r"-?[0-9]{1,6}(?![0-9])")


def parse_selector(text: str, place: Place | None = None, *, exact: bool = True) -> Selector:
    """Read a selector.

    Args:
        text: What the user wrote.
        place: Where its first character stands in a file.
        exact: Whether columns inside the text may be counted from `place`; not so for quoted text
            with escapes and for text that runs over several lines.

    Returns:
        The selector; `str` of it reads back as the same.

    Raises:
        RecipeError: If the text is not a selector; says where and what is wrong.
    """
    return _Reader(text, place, exact).selector()


@dataclass
class _Reader:
    """A position in a selector's text."""

    text: str
    place: Place | None
    exact: bool
    at: int = 0

    def selector(self) -> Selector:
        """Read the whole text."""
        if len(self.text) > _MAX_LENGTH:
            self.fail(
                f"selector is {len(self.text)} characters long; at most {_MAX_LENGTH} are read"
            )
        terms = [self.term()]
        while self.take(","):
            terms.append(self.term())
        if self.at < len(self.text):
            self.fail(f"did not expect {self.rest()!r} here; separate parts of a selector with ','")
        return Selector(tuple(terms))

    def term(self) -> Term:
        """One term."""
        self.space()
        start = self.at
        exclude = self.take("!")
        component = None if self.take("*") else self.component()
        spans = self.spans(component) if self.take("[") else None
        module, leaf = self.inside() if self.take(".") else (None, None)
        self.space()
        return Term(component, spans, module, leaf, exclude, self.point(start), start)

    def component(self) -> Component:
        """Read the name of a part of the model."""
        self.space()
        names = [component.value for component in Component]
        found = _WORD.match(self.text, self.at)
        if found is None:
            what = repr(self.rest()) if self.rest() else "nothing"
            self.fail(f"expected a component here, found {what}. Components: {', '.join(names)}, *")
        if found[0] not in names:
            self.fail(f"unknown component {found[0]!r}.{_nearest(found[0], names)}")
        self.at = found.end()
        return Component(found[0])

    def spans(self, component: Component | None) -> tuple[Span, ...]:
        """Read the layers between brackets."""
        if component is None:
            self.at -= 1
            self.fail("'*' has no layers of its own; say which, for example 'language[9:18]'")
        spans = [self.span()]
        while self.take(","):
            spans.append(self.span())
        if not self.take("]"):
            self.fail(f"expected ',' or ']' here, found {self.rest() or 'the end'!r}")
        return tuple(spans)

    def span(self) -> Span:
        """One layer, range or region."""
        self.space()
        word = _WORD.match(self.text, self.at)
        if word is not None:
            names = [region.value for region in Region]
            if word[0] not in names:
                self.fail(f"unknown region {word[0]!r}.{_nearest(word[0], names)}")
            self.at = word.end()
            return Region(word[0])
        start = self.integer()
        if not self.take(":"):
            if start is None:
                found = repr(self.rest()) if self.rest() else "nothing"
                self.fail(
                    f"expected layers here, found {found}. Write a layer (5), a range (9:18), or "
                    f"early, mid, late"
                )
            return Index(start)
        stop = self.integer()
        if self.take(":"):
            self.at -= 1
            self.fail("layer ranges have no step; write 'first:end'")
        return Range(start, stop)

    def integer(self) -> int | None:
        """Read a number of at most six digits, if there is one."""
        self.space()
        found = _INTEGER.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return int(found[0])

    def inside(self) -> tuple[Module | None, str | None]:
        """Read a module, a leaf pattern, or both, after the first dot."""
        self.space()
        found = _LEAF.match(self.text, self.at)
        if found is None:
            modules = ", ".join(module.value for module in Module)
            what = repr(self.rest()) if self.rest() else "nothing"
            self.fail(f"expected a module ({modules}) or a tensor name after '.', found {what}")
        self.at = found.end()
        first, _, rest = found[0].partition(".")
        if first in {module.value for module in Module}:
            return Module(first), rest or None
        return None, found[0]

    def take(self, mark: str) -> bool:
        """Step over `mark` if it comes next."""
        self.space()
        if self.text.startswith(mark, self.at):
            self.at += len(mark)
            return True
        return False

    def space(self) -> None:
        """Step over blanks."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def rest(self) -> str:
        """Return the unread rest, shortened."""
        return abbreviate(self.text[self.at :].rstrip(), 40)

    def point(self, offset: int) -> Place | None:
        """Return the place of a character of the text."""
        if self.place is None or not self.exact:
            return self.place
        return replace(self.place, column=self.place.column + offset)

    def fail(self, message: str) -> NoReturn:
        """Refuse the text at the current position."""
        where = f"selector {abbreviate(self.text, 80)!r}, character {self.at + 1}: "
        if not message.endswith((".", "?")):
            message += "."
        raise RecipeError(where + message, self.point(self.at))


def _nearest(word: str, names: list[str]) -> str:
    """Like `did_you_mean`, but sees through case: names are case-sensitive."""
    if word.lower() in names:
        return f" Names are in lower case: {word.lower()!r}."
    return did_you_mean(word, names)
