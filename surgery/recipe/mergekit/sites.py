"""Sets of sites to selectors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from surgery.arch.rules import is_number
from surgery.errors import RecipeError
from surgery.recipe.select import Index, Range, Selector, Term
from surgery.text import layer_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from surgery.arch import Architecture, Component, Module, Site
    from surgery.recipe.select import Span


def selector_for(sites: Set[Site], architecture: Architecture) -> Selector:
    """Return a selector that picks exactly these sites.

    Args:
        sites: What to pick; at least one.
        architecture: All sites there are.

    Raises:
        RecipeError: If the language has no words for the set.
    """
    everything = frozenset(architecture.sites.values())
    if sites == everything:
        return Selector((Term(None),))
    terms: list[Term] = []
    for component in dict.fromkeys(site.component for site in architecture.sites.values()):
        whole = frozenset(site for site in everything if site.component is component)
        selected = whole & sites
        if selected:
            count = architecture.layers.get(component, 0)
            terms += _component_terms(component, selected, whole, count)
    return _check(Selector(tuple(terms)), sites, architecture)


def by_leaf(sites: Set[Site], architecture: Architecture) -> Selector:
    """Return a selector of these sites that names each leaf, without `weight` and `bias`.

    A model of another family, whose blocks have other leaves, refuses it.

    Raises:
        RecipeError: If the language has no words for the set.
    """
    places: dict[tuple[Component, Module, str], list[int | None]] = {}
    for site in _in_order(sites, architecture):
        places.setdefault((site.component, site.module, _head(site)), []).append(site.layer)
    terms = []
    for (component, module, leaf), numbers in places.items():
        layers = sorted({layer for layer in numbers if layer is not None})
        spans = _spans(layers, architecture.layers.get(component, 0)) if layers else None
        terms.append(Term(component, spans, module, leaf))
    return _check(Selector(tuple(terms)), sites, architecture)


def by_leaf_anywhere(sites: Set[Site], architecture: Architecture) -> Selector:
    """Return a selector of these sites that names leaves in whichever component has them.

    Raises:
        RecipeError: If it would pick other sites too.
    """
    members = _in_order(sites, architecture)
    leaves = dict.fromkeys((site.module, _head(site)) for site in members)
    terms = tuple(Term(None, None, module, leaf) for module, leaf in leaves)
    return _check(Selector(terms), sites, architecture)


def with_leaves(sites: Set[Site], architecture: Architecture) -> Selector:
    """Return the selector of whole modules together with that of their leaves.

    It picks what the modules hold, of which the other family must have all that this one has.

    Raises:
        RecipeError: If the language has no words for the set.
    """
    both = (selector_for(sites, architecture), by_leaf(sites, architecture))
    return Selector(tuple(dict.fromkeys(term for item in both for term in item.terms)))


def all_but(selectors: Iterable[Selector]) -> Selector:
    """Return a selector of everything that none of these selectors picks."""
    terms = dict.fromkeys(term for selector in selectors for term in selector.terms)
    return Selector((Term(None), *(replace(term, exclude=True) for term in terms)))


def _in_order(sites: Set[Site], architecture: Architecture) -> list[Site]:
    return [site for site in architecture.sites.values() if site in sites]


def _head(site: Site) -> str:
    """Return a leaf without its last part where that is `weight` or `bias`."""
    stem, _, end = site.leaf.rpartition(".")
    return stem if stem and end in ("weight", "bias") else site.leaf


def _check(selector: Selector, sites: Set[Site], architecture: Architecture) -> Selector:
    if frozenset(selector.match(architecture)) != sites:
        raise RecipeError(
            f"no selector picks exactly {len(sites)} tensors; the nearest is '{selector}'."
        )
    return selector


def _component_terms(
    component: Component, selected: Set[Site], whole: Set[Site], count: int
) -> list[Term]:
    """Terms for one component's share."""
    if selected == whole:
        return [Term(component)]
    terms = []
    layers: dict[frozenset[tuple[Module, str]], list[int]] = {}
    for layer in sorted({site.layer for site in selected if site.layer is not None}):
        layers.setdefault(_inside(selected, layer), []).append(layer)
    for inside, numbers in layers.items():
        spans = _spans(numbers, count)
        full = frozenset.intersection(*(_inside(whole, number) for number in numbers))
        terms += [Term(component, spans, module, leaf) for module, leaf in _blocks(inside, full)]
    loose = _inside(selected, None)
    terms += [Term(component, None, module, leaf) for module, leaf in sorted(loose)]
    return terms


def _inside(sites: Iterable[Site], layer: int | None) -> frozenset[tuple[Module, str]]:
    """Return the modules and leaves of a layer, without its number."""
    return frozenset((site.module, site.leaf) for site in sites if site.layer == layer)


def _blocks(
    inside: frozenset[tuple[Module, str]], full: frozenset[tuple[Module, str]]
) -> list[tuple[Module | None, str | None]]:
    """Whole layers, whole modules, or single tensors."""
    if inside == full:
        return [(None, None)]
    blocks: list[tuple[Module | None, str | None]] = []
    for module in sorted({module for module, _ in inside}):
        leaves = sorted(leaf for m, leaf in inside if m is module)
        if leaves == sorted(leaf for m, leaf in full if m is module):
            blocks.append((module, None))
        else:
            rest = sorted(leaf for m, leaf in full if m is module)
            blocks += [(module, leaf) for leaf in _without_numbers(leaves, rest)]
    return blocks


def _without_numbers(leaves: list[str], every: list[str]) -> list[str]:
    """Return leaves, with `experts` for all of `experts.0.w1.weight` and its like if complete."""
    stems = {leaf: leaf.split(".")[0] for leaf in every if is_number((*leaf.split("."), "")[1])}
    missing = {stem for leaf, stem in stems.items() if leaf not in leaves}
    return list(
        dict.fromkeys(
            stems[leaf] if leaf in stems and stems[leaf] not in missing else leaf for leaf in leaves
        )
    )


def _spans(numbers: list[int], count: int) -> tuple[Span, ...]:
    """Return runs of layers, open at the ends of the stack, so that they read well."""
    spans: list[Span] = []
    for start, stop in layer_runs(numbers):
        if stop - start == 1 and stop != count:
            spans.append(Index(start))
        elif (start, stop) == (0, count):
            spans.append(Range())
        else:
            spans.append(Range(start, None if stop == count else stop))
    return tuple(spans)
