"""From a configuration and tensor names to an architecture."""

from __future__ import annotations

import warnings
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from surgery.arch.check import (
    by_component,
    check_one_to_one,
    count_layers,
    expected_layers,
    layer_examples,
    lookup,
    quoted_names,
)
from surgery.arch.families import FAMILIES
from surgery.arch.rules import RuleBook
from surgery.arch.site import Architecture, Component, Module, Site
from surgery.arch.structural import guess_sites
from surgery.arch.wrapper import fitting_prefix, known_prefix, prefix_hint
from surgery.errors import ArchitectureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from surgery.arch.family import Family
    from surgery.arch.rules import Rule

_BY_TYPE = {kind: family for family in FAMILIES for kind in family.model_types}
_BY_CLASS = {name: family for family in FAMILIES for name in family.architectures}


class ArchitectureWarning(UserWarning):
    """A model's family is not in the table; where its tensors live was guessed."""


def resolve(config: Mapping[str, Any], names: Iterable[str]) -> Architecture:
    """Give every tensor of a checkpoint its site.

    Args:
        config: The parsed `config.json`.
        names: The tensors' names, as the checkpoint or a live model's `state_dict` spells them.

    Returns:
        The architecture. Tensors that a known family's row does not speak of keep their full name
        as leaf of `Component.OTHER`, and `guessed` names them.

    Raises:
        ArchitectureError: If two names are one tensor, layers are missing, the number of layers is
            not the configuration's, or the names show no numbered layers at all.

    Warns:
        ArchitectureWarning: If the family is not in the table; the message says what was guessed.
    """
    tensors = list(dict.fromkeys(names))
    family = find_family(config)
    if family is None:
        prefix = known_prefix(tensors)
        architecture = _by_structure(config, [name.removeprefix(prefix) for name in tensors])
        warnings.warn(" ".join(architecture.guessed), ArchitectureWarning, stacklevel=2)
    else:
        prefix = fitting_prefix(_book(family.rules), tensors)
        architecture = _by_row(family, config, [name.removeprefix(prefix) for name in tensors])
    if not prefix:
        return architecture
    sites = {prefix + name: site for name, site in architecture.sites.items()}
    note = (
        f"Every name begins with {prefix!r}, a training wrapper's prefix, which is ignored. A merge"
        " with this model as base keeps the prefix, and transformers does not load such names."
    )
    return replace(architecture, sites=sites, guessed=(note, *architecture.guessed))


def find_family(config: Mapping[str, Any]) -> Family | None:
    """Return the row for a configuration: by `model_type`, or by `architectures` without one."""
    kind = config.get("model_type")
    if isinstance(kind, str):
        return _BY_TYPE.get(kind)
    classes = config.get("architectures")
    if not isinstance(classes, list):
        return None
    return next((_BY_CLASS[name] for name in classes if name in _BY_CLASS), None)


def _by_structure(config: Mapping[str, Any], names: Sequence[str]) -> Architecture:
    """Resolve a family that is not in the table."""
    sites, layers, guessed = guess_sites(config, names)
    stored = any(site.component is Component.HEAD for site in sites.values())
    tied = not stored and _tied(config, sites, default=True, text_ties=True)
    return Architecture("unknown", sites, layers, tied, (_unknown(config), *guessed))


def _by_row(family: Family, config: Mapping[str, Any], names: Sequence[str]) -> Architecture:
    """Resolve with a row of the table."""
    sites: dict[str, Site] = {}
    uncertain: dict[str, Site] = {}
    book = _book(family.rules)
    limit = expected_layers(config, family.counts[Component.LANGUAGE])
    for name in names:
        result = book.site(name)
        if result is None:
            sites[name] = uncertain[name] = _aside(name)
            continue
        sites[name], rule = result
        if not rule.certain:
            uncertain[name] = sites[name]
        elif family.prediction_layers and limit and _beyond(sites[name], limit[0]):
            sites[name] = _aside(name)
    check_one_to_one(sites)
    layers = _layers(family, config, sites, uncertain)
    tied = _tied(config, sites, default=family.tied, text_ties=family.text_ties)
    return Architecture(family.name, sites, layers, tied, _say_uncertain(family, uncertain))


@cache
def _book(rules: tuple[Rule, ...]) -> RuleBook:
    """Return a row's rules, indexed once."""
    return RuleBook(rules)


def _aside(name: str) -> Site:
    """Return the site of a tensor that belongs to no part."""
    return Site(Component.OTHER, None, Module.OTHER, name)


def _beyond(site: Site, layers: int) -> bool:
    """Check whether a site's layer number continues after the last decoder layer."""
    return site.component is Component.LANGUAGE and site.layer is not None and site.layer >= layers


def _layers(
    family: Family,
    config: Mapping[str, Any],
    sites: Mapping[str, Site],
    uncertain: Mapping[str, Site],
) -> dict[Component, int]:
    """Count each stack and hold it against the configuration.

    A part that is not in the files at all (the vision tower of a text-only copy) has no count. The
    language model must be there.
    """
    present = by_component(sites.items())
    inside_unknown = by_component(uncertain.items())
    layers: dict[Component, int] = {}
    for component, paths in family.counts.items():
        expected = expected_layers(config, paths)
        examples = layer_examples(sites, component)
        if examples:
            layers[component] = count_layers(component, examples, expected)
        elif component is Component.LANGUAGE or (
            component in present and component not in inside_unknown and expected
        ):
            stacks = [
                r.pattern for r in family.rules if r.component is component and "#" in r.pattern
            ]
            raise ArchitectureError(
                f"family {family.name} has no layer of {component} among {len(sites)} tensors"
                f" ({quoted_names(sites)}). Expected names that begin with one of:"
                f" {', '.join(stacks)}.{prefix_hint(_book(family.rules), list(sites))}"
            )
    return layers


def _say_uncertain(family: Family, uncertain: Mapping[str, Site]) -> tuple[str, ...]:
    """Return a sentence for each part with tensors that the row does not know."""
    return tuple(
        f"Family {family.name} has no entry for {quoted_names(names)}:"
        f" treated as part of {component}, outside its layers."
        for component, names in by_component(uncertain.items()).items()
    )


def _unknown(config: Mapping[str, Any]) -> str:
    """Return the first sentence about a guess, and whether a typo may be the cause."""
    kind = config.get("model_type")
    if not isinstance(kind, str):
        return "The configuration names no model_type; parts were guessed from the tensors' names."
    near = get_close_matches(kind, _BY_TYPE, n=1, cutoff=0.8)
    hint = f" (the nearest is {near[0]!r})" if near else ""
    return (
        f"model_type {kind!r} is not in the family table{hint};"
        " parts were guessed from the tensors' names."
    )


def _tied(
    config: Mapping[str, Any], sites: Mapping[str, Site], *, default: bool, text_ties: bool
) -> bool:
    """Check whether the head is the embedding.

    The top level of the configuration decides, then `text_config`. A family's default counts only
    for a checkpoint without a head of its own: some published configurations say nothing, are tied
    by default, and yet come with a head.
    """
    top = config.get("tie_word_embeddings")
    text = lookup(config, "text_config.tie_word_embeddings")
    if isinstance(top, bool):
        return top or (text_ties and text is True)
    if isinstance(text, bool):
        return text
    return default and not any(site.component is Component.HEAD for site in sites.values())
