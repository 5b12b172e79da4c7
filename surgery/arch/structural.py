"""Sites for a family that is not in the table, from its names' shape and its configuration.

The numbered stacks come first: a prefix under which numbers follow one another and each holds a
block of its own. The configuration's numbers of layers and whole words of the names say which is
the language model and which is the vision tower. The rest is placed by words of its name and by
its position relative to the language model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from surgery.arch import counts
from surgery.arch.check import by_component, check_one_to_one, count_layers, quoted_names
from surgery.arch.rules import block, is_norm
from surgery.arch.site import Component, Module, Site
from surgery.arch.stacks import Prefix, Stack, component, find_stacks, speaks, split, words
from surgery.errors import ArchitectureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_EMBEDDINGS = frozenset({"embed", "embedder", "embedding", "embeddings", "emb"}) | {
    "embedders",
    "shared",
    "wpe",
    "wte",
}
# Words of embeddings that are not for text tokens.
_NOT_OF_TEXT = frozenset({"rotary", "rope", "lerope", "time", "timestep", "generation"})
_HEADS = frozenset({"lm_head", "embed_out", "output", "unembed", "cls", "head", "lm_loss"}) | {
    "output_layer",
    "output_projection",
    "proj_out",
}


@dataclass(frozen=True)
class _Layout:
    """The role of each stack of layers.

    Attributes:
        stacks: The stack whose numbers are a component's layers.
        branches: What else stands under a prefix that leaves the language model's.
        norm: The segments of the final norm, without the parameter's name.
    """

    stacks: Mapping[Component, Stack]
    branches: Mapping[Prefix, Component]
    norm: Prefix | None

    @property
    def decoder(self) -> Prefix:
        """Return the language stack's prefix."""
        stack = self.stacks.get(Component.LANGUAGE)
        return stack.prefix if stack else ()


def guess_sites(
    config: Mapping[str, Any], names: Sequence[str]
) -> tuple[dict[str, Site], dict[Component, int], tuple[str, ...]]:
    """Place every tensor by the structure of its name.

    Args:
        config: The parsed `config.json`; its numbers of layers decide between stacks.
        names: The tensors' names.

    Returns:
        Sites by name, the number of layers of each stack, and a sentence for each guess.

    Raises:
        ArchitectureError: If there is no numbered stack, one has numbers missing, or none has the
            number of layers that the configuration states.
    """
    # Two checkpoints of a model may list its tensors in another order.
    stacks = sorted(find_stacks(names), key=lambda stack: (-stack.size, stack.prefix))
    layout = _layout(config, names, stacks)
    if not layout.stacks:
        raise ArchitectureError(
            f"no numbered stack of layers among {len(names)} tensors ({quoted_names(names)}), and"
            f" model_type {config.get('model_type')!r} is not in the family table. Expected names"
            " such as 'model.layers.0.mlp.up_proj.weight'."
        )
    limits = {Component.LANGUAGE: counts.language_count(config)}
    sites = _distinct({name: _site(name, layout, limits) for name in names})
    check_one_to_one(sites)
    layers = {
        component: count_layers(component, _within(stack, limits.get(component)), None)
        for component, stack in layout.stacks.items()
    }
    return sites, layers, _sentences(sites, stacks, layout, layers)


def _within(stack: Stack, count: counts.Count | None) -> dict[int, str]:
    """Return the stack's numbers, without prediction layers after the last one."""
    limit = count.layers if count else stack.count
    return {number: name for number, name in stack.examples.items() if number < limit}


def _layout(config: Mapping[str, Any], names: Sequence[str], stacks: Sequence[Stack]) -> _Layout:
    """Choose the language stack, then the vision stack, then a component for the rest."""
    roles: dict[Component, Stack] = {}
    plain = [stack for stack in stacks if not stack.staged]
    towers = counts.tower_names(config)
    speaking = [
        stack
        for stack in plain
        if stack.component is Component.LANGUAGE and not towers & set(stack.prefix[:2])
    ]
    if speaking:
        count = counts.language_count(config)
        roles[Component.LANGUAGE] = _best(Component.LANGUAGE, speaking, [count] if count else [])
    language = roles.get(Component.LANGUAGE)
    decoder = language.prefix if language else ()
    tower_counts = list(counts.vision_counts(config))
    seeing = [
        stack
        for stack in plain
        if stack.component is Component.VISION
        or (stack.component is Component.LANGUAGE and towers & set(stack.prefix[:2]))
    ]
    unused = [stack for stack in plain if stack not in (*seeing, language)]
    seeing += _by_count(unused, seeing, tower_counts)
    stages = [stack for stack in stacks if stack.staged]
    candidates = [s for s in seeing if not _in_stages(s, stages, tower_counts, decoder)]
    if candidates:
        roles[Component.VISION] = _best(Component.VISION, candidates, tower_counts)
    seeing += [stack for stack in stages if towers & set(stack.prefix[:2])]
    claims = [(_branch(s.prefix, decoder), _claim(s, seeing, decoder)) for s in reversed(stacks)]
    branches = {branch: claim for branch, claim in claims if claim is not None}
    return _Layout(roles, branches, _final_norm(names, decoder))


def _in_stages(
    stack: Stack, stages: Sequence[Stack], tower_counts: Sequence[counts.Count], decoder: Prefix
) -> bool:
    """Check that a stack is a lesser part of a tower of stages, such as its stem."""
    branch = _branch(stack.prefix, decoder)
    return not any(count.fits(stack.count) for count in tower_counts) and any(
        _branch(other.prefix, decoder) == branch and other.size > stack.size for other in stages
    )


def _best(component: Component, stacks: Sequence[Stack], expected: Sequence[counts.Count]) -> Stack:
    """Return the stack that fits the configuration, is named as one, and holds most tensors.

    Raises:
        ArchitectureError: If the configuration states numbers and no stack has one of them.
    """
    fitting = [s for s in stacks if any(count.fits(s.count) for count in expected)]
    best = min(fitting or stacks, key=lambda s: (s.beside(), *_manner(s, component), -s.size))
    if expected and not fitting:
        keys = " and ".join(f"{count.key} is {count.layers}" for count in expected)
        text = ", ".join(f"{stack} with {stack.count}" for stack in stacks[:4])
        raise ArchitectureError(
            f"no stack of {component} has the number of layers that the configuration states"
            f" ({keys}): the names hold {text} layers. Expected one with that number: a shard is"
            " missing, the configuration belongs to another checkpoint, or the family is one that"
            " cannot be placed by the shape of its names."
        )
    return best


def _manner(stack: Stack, component: Component) -> tuple[bool, bool]:
    """Return what sorts a named language model first, and a decoder before an encoder."""
    if component is not Component.LANGUAGE:
        return False, False
    encodes = "encoder" in words(stack.prefix) and "decoder" not in words(stack.prefix)
    return not speaks(stack.prefix), encodes


def _by_count(
    stacks: Sequence[Stack], seeing: Sequence[Stack], tower_counts: Sequence[counts.Count]
) -> list[Stack]:
    """Return stacks without a telling name whose number of layers is a tower's that none has."""
    missing = Counter(count.layers for count in tower_counts)
    missing.subtract(stack.count for stack in seeing)
    towers = []
    for stack in stacks:
        free = stack.component is Component.LANGUAGE and not stack.beside()
        if free and missing[stack.count] > 0:
            missing[stack.count] -= 1
            towers.append(stack)
    return towers


def _branch(prefix: Prefix, decoder: Prefix) -> Prefix:
    """Return a prefix up to where it leaves the decoder's."""
    length = _common_length(prefix, decoder)
    return prefix[: length + 1]


def _common_length(prefix: Prefix, decoder: Prefix) -> int:
    """Count the segments that two prefixes have in common at their front."""
    pairs = zip(prefix, decoder, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(prefix), len(decoder)))


def _claim(stack: Stack, seeing: Sequence[Stack], decoder: Prefix) -> Component | None:
    """Return what a stack makes of its branch; None where the words of each name decide."""
    if stack in seeing and stack.component is not Component.VISION:
        return Component.VISION
    if stack.component is not Component.LANGUAGE or stack.prefix == decoder:
        return None
    if "cross" in words(stack.prefix):  # gated cross-attention to what a tower sees
        return Component.PROJECTOR
    length = _common_length(stack.prefix, decoder)
    inside = speaks(decoder[:length]) or (
        "encoder" in words(stack.prefix[length:]) and "decoder" in words(decoder[length:])
    )
    return Component.LANGUAGE if inside else Component.OTHER


def _final_norm(names: Sequence[str], decoder: Prefix) -> Prefix | None:
    """Return the norm that stands nearest to the decoder's layers, if it is a single one."""
    paths = dict.fromkeys(tuple(name.split("."))[:-1] for name in names)
    depth = [
        (len(path), path)
        for path in paths
        if path and path[:-1] == decoder[: len(path) - 1] and is_norm(path[-1])
        and component(path) is Component.LANGUAGE
    ]  # fmt: skip
    nearest = [path for length, path in depth if length == max(depth)[0]]
    final = [path for path in nearest if not words(path[-1:]) & (_EMBEDDINGS | {"projection"})]
    return final[0] if len(final) == 1 else nearest[0] if len(nearest) == 1 else None


def _site(name: str, layout: _Layout, limits: Mapping[Component, counts.Count | None]) -> Site:
    """Return one tensor's site."""
    segments = tuple(name.split("."))
    parts = split(name)
    if parts is not None:
        prefix, number, rest = parts
        for part, stack in layout.stacks.items():
            limit = limits.get(part)
            if stack.prefix == prefix and (limit is None or number < limit.layers):
                return Site(part, number, *block(rest))
            if stack.prefix == prefix:
                return Site(Component.OTHER, None, Module.OTHER, name)
    path = parts[0] if parts is not None else segments
    claim = _branch_component(segments, layout.branches)
    category = component(path)
    if category is not Component.LANGUAGE:
        return Site(category, None, _module(segments), name)
    if claim is not None and claim is not Component.LANGUAGE:
        return Site(claim, None, _module(segments), name)
    return _beside(segments, layout, claim)


def _branch_component(segments: Prefix, branches: Mapping[Prefix, Component]) -> Component | None:
    """Return what the longest branch that holds a name is."""
    lengths = range(len(segments), 0, -1)
    return next((branches[segments[:n]] for n in lengths if segments[:n] in branches), None)


def _beside(segments: Prefix, layout: _Layout, claim: Component | None) -> Site:
    """Return the site of a tensor next to the language model's layers, or None."""
    decoder = layout.decoder
    position = _common_length(segments[:-1], decoder)
    lead, tail = segments[position : position + 1], ".".join(segments[position:])
    if claim is Component.LANGUAGE:  # an encoder of text
        lead, tail = segments[position + 1 :], ".".join(segments)
    parts = words(lead)
    if _HEADS.intersection(lead[:1]):
        return Site(Component.HEAD, None, Module.OTHER, tail)
    if segments[:-1] == layout.norm:
        return Site(Component.NORM, None, Module.NORM, tail)
    if parts & _EMBEDDINGS and not parts & _NOT_OF_TEXT:
        norm = any(map(is_norm, segments[position:]))
        return Site(Component.EMBEDDING, None, Module.NORM if norm else Module.EMBEDDING, tail)
    if claim is Component.LANGUAGE or speaks(decoder[:position]) or speaks(segments[:-1]):
        return Site(Component.LANGUAGE, None, _module(segments), ".".join(segments))
    return Site(Component.OTHER, None, Module.OTHER, ".".join(segments))


def _distinct(sites: Mapping[str, Site]) -> dict[str, Site]:
    """Give tensors outside the stacks that share a site their whole names as leaves."""
    often = Counter(sites.values())
    return {
        name: site if often[site] == 1 or site.layer is not None else replace(site, leaf=name)
        for name, site in sites.items()
    }


def _module(segments: Prefix) -> Module:
    """Return the kind of block of a tensor outside the stacks."""
    if any(map(is_norm, segments)):
        return Module.NORM
    embeds = words(segments) & {"embed", "embedding", "embeddings", "patch"}
    return Module.EMBEDDING if embeds else Module.OTHER


def _sentences(
    sites: Mapping[str, Site],
    stacks: Sequence[Stack],
    layout: _Layout,
    layers: Mapping[Component, int],
) -> tuple[str, ...]:
    """Return the sentences about guesses."""
    lines = [
        f"{stack} taken as the {layers[component]} layers of {component}."
        for component, stack in layout.stacks.items()
    ]
    unused = [str(stack) for stack in stacks if stack not in layout.stacks.values()]
    if unused:
        lines.append(f"Other numbered stacks, not taken as layers: {', '.join(unused)}.")
    outside = ((name, site) for name, site in sites.items() if site.layer is None)
    for part, names in by_component(outside).items():
        lines.append(f"Taken as {part}: {quoted_names(names)}.")
    return tuple(lines)
