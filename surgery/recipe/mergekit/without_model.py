"""The meaning of a mergekit file without its models, where all families agree.

Filters are pieces of tensor names, and families name their tensors differently. So the file is read
on a stand-in, a Qwen2 (for files that may be about images, also a Qwen2.5-VL), and the recipe is
held against what mergekit would do with every other family that it knows: where the recipe would
make another model, the file is refused. A family whose layers lack what the recipe selects is no
such case, because the planner refuses there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from surgery.arch import FAMILIES, Component
from surgery.errors import RecipeError
from surgery.recipe.mergekit.reader import WAY_OUT, Reader
from surgery.recipe.mergekit.sites import (
    all_but,
    by_leaf,
    by_leaf_anywhere,
    selector_for,
    with_leaves,
)
from surgery.recipe.mergekit.steps import Between, ModelCopy
from surgery.recipe.mergekit.tables import module_names, stand_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from surgery.arch import Architecture, Site
    from surgery.errors import Place
    from surgery.recipe.mergekit.layout import MergeConfiguration
    from surgery.recipe.mergekit.steps import Action
    from surgery.recipe.nodes import Node
    from surgery.recipe.recipe import Recipe
    from surgery.recipe.select import Selector

Steps: TypeAlias = "list[tuple[Action, Selector]]"
Effect: TypeAlias = "tuple[Action, frozenset[tuple[Component, int | None]]]"
Meaning: TypeAlias = "tuple[Architecture, Mapping[Site, Effect] | None]"

# More layers than any model has: a range that a stand-in of this size closes is out of range
# everywhere, and so refused, instead of meaning less than the file meant.
_MANY = 130
# Enough if no filter contains a number.
_FEW = 4
_STACKS = {None: Component.LANGUAGE, "default": Component.LANGUAGE,
           "text_decoder": Component.LANGUAGE, "vision_tower": Component.VISION}  # fmt: skip
# In Llama 4, the names of vision layers contain those of language layers, so a filter of a single
# layer always matches both.
_EXCLUDED = frozenset({"llama4"})


def read_without_model(layout: MergeConfiguration) -> Recipe:
    """Convert a mergekit file to a recipe that is right for any family of its models.

    Raises:
        RecipeError: If it says what recipes cannot, or what depends on the models' family.
    """
    families = _families(layout)
    first = "qwen2" if "qwen2" in families else "qwen2_5_vl"
    marks = filters_of(layout)
    reader = _reader(layout, first)
    groups = reader.groups
    if not marks and len(groups) == 1:
        ((action, sites),) = groups
        return reader.recipe([(action, selector_for(sites, reader.architecture))])
    readers = {name: _reader(layout, name) for name in families}
    fitting = (n for n in (first, "qwen2_5_vl") if n in readers and _fits(readers[n], marks))
    name = next(fitting, None)
    if name is None:
        raise _idle(layout, first, marks)
    steps = _common_steps(readers[name], list(readers.values()))
    if steps is not None:
        return readers[name].recipe(steps, _note(steps, readers))
    raise RecipeError(_ambiguous(marks, readers), next(iter(marks.values()), layout.root.place))


def filters_of(layout: MergeConfiguration) -> dict[str, Place]:
    """Return the filters of a file with the place of each."""
    return {mark: place for mark, place in _filters(layout.root) if mark != "*"}


def _filters(node: Node) -> Iterator[tuple[str, Place]]:
    if isinstance(node.value, list):
        for item in node.value:
            yield from _filters(item)
    elif isinstance(node.value, dict):
        for key, item in node.value.items():
            if key == "filter" and isinstance(item.value, str):
                yield item.value, item.place
            yield from _filters(item)


def _families(layout: MergeConfiguration) -> list[str]:
    """Return the families that mergekit knows whose modules the file can be about."""
    names = {name: module_names(name) for name in (family.name for family in FAMILIES)}
    tables = {name: modules for name, modules in names.items() if modules and name not in _EXCLUDED}
    if layout.stacked:
        return [name for name, modules in tables.items() if modules == ("default",)]
    required = [name for name in layout.modules if name is not None]
    fitting = [name for name, modules in tables.items() if set(required) <= set(modules)]
    if required and "qwen2" not in fitting and "qwen2_5_vl" not in fitting:
        return ["qwen2", "qwen2_5_vl"]  # the reader names the unknown module
    return fitting


def _reader(layout: MergeConfiguration, family: str) -> Reader:
    """Return a reader on a stand-in of the size that the file's slices have."""
    some = any(digit in mark for mark in filters_of(layout) for digit in "0123456789")
    layers = dict.fromkeys((Component.LANGUAGE, Component.VISION), _MANY if some else _FEW)
    counted = set()
    for name, module in layout.modules.items():
        stops = [source.stop for s in module.slices for source in s.sources]
        if name in _STACKS and None not in stops:
            layers[_STACKS[name]] = max(stop for stop in stops if stop is not None) or 1
            counted.add(_STACKS[name])
    return Reader(layout, stand_in(family, layers), counted)


def _fits(reader: Reader, marks: Iterable[str]) -> bool:
    """Check that each filter is a piece of some tensor's name in the reader's model."""
    names = reader.tensor_names()
    return all(any(mark in name for name in names) for mark in marks)


def _common_steps(reader: Reader, other_readers: Sequence[Reader]) -> Steps | None:
    """Return steps that mean in every family what the file means there, or are refused there.

    Of several ways to say them, the one that most families accept.
    """
    groups, rest = reader.groups, ModelCopy(reader.base)
    meanings = [(other.architecture, _meaning(other)) for other in other_readers]
    selectors = [_selector(action, sites, reader, meanings) for action, sites in groups]
    steps = [
        (action, selector)
        for (action, _), selector in zip(groups, selectors, strict=True)
        if selector is not None
    ]
    if len(steps) < len(groups):
        return None
    # Tensors that stay the base's need no step; then no model can refuse it.
    ways = [[step for step in steps if step[0] != rest]]
    for index, (action, _) in enumerate(steps):
        if action != rest and not _is_spread(action):
            others_than = [
                selector for position, (_, selector) in enumerate(steps) if position != index
            ]
            way = [*steps[:index], (action, all_but(others_than)), *steps[index + 1 :]]
            ways.append([step for step in way if step[0] != rest])
    agreeing = [
        way for way in ways if not any(_outcome(way, *meaning) is False for meaning in meanings)
    ]
    return min(agreeing, key=lambda way: _refusals(way, meanings), default=None)


def _selector(
    action: Action, sites: frozenset[Site], reader: Reader, meanings: Sequence[Meaning]
) -> Selector | None:
    """Return a selector of some sites that is wrong for fewest families and right for most."""
    candidates: list[tuple[int, int, Selector]] = []
    for render in (selector_for, by_leaf, by_leaf_anywhere, with_leaves):
        try:
            steps = [(action, render(sites, reader.architecture))]
        except RecipeError:
            continue
        wrong = sum(_outcome(steps, *meaning, action) is False for meaning in meanings)
        candidates.append((wrong, _refusals(steps, meanings), steps[0][1]))
    return min(candidates, key=lambda meaning: meaning[:2])[2] if candidates else None


def _meaning(reader: Reader) -> dict[Site, Effect] | None:
    """Return what mergekit does at every site that it changes, None where that is unclear."""
    effects: dict[Site, Effect] = {}
    try:
        for action, sites in reader.groups:
            if action != ModelCopy(reader.base):
                effects |= dict.fromkeys(sites, _effect(action, sites))
    except RecipeError:
        return None
    return effects


def _effect(action: Action, sites: Iterable[Site]) -> Effect:
    """Return an action with the layers over which it is spread."""
    layers = {(site.component, site.layer) for site in sites} if _is_spread(action) else ()
    return action, frozenset(layers)


def _is_spread(action: Action) -> bool:
    return isinstance(action, Between) and len(action.t) > 1


def _outcome(
    steps: Steps,
    architecture: Architecture,
    meaning: Mapping[Site, Effect] | None,
    only: Action | None = None,
) -> bool | None:
    """Check that steps do what is meant; None where a model of this architecture refuses them.

    Args:
        steps: What to do, where.
        architecture: The model's sites.
        meaning: What mergekit does at every site, or None.
        only: The one action to compare; all of them when None.
    """
    effects: dict[Site, Effect] = {}
    for action, selector in steps:
        try:
            sites = selector.match(architecture)
        except RecipeError:
            return None
        effects |= dict.fromkeys(sites, _effect(action, sites))
    if meaning is None:
        return False
    return effects == {
        site: effect for site, effect in meaning.items() if only in (None, effect[0])
    }


def _refusals(steps: Steps, meanings: Sequence[Meaning]) -> int:
    return sum(_outcome(steps, *meaning) is None for meaning in meanings)


def _note(steps: Steps, readers: Mapping[str, Reader]) -> str:
    """Say for which families the steps hold."""
    holding = [
        name
        for name, reader in readers.items()
        if _outcome(steps, reader.architecture, _meaning(reader))
    ]
    return (
        f" Translated without its models; it holds for {', '.join(holding)}. Models of other "
        f"families: translate again with --model."
    )


def _idle(layout: MergeConfiguration, family: str, marks: Mapping[str, Place]) -> RecipeError:
    """Return the error for filters that fit no name of the stand-in."""
    names = _reader(layout, family).tensor_names()
    idle = [mark for mark in marks if not any(mark in name for name in names)] or list(marks)
    return RecipeError(
        f"{_quote(idle)} cannot be resolved: filters are pieces of tensor names, which differ "
        f"between families, and this file does not say of which family its models are. {WAY_OUT}",
        marks[idle[0]],
    )


def _ambiguous(marks: Iterable[str], families: Iterable[str]) -> str:
    """Say that the file means one thing in one family and another in another."""
    marks = list(marks)
    subject = f"{_quote(marks)} may pick" if marks else "a gradient or a module reaches"
    return (
        f"{subject} other tensors in one family than in another ({', '.join(families)}), and this "
        f"file does not say of which family its models are. {WAY_OUT}"
    )


def _quote(marks: Sequence[str]) -> str:
    return f"the filter{'s' if len(marks) > 1 else ''} {' and '.join(map(repr, marks))}"
