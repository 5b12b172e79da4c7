"""Sets of sites to selectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.errors import RecipeError
from surgery.recipe.select import Index, Range, Selector, Term

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from surgery.arch import Architecture, Component, Module, Site
    from surgery.recipe.select import Span


def selector_for(sites: Set[Site], architecture: Architecture) -> Selector:
    """A selector that picks exactly these sites.

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
        wanted = whole & sites
        if wanted:
            count = architecture.layers.get(component, 0)
            terms += _component_terms(component, wanted, whole, count)
    selector = Selector(tuple(terms))
    if frozenset(selector.match(architecture)) != sites:
        raise RecipeError(f"no selector picks exactly {len(sites)} tensors; '{selector}' is near.")
    return selector


def _component_terms(
    component: Component, wanted: Set[Site], whole: Set[Site], count: int
) -> list[Term]:
    """Terms for one component's share."""
    if wanted == whole:
        return [Term(component)]
    terms = []
    layers: dict[frozenset[tuple[Module, str]], list[int]] = {}
    for layer in sorted({site.layer for site in wanted if site.layer is not None}):
        layers.setdefault(_inside(wanted, layer), []).append(layer)
    for inside, numbers in layers.items():
        spans = _spans(numbers, count)
        full = frozenset.intersection(*(_inside(whole, number) for number in numbers))
        terms += [Term(component, spans, module, leaf) for module, leaf in _blocks(inside, full)]
    loose = _inside(wanted, None)
    terms += [Term(component, None, module, leaf) for module, leaf in sorted(loose)]
    return terms


def _inside(sites: Iterable[Site], layer: int | None) -> frozenset[tuple[Module, str]]:
    """What a layer holds, without its number."""
    return frozenset((site.module, site.leaf) for site in sites if site.layer == layer)


def _blocks(
    inside: frozenset[tuple[Module, str]], full: frozenset[tuple[Module, str]]
) -> list[tuple[Module | None, str | None]]:
    """Whole layers, whole modules, or single tensors."""
    if inside == full:
        return [(None, None)]
    blocks: list[tuple[Module | None, str | None]] = []
    for module in sorted({module for module, _ in inside}):
        mine = sorted(leaf for m, leaf in inside if m is module)
        if mine == sorted(leaf for m, leaf in full if m is module):
            blocks.append((module, None))
        else:
            blocks += [(module, leaf) for leaf in mine]
    return blocks


def _spans(numbers: list[int], count: int) -> tuple[Span, ...]:
    """Runs of layers; open at the ends of the stack, so that they read well."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([number, number + 1])
    spans: list[Span] = []
    for start, stop in runs:
        if stop - start == 1 and stop != count:
            spans.append(Index(start))
        elif (start, stop) == (0, count):
            spans.append(Range())
        else:
            spans.append(Range(start, None if stop == count else stop))
    return tuple(spans)
