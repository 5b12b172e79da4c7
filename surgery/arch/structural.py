"""Sites for a family that is not in the table, from nothing but the shape of its names.

The numbered stacks are found first: a prefix under which numbers follow one another and each holds
a block of its own. Everything else is placed by whole words of its name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surgery.arch.check import by_component, check_one_to_one, count_layers, lookup, shown
from surgery.arch.rules import block, is_norm, is_number
from surgery.arch.site import Component, Module, Site
from surgery.errors import ArchitectureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Prefix = tuple[str, ...]

# Whole words, as underscores and dots separate them.
_PROJECTOR = frozenset({"projector", "merger", "connector", "resampler", "aligner", "adapter"})
_VISION = frozenset({"visual", "vision", "vit", "image", "img", "clip", "siglip"})
_SOUND = frozenset({"audio", "speech"})
_EMBEDDINGS = frozenset(
    {"embed_tokens", "wte", "tok_embeddings", "word_embeddings", "embed_in", "token_embedding"}
)
_HEADS = frozenset({"lm_head", "embed_out", "output"})
_COUNT_KEYS = ("num_hidden_layers", "depth", "n_layer", "n_layers", "num_layers")
_COUNT_HOMES = {
    Component.LANGUAGE: ("text_config.", "llm_config.", ""),
    Component.VISION: ("vision_config.", "visual."),
}


@dataclass(frozen=True)
class _Stack:
    """A prefix with the numbers found under it.

    Attributes:
        prefix: The segments before the number.
        component: What its words make it.
        examples: For each number, a tensor that carries it.
        size: How many tensors it holds.
    """

    prefix: Prefix
    component: Component
    examples: Mapping[int, str]
    size: int

    def __str__(self) -> str:
        return ".".join((*self.prefix, "#"))


def guess_sites(
    config: Mapping[str, Any], names: Sequence[str]
) -> tuple[dict[str, Site], dict[Component, int], tuple[str, ...]]:
    """Place every tensor by the structure of its name.

    Args:
        config: The parsed `config.json`; only used to compare the number of layers.
        names: The tensors' names.

    Returns:
        Sites by name, the number of layers of each stack, and a sentence for each guess.

    Raises:
        ArchitectureError: If there is no numbered stack, or one with numbers missing.
    """
    stacks = _stacks(names)
    chosen = _largest(stacks)
    if not chosen:
        raise ArchitectureError(
            f"no numbered stack of layers among {len(names)} tensors ({shown(names)}), and"
            f" model_type {config.get('model_type')!r} is not in the family table. Expected names"
            " such as 'model.layers.0.mlp.up_proj.weight'."
        )
    language = chosen.get(Component.LANGUAGE)
    parent = language.prefix[:-1] if language else None
    by_prefix = {stack.prefix: stack for stack in chosen.values()}
    sites = {name: _site(name, by_prefix, parent) for name in names}
    check_one_to_one(sites)
    layers = {c: count_layers(c, stack.examples, None) for c, stack in chosen.items()}
    return sites, layers, _sentences(config, sites, stacks, chosen, layers)


def _split(name: str) -> tuple[Prefix, int, Prefix] | None:
    """Prefix, number and rest of a name at its first number; None without one."""
    segments = tuple(name.split("."))
    for i, segment in enumerate(segments):
        if i and is_number(segment) and i + 1 < len(segments):
            return segments[:i], int(segment), segments[i + 1 :]
    return None


def _words(segments: Prefix) -> frozenset[str]:
    """The whole words of some segments."""
    return frozenset(word for segment in segments for word in segment.split("_"))


def _component(segments: Prefix) -> Component:
    """What the words of a prefix make of it; language is what nothing else claims."""
    words = _words(segments)
    if words & _PROJECTOR:
        return Component.PROJECTOR
    if words & _VISION:
        return Component.VISION
    return Component.OTHER if words & _SOUND else Component.LANGUAGE


def _stacks(names: Sequence[str]) -> list[_Stack]:
    """Every prefix that looks like a stack of layers, in order of appearance.

    The numbers of a Sequential hold one parameter each (`mlp.0.weight`); a layer holds several
    blocks with parameters inside them (`3.mlp.up_proj.weight`).
    """
    found: defaultdict[Prefix, dict[int, list[str]]] = defaultdict(dict)
    deep: Counter[Prefix] = Counter()
    for name in names:
        split = _split(name)
        if split is not None:
            prefix, number, rest = split
            found[prefix].setdefault(number, []).append(name)
            deep[prefix] += len(rest) > 1
    return [
        _Stack(
            prefix,
            _component(prefix),
            {number: members[0] for number, members in numbers.items()},
            sum(map(len, numbers.values())),
        )
        for prefix, numbers in found.items()
        if deep[prefix] >= 2 * len(numbers) and len(numbers) > 1
    ]


def _largest(stacks: Sequence[_Stack]) -> dict[Component, _Stack]:
    """The language stack and the vision stack that hold most tensors."""
    chosen: dict[Component, _Stack] = {}
    for stack in sorted(stacks, key=lambda stack: -stack.size):
        if stack.component in (Component.LANGUAGE, Component.VISION):
            chosen.setdefault(stack.component, stack)
    return chosen


def _site(name: str, stacks: Mapping[Prefix, _Stack], parent: Prefix | None) -> Site:
    """One tensor's site, given the chosen stacks and what the language stack stands in."""
    split = _split(name)
    if split is not None and split[0] in stacks:
        prefix, number, rest = split
        module, leaf = block(rest)
        return Site(stacks[prefix].component, number, module, leaf)
    segments = tuple(name.split("."))
    component = _component(segments)
    if component is not Component.LANGUAGE:
        return Site(component, None, _module(segments), name)
    owner, tail = segments[-2:-1], ".".join(segments[-2:])
    if set(owner) & _EMBEDDINGS:
        return Site(Component.EMBEDDING, None, Module.EMBEDDING, tail)
    if set(owner) & _HEADS:
        return Site(Component.HEAD, None, Module.OTHER, tail)
    if owner and is_norm(owner[0]) and segments[:-2] == parent:
        return Site(Component.NORM, None, Module.NORM, tail)
    return Site(Component.OTHER, None, Module.OTHER, name)


def _module(segments: Prefix) -> Module:
    """The kind of block of a tensor outside the stacks."""
    if any(map(is_norm, segments)):
        return Module.NORM
    embeds = _words(segments) & {"embed", "embedding", "embeddings", "patch"}
    return Module.EMBEDDING if embeds else Module.OTHER


def _sentences(
    config: Mapping[str, Any],
    sites: Mapping[str, Site],
    stacks: Sequence[_Stack],
    chosen: Mapping[Component, _Stack],
    layers: Mapping[Component, int],
) -> tuple[str, ...]:
    """Say what was guessed."""
    said = []
    for component, stack in chosen.items():
        said.append(f"{stack} taken as the {layers[component]} layers of {component}.")
        said += _disagreement(config, component, layers[component])
    spare = [str(stack) for stack in stacks if stack not in chosen.values()]
    if spare:
        said.append(f"Other numbered stacks, not taken as layers: {', '.join(spare)}.")
    outside = ((name, site) for name, site in sites.items() if site.layer is None)
    for component, names in by_component(outside).items():
        said.append(f"Taken as {component}: {shown(names)}.")
    return tuple(said)


def _disagreement(config: Mapping[str, Any], component: Component, found: int) -> list[str]:
    """A sentence if the configuration states another number of layers than was found."""
    for home in _COUNT_HOMES[component]:
        for key in _COUNT_KEYS:
            stated = lookup(config, home + key)
            if isinstance(stated, int):
                differs = (
                    f"{home}{key} of the configuration is {stated}, though {found} were found."
                )
                return [] if stated == found else [differs]
    return []
