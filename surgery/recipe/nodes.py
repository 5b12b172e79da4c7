"""YAML text to plain values that remember where they stand.

PyYAML's parser does the syntax; the tree is built here, because recipes come from strangers: no
tags, no duplicate keys, no recursion, bounded size, depth and alias expansion. Plain scalars follow
YAML 1.2, so that a model called `no` or `1_0` is a name and `1e-5` is a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import yaml

from surgery.errors import Place, RecipeError
from surgery.text import abbreviate

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 1_000_000
MAX_NODES = 5_000
MAX_DEPTH = 24

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]{1,18}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,3})?\Z")

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Node:
    """One value of a YAML text.

    Attributes:
        value: A scalar, or nodes.
        place: Where it starts; inside the quotes for quoted text.
        keys: For a mapping, where each key stands.
        exact: For text, whether its characters stand one by one from `place` on.
        size: Number of nodes in it, aliases expanded.
    """

    value: Scalar | dict[str, Node] | list[Node]
    place: Place
    keys: dict[str, Place]
    exact: bool = True
    size: int = 1

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def get(self, key: str) -> Node | None:
        """Return the node at `key` of a mapping, or None."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def place_of(self, key: str | int) -> Place:
        """Return the position of `key`, or of the mapping if there is no such key."""
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key].place
        return self.keys.get(str(key), self.place)

    def walk(self, path: tuple[str | int, ...]) -> Node:
        """Follow `path` as far as it goes."""
        node = self
        for step in path:
            value = node.value
            if isinstance(value, dict) and step in value:
                node = value[str(step)]
            elif isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
                node = value[step]
            else:
                break
        return node


def compose(text: str, file: str = "<string>") -> Node:
    """Read one YAML document.

    Args:
        text: The document.
        file: What to call it in errors.

    Returns:
        Its root.

    Raises:
        RecipeError: If it is not YAML, or not the plain and bounded part of it that recipes use.
    """
    return _compose_one(text, file)


def compose_all(text: str, file: str = "<string>") -> list[Node]:
    """Read the documents of a YAML text, at least one; errors as those of `compose`."""
    return _compose(text, file, several=True)


@lru_cache(maxsize=256)  # bundled recipes extend the same few files; nodes are immutable
def _compose_one(text: str, file: str) -> Node:
    return _compose(text, file, several=False)[0]


def _compose(text: str, file: str, *, several: bool) -> list[Node]:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise RecipeError(f"{file} is over {MAX_BYTES // 1_000_000} MB; recipes are small texts.")
    try:
        return _Composer(text, file).documents(several=several)
    except yaml.MarkedYAMLError as error:
        raise RecipeError(*_explain(error, text, file)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character[:1])
        raise RecipeError(
            f"the character U+{code:04X} is not allowed in YAML.", Place(file, line, column)
        ) from None


def resolve_plain(text: str) -> Scalar:
    """Return the value of an unquoted scalar (YAML 1.2 core schema, decimal numbers)."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text


class _Composer:
    """Builds nodes from PyYAML's events."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.anchors: dict[str, Node | None] = {}
        self.count = 0
        self.events: Iterator[Any] = yaml.parse(text, Loader=yaml.BaseLoader)

    def documents(self, *, several: bool) -> list[Node]:
        """Return the documents of the stream: one, unless several are allowed."""
        roots: list[Node] = []
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if roots and not several:
                    self.fail("a second document starts here; a recipe is one document", event)
                roots.append(self.node(next(self.events), 0))
        if not roots:
            raise RecipeError(
                "the file is empty; expected keys and values.", Place(self.file, 1, 1)
            )
        return roots

    def node(self, event: Any, depth: int) -> Node:
        """Return the node that starts with `event`."""
        self.count += 1
        if self.count > MAX_NODES:
            self.fail(f"more than {MAX_NODES} values; recipes are small texts", event)
        if depth > MAX_DEPTH:
            self.fail(f"nested more than {MAX_DEPTH} deep, which no key here needs", event)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        self.refuse_tag(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = self.scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self.sequence(event, depth)
        else:
            node = self.mapping(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: Any) -> Node:
        """Return the target of an alias, its size counted again."""
        if event.anchor not in self.anchors:
            self.fail(
                f"'*{event.anchor}' refers to an anchor that is not defined; if you mean the "
                f'selector for everything, put it in quotes: "*"',
                event,
            )
        node = self.anchors[event.anchor]
        if node is None:
            self.fail(f"'*{event.anchor}' contains itself", event)
        self.count += node.size
        if self.count > MAX_NODES:
            self.fail(f"aliases expand to more than {MAX_NODES} values", event)
        return node

    def refuse_tag(self, event: Any) -> None:
        """Tags make objects, which no recipe needs."""
        if event.tag is not None:
            self.fail(
                f"YAML tag {event.tag!r} is not allowed; if you mean a selector that excludes, put "
                f"it in quotes: '{event.tag} ...'",
                event,
            )

    def scalar(self, event: Any) -> Node:
        """Return a string, number, truth value or null."""
        place = self.place(event)
        if event.style is None and event.implicit[0]:
            single = event.end_mark.column - event.start_mark.column == len(event.value)
            return Node(resolve_plain(event.value), place, {}, exact=single)
        quoted = event.style in {"'", '"'}
        width = event.end_mark.column - event.start_mark.column
        exact = quoted and width == len(event.value) + 2
        inner = Place(place.file, place.line, place.column + 1) if quoted else place
        return Node(event.value, inner, {}, exact=exact)

    def sequence(self, start: Any, depth: int) -> Node:
        """Return a list."""
        items: list[Node] = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self.node(event, depth + 1))
        size = 1 + sum(item.size for item in items)
        return Node(items, self.place(start), {}, size=size)

    def mapping(self, start: Any, depth: int) -> Node:
        """Return a mapping with text keys, each once."""
        items: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self.key(event)
            if key in items:
                self.fail(f"{key!r} is given twice; first at line {keys[key].line}", event)
            keys[key] = self.place(event)
            items[key] = self.node(next(self.events), depth + 1)
        size = 1 + sum(item.size for item in items.values())
        return Node(items, self.place(start), keys, size=size)

    def key(self, event: Any) -> str:
        """Return a mapping's key."""
        if not isinstance(event, yaml.ScalarEvent):
            self.fail("expected a name as key here", event)
        self.refuse_tag(event)
        if event.value == "<<" and event.style is None:
            self.fail("merge keys ('<<') are not used in recipes; use extends", event)
        return str(event.value)

    def place(self, event: Any) -> Place:
        """Return the position where an event starts."""
        return Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def fail(self, message: str, event: Any) -> NoReturn:
        """Refuse the text at `event`."""
        raise RecipeError(f"{message}.", self.place(event))


def _explain(error: yaml.MarkedYAMLError, text: str, file: str) -> tuple[str, Place]:
    """Return a YAML error in the project's words."""
    mark = error.problem_mark or error.context_mark
    place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
    lines = text.splitlines()
    line = lines[place.line - 1].strip() if place.line <= len(lines) else ""
    excerpt = abbreviate(line, 60)
    hint = ""
    if "\t" in line or "'\\t'" in str(error.problem):
        hint = " Indent with spaces, not tabs."
    elif "!" in line or "*" in line or ("[" in line and "{" in line):
        hint = " Selectors with '*', '!' or brackets need quotes here."
    return f"not valid YAML: {error.problem or error.context}, at {excerpt!r}.{hint}", place
