"""Selectors: text such as `language[9:18].mlp` that picks sites.

    selector = term { "," term }
    term     = [ "!" ] ( "*" | component [ layers ] ) [ "." module ] [ "." leaf ]
    layers   = "[" span { "," span } "]"
    span     = layer | [ layer ] ":" [ layer ] | "early" | "mid" | "late"
    leaf     = name { "." name }           a name may hold * wildcards, which never cross a dot

Terms are joined; terms with `!` are removed from the union, in any order. A leaf pattern
matches from the start of what follows the module: `q_proj` matches `q_proj.weight` and
`q_proj.bias`, `experts.*.up_proj` every expert's. `surgery.recipe.grammar` reads this, this module
gives it meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from surgery.arch.regions import Region, regions
from surgery.arch.site import Component, Module
from surgery.errors import RecipeError, did_you_mean
from surgery.text import layer_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from surgery.arch.site import Architecture, Site
    from surgery.errors import Place

    Cuts: TypeAlias = Mapping[Component, tuple[int, int]]


@dataclass(frozen=True)
class Index:
    """One layer, counted from the end when negative."""

    layer: int

    def __str__(self) -> str:
        return str(self.layer)


@dataclass(frozen=True)
class Range:
    """Layers from `start` up to but not including `stop`, as in Python."""

    start: int | None = None
    stop: int | None = None

    def __str__(self) -> str:
        return (
            f"{'' if self.start is None else self.start}:{'' if self.stop is None else self.stop}"
        )


Span: TypeAlias = Index | Range | Region


@dataclass(frozen=True)
class Term:
    """One part of a selector.

    Attributes:
        component: Which part of the model; None for `*`.
        spans: Which layers, united; None for all of the component, layers or not.
        module: Which kind of block; None for all.
        leaf: Pattern for what follows the module; None for all.
        exclude: Whether what it matches is taken away.
        place: Where it stands in a file.
        offset: Its first character in the selector's text, from 0.
    """

    component: Component | None
    spans: tuple[Span, ...] | None = None
    module: Module | None = None
    leaf: str | None = None
    exclude: bool = False
    place: Place | None = field(default=None, compare=False)
    offset: int = field(default=0, compare=False)

    def __str__(self) -> str:
        spans = "" if self.spans is None else f"[{', '.join(map(str, self.spans))}]"
        parts = [f"{self.component or '*'}{spans}", self.module, self.leaf]
        return ("!" if self.exclude else "") + ".".join(part for part in parts if part)


@dataclass(frozen=True)
class Selector:
    """The tensors that a step changes."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.terms))

    def match(self, architecture: Architecture, cuts: Cuts | None = None) -> tuple[Site, ...]:
        """Return the sites it picks, in the order of the checkpoint.

        Args:
            architecture: The model's sites.
            cuts: First layer of mid and of late, per component; thirds where absent.

        Raises:
            RecipeError: If a term, or the whole, matches nothing, or names a layer beyond the
                stack.
        """
        cuts = cuts or {}
        used: set[Site] = set()
        dropped: set[Site] = set()
        for term in self.terms:
            (dropped if term.exclude else used).update(_match_term(term, architecture, cuts))
        if all(term.exclude for term in self.terms):
            used = set(architecture.sites.values())
        used -= dropped
        selected = tuple(site for site in architecture.sites.values() if site in used)
        if not selected:
            place = self.terms[0].place
            raise RecipeError(f"selector '{self}' excludes everything that it picks.", place)
        return selected

    def layers(
        self, architecture: Architecture, cuts: Cuts | None = None
    ) -> dict[Component, tuple[int, ...]]:
        """Return the layers it touches, in ascending order, by component.

        Raises:
            RecipeError: As `match` does.
        """
        result: dict[Component, set[int]] = {}
        for site in self.match(architecture, cuts):
            if site.layer is not None:
                result.setdefault(site.component, set()).add(site.layer)
        return {component: tuple(sorted(layers)) for component, layers in result.items()}

    def describe(self, architecture: Architecture | None = None, cuts: Cuts | None = None) -> str:
        """Return a readable form with inclusive layer numbers: `language layers 9-17, mlp`.

        Args:
            architecture: Resolves names and open ends into layer numbers where given.
            cuts: As for `match`.

        Raises:
            RecipeError: If a layer lies beyond the architecture's.
        """
        terms = [_describe_term(t, architecture, cuts or {}) for t in self.terms if not t.exclude]
        without = [_describe_term(t, architecture, cuts or {}) for t in self.terms if t.exclude]
        text = "; ".join(terms) or "everything"
        return f"{text} without {'; '.join(without)}" if without else text


def _match_term(term: Term, architecture: Architecture, cuts: Cuts) -> list[Site]:
    """Return the sites of one term, which must match something."""
    layers = None
    if term.spans is not None and term.component is not None:
        layers = _resolve(term, architecture, cuts)
    leaf = _leaf_pattern(term.leaf)
    sites = [
        site
        for site in architecture.sites.values()
        if (term.component is None or site.component is term.component)
        and (layers is None or site.layer in layers)
        and (term.module is None or site.module is term.module)
        and (leaf is None or leaf.match(site.leaf))
    ]
    if not sites:
        raise RecipeError(_nothing(term, architecture), term.place)
    return sites


@lru_cache(maxsize=256)
def _leaf_pattern(leaf: str | None) -> re.Pattern[str] | None:
    """Return a pattern that matches a leaf's leading names, wildcards kept inside one name."""
    if leaf is None:
        return None
    names = [r"[^.]*".join(re.escape(part) for part in name.split("*")) for name in leaf.split(".")]
    return re.compile(r"\.".join(names) + r"(\.|\Z)")


def _resolve(term: Term, architecture: Architecture, cuts: Cuts) -> frozenset[int]:
    """Layer numbers of a term with brackets."""
    component = term.component
    assert component is not None and term.spans is not None  # the caller has looked
    count = architecture.layers.get(component, 0)
    if count == 0:
        stacks = ", ".join(f"{name} ({n})" for name, n in architecture.layers.items() if n)
        raise RecipeError(
            f"'{term}' asks for layers, but {component} of this {architecture.family} model has "
            f"none. Layers are in: {stacks or 'nothing'}.",
            term.place,
        )
    layers: set[int] = set()
    for span in term.spans:
        layers.update(_span_layers(span, term, count, cuts))
    return frozenset(layers)


def _span_layers(span: Span, term: Term, count: int, cuts: Cuts) -> range:
    """Return the layers of one span in a stack of `count`."""
    assert term.component is not None  # only components have spans
    if isinstance(span, Region):
        return _region(span, term, count, cuts)
    if isinstance(span, Index):
        start, stop = span.layer, span.layer + 1
        if span.layer < 0:
            start, stop = count + start, count + stop
    else:
        start = 0 if span.start is None else span.start + (count if span.start < 0 else 0)
        stop = count if span.stop is None else span.stop + (count if span.stop < 0 else 0)
    if not 0 <= start < stop <= count:
        reason = "holds no layer" if 0 <= stop <= start <= count else "is out of range"
        raise RecipeError(
            f"'{span}' in '{term}' {reason}: {term.component} has {count} layers, 0..{count - 1}; "
            f"ranges exclude their end, so all layers are '0:{count}'.",
            term.place,
        )
    return range(start, stop)


def _region(region: Region, term: Term, count: int, cuts: Cuts) -> range:
    """Return the layers of a region, which must have some."""
    assert term.component is not None  # only components have spans
    try:
        layers = regions(count, cuts.get(term.component))[region]
    except RecipeError as error:
        raise RecipeError(f"'{term}': {error.message}", term.place) from None
    if not layers:
        raise RecipeError(
            f"'{term}' holds no layer: thirds of {count} layers leave {region} empty. Give cuts, "
            f"or number the layers.",
            term.place,
        )
    return layers


def _nothing(term: Term, architecture: Architecture) -> str:
    """Return the error for a term without a match, with the available sites."""
    inside = [
        site
        for site in architecture.sites.values()
        if term.component is None or site.component is term.component
    ]
    if not inside:
        present = dict.fromkeys(site.component.value for site in architecture.sites.values())
        return (
            f"'{term}' matches no tensor: this {architecture.family} model has no "
            f"{term.component}. It has: {', '.join(present)}."
        )
    count = architecture.layers.get(term.component, 0) if term.component else 0
    layers = f"; it has {count} layers, 0..{count - 1}" if count else ""
    text = f"'{term}' matches no tensor of {term.component or 'this model'}{layers}."
    if term.leaf is None:
        modules = dict.fromkeys(site.module.value for site in inside)
        return f"{text} Its modules: {', '.join(modules)}."
    if term.module is None and term.leaf not in {module.value for module in Module}:
        near = did_you_mean(term.leaf, [module.value for module in Module])
        if near.startswith(" Did"):
            return text + near
    same = [site for site in inside if term.module is None or site.module is term.module]
    return text + did_you_mean(term.leaf, _leaf_names(same or inside))


def _leaf_names(sites: Iterable[Site]) -> list[str]:
    """Leaf names without their last part, `weight` or `bias`, each once."""
    return list(dict.fromkeys(site.leaf.rpartition(".")[0] or site.leaf for site in sites))


def _describe_term(term: Term, architecture: Architecture | None, cuts: Cuts) -> str:
    """One term for people."""
    parts = [str(term.component) if term.component else "everything"]
    if term.spans is not None:
        if architecture is not None:
            layers = _resolve(term, architecture, cuts)
            parts[0] += f" {layer_numbers(layers)}"
        else:
            parts[0] += " " + " and ".join(_describe_span(span) for span in term.spans)
    return ", ".join([*parts, *filter(None, (term.module, term.leaf))])


def _describe_span(span: Span) -> str:
    """One span for people, when the number of layers is not known."""
    if isinstance(span, Region):
        return f"{span} layers"
    if isinstance(span, Index):
        return f"layer {span.layer}" if span.layer >= 0 else f"layer {-span.layer} from the end"
    if span.start is None and span.stop is None:
        return "all layers"
    if (span.start or 0) >= 0 and span.stop is not None and span.stop > 0:
        return layer_numbers(range(span.start or 0, max(span.stop, (span.start or 0) + 1)))
    if span.stop is None:
        start = span.start or 0
        return f"layers {start} to the last" if start >= 0 else f"last {-start} layers"
    return f"layers {span}"
