"""Consistency checks between tensor names, their sites and the configuration."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from surgery.errors import ArchitectureError
from surgery.text import first_names, layer_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from surgery.arch.site import Component, Site


def quoted_names(names: Iterable[str]) -> str:
    """Return the first names of a list, quoted, and how many more there are."""
    return first_names([repr(name) for name in names])


def lookup(config: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path of a configuration, or None."""
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if hasattr(value, "get") else None
    return value


def expected_layers(config: Mapping[str, Any], paths: Sequence[str]) -> tuple[int, str] | None:
    """Return the layer count that a configuration states, and the key that states it.

    Raises:
        ArchitectureError: If the key holds something other than a positive whole number.
    """
    for path in paths:
        value = lookup(config, path)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ArchitectureError(
                f"{path} of the configuration is {value!r}. Expected a number of layers."
            )
        return value, path
    return None


def check_one_to_one(sites: Mapping[str, Site]) -> None:
    """Refuse two names for one site.

    Raises:
        ArchitectureError: Names both tensors and the site.
    """
    visited: dict[Site, str] = {}
    for name, site in sites.items():
        other = visited.setdefault(site, name)
        if other != name:
            raise ArchitectureError(
                f"{other!r} and {name!r} are both {site.canonical}. Expected each tensor"
                " once: either the files hold one part under the names of two library versions, or"
                " they hold a second model of the same build. Remove one of the two."
            )


def layer_examples(sites: Mapping[str, Site], component: Component) -> dict[int, str]:
    """For each layer number of a component, the first tensor that carries it."""
    examples: dict[int, str] = {}
    for name, site in sites.items():
        if site.component is component and site.layer is not None:
            examples.setdefault(site.layer, name)
    return examples


def count_layers(
    component: Component, examples: Mapping[int, str], expected: tuple[int, str] | None
) -> int:
    """Return the number of layers of a component, if none is missing.

    Args:
        component: Which one, for the message.
        examples: A tensor name for each layer number found; at least one.
        expected: What the configuration states and under which key, if it does.

    Raises:
        ArchitectureError: If layers are missing in the middle, or the number is another than the
            configuration's.
    """
    last = max(examples)
    missing = [number for number in range(last) if number not in examples]
    if missing:
        raise ArchitectureError(
            f"{component} has layers up to {last} ({examples[last]!r}) but no tensor of"
            f" {layer_numbers(missing)}. Expected every layer from 0 to {last}."
        )
    if expected is not None and last + 1 != expected[0]:
        count, key = expected
        raise ArchitectureError(
            f"{component} has {last + 1} layers, 0 to {last} (the last is {examples[last]!r}), but"
            f" {key} of the configuration is {count}. Expected layers 0 to {count - 1}: a shard is"
            " missing, or the configuration belongs to another checkpoint."
        )
    return last + 1


def by_component(sites: Iterable[tuple[str, Site]]) -> dict[Component, list[str]]:
    """Tensor names by the component they belong to."""
    groups: defaultdict[Component, list[str]] = defaultdict(list)
    for name, site in sites:
        groups[site.component].append(name)
    return dict(groups)
