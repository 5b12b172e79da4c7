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
    position: int = 0

    def selector(self) -> Selector:
        """Read the whole text."""
        if len(self.text) > _MAX_LENGTH:
            self.fail(
                f"selector is {len(self.text)} characters long; at most {_MAX_LENGTH} are read"
            )
        terms = [self.term()]
        while self.take(","):
            terms.append(self.term())
        if self.position < len(self.text):
            self.fail(f"did not expect {self.rest()!r} here; separate parts of a selector with ','")
        return Selector(tuple(terms))

    def term(self) -> Term:
        """One term."""
        self.space()
        start = self.position
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
        match = _WORD.match(self.text, self.position)
        if match is None:
            token = repr(self.rest()) if self.rest() else "nothing"
            self.fail(
                f"expected a component here, found {token}. Components: {', '.join(names)}, *"
            )
        if match[0] not in names:
            self.fail(
                f"unknown component {match[0]!r}.{_nearest(match[0], names)} "
                f"Components: {', '.join(names)}, *"
            )
        self.position = match.end()
        return Component(match[0])

    def spans(self, component: Component | None) -> tuple[Span, ...]:
        """Read the layers between brackets."""
        if component is None:
            self.position -= 1
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
        word = _WORD.match(self.text, self.position)
        if word is not None:
            names = [region.value for region in Region]
            if word[0] not in names:
                self.fail(f"unknown region {word[0]!r}.{_nearest(word[0], names)}")
            self.position = word.end()
            return Region(word[0])
        start = self.integer()
        if not self.take(":"):
            if start is None:
                token = repr(self.rest()) if self.rest() else "nothing"
                self.fail(
                    f"expected layers here, found {token}. Write a layer (5), a range (9:18), or "
                    f"early, mid, late"
                )
            return Index(start)
        stop = self.integer()
        if self.take(":"):
            self.position -= 1
            self.fail("layer ranges have no step; write 'first:end'")
        return Range(start, stop)

    def integer(self) -> int | None:
        """Read a number of at most six digits, if there is one."""
        self.space()
        match = _INTEGER.match(self.text, self.position)
        if match is None:
            return None
        self.position = match.end()
        return int(match[0])

    def inside(self) -> tuple[Module | None, str | None]:
        """Read a module, a leaf pattern, or both, after the first dot."""
        self.space()
        match = _LEAF.match(self.text, self.position)
        if match is None:
            modules = ", ".join(module.value for module in Module)
            token = repr(self.rest()) if self.rest() else "nothing"
            self.fail(f"expected a module ({modules}) or a tensor name after '.', found {token}")
        self.position = match.end()
        first, _, rest = match[0].partition(".")
        if first in {module.value for module in Module}:
            return Module(first), rest or None
        return None, match[0]

    def take(self, mark: str) -> bool:
        """Step over `mark` if it comes next."""
        self.space()
        if self.text.startswith(mark, self.position):
            self.position += len(mark)
            return True
        return False

    def space(self) -> None:
        """Step over blanks."""
        while self.position < len(self.text) and self.text[self.position].isspace():
            self.position += 1

    def rest(self) -> str:
        """Return the unread rest, shortened."""
        return abbreviate(self.text[self.position :].rstrip(), 40)

    def point(self, offset: int) -> Place | None:
        """Return the place of a character of the text."""
        if self.place is None or not self.exact:
            return self.place
        return replace(self.place, column=self.place.column + offset)

    def fail(self, message: str) -> NoReturn:
        """Refuse the text at the current position."""
        place = f"selector {abbreviate(self.text, 80)!r}, character {self.position + 1}: "
        if not message.endswith((".", "?")):
            message += "."
        raise RecipeError(place + message, self.point(self.position))


def _nearest(word: str, names: list[str]) -> str:
    """Like `did_you_mean`, but sees through case: names are case-sensitive."""
    if word.lower() in names:
        return f" Names are in lower case: {word.lower()!r}."
    return did_you_mean(word, names)
