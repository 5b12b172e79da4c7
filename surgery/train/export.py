"""A region in the words of other trainers: names, one regular expression, a LoRA configuration."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from surgery.arch.site import Component
from surgery.train.outline import ModelOutline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from surgery.train.region import FrozenRegion


def as_regex(names: Sequence[str], other_names: Iterable[str]) -> str:
    """One pattern that `re.search` finds in exactly these names.

    Names behind a wrapper's (`module.`, `base_model.model.`) are found as well, unless a name ends
    like another one.

    Args:
        names: What is to be found; at least one.
        other_names: What is not.

    Returns:
        The pattern, in what regular expressions of Python, Rust, Java and JavaScript share.
    """
    if not names:
        return "(?!)"  # found in nothing
    other_names = list(other_names)
    body = _pattern(_tree(names), _tree([*names, *other_names]))
    anywhere = rf"(?:^|\.){body}$"
    return rf"^{body}$" if any(re.search(anywhere, name) for name in other_names) else anywhere


_Tree = dict[str, Any]  # first part of the names to what follows it; a whole name ends in {}


def _tree(names: Iterable[str]) -> _Tree:
    root: _Tree = {}
    for name in names:
        node = root
        for part in name.split("."):
            node = node.setdefault(part, {})
    return root


def _pattern(tree: _Tree, whole: _Tree | None = None) -> str:
    """Build regex alternatives after a dot; parts with the same ending are grouped.

    Args:
        tree: The names.
        whole: All names; where everything below a part is wanted, `.+` says so. None spells all.
    """
    endings: defaultdict[str, list[str]] = defaultdict(list)
    for part, below in tree.items():
        inner = None if whole is None else whole[part]
        if not below:
            ending = ""
        elif below == inner:
            ending = r"\..+"
        else:
            ending = rf"\.{_pattern(below, inner)}"
        endings[ending].append(re.escape(part))
    branches = [
        (parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})") + ending
        for ending, parts in endings.items()
    ]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def as_lora(model: Any, region: FrozenRegion) -> dict[str, Any]:
    """Return the arguments of a `peft.LoraConfig` with adapters on all trained layers only.

    LoRA freezes every weight it does not adapt, so a frozen region is one without adapters. Adapted
    are the linear layers that learn, the head only where it is all that learns.
    `target_modules`, `layers_to_transform` and `layers_pattern` say it where they can; otherwise
    `target_modules` is a pattern, which PEFT matches from end to end.

    Args:
        model: The model the region is of, or its outline.
        region: The frozen region.

    Returns:
        Arguments of `peft.LoraConfig`; empty where no linear layer learns.
    """
    outline = model if isinstance(model, ModelOutline) else ModelOutline.of(model)
    layers = _learning_layers(outline, region)
    if not layers:
        return {}
    for guess in _by_layer(region, layers):
        if [name for name in outline.modules if _peft_takes(name, guess)] == layers:
            return guess
    return {"target_modules": _pattern(_tree(layers))}


def _learning_layers(outline: ModelOutline, region: FrozenRegion) -> list[str]:
    """Return the names of the trained linear layers, without the head if there are others."""
    learns, sites = frozenset(region.trained), region.architecture.sites
    layers = [name for name in outline.linear if f"{name}.weight" in learns]
    bodies = [name for name in layers if sites[f"{name}.weight"].component is not Component.HEAD]
    return bodies or layers


def _by_layer(region: FrozenRegion, expected: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the candidates in PEFT's syntax, most readable first."""
    leaves = sorted({name.rpartition(".")[2] for name in expected})
    yield {"target_modules": leaves}
    sites = [region.architecture.sites[f"{name}.weight"] for name in expected]
    layers = sorted({site.layer for site in sites if site.layer is not None})
    stacks = {
        name.partition(f".{site.layer}.")[0] for name, site in zip(expected, sites, strict=True)
    }
    if len(stacks) == 1:
        path = stacks.pop().split(".")
        for pattern in (path[-1], r"\.".join(path[-2:])):
            yield {
                "target_modules": leaves,
                "layers_to_transform": layers,
                "layers_pattern": pattern,
            }


def _peft_takes(name: str, config: Mapping[str, Any]) -> bool:
    """PEFT's rule for a list of `target_modules` (`peft.tuners.tuners_utils`)."""
    targets = config["target_modules"]
    if name in targets:
        return True
    if not any(name.endswith(f".{target}") for target in targets):
        return False
    if "layers_to_transform" not in config:
        return True
    match = re.match(rf"(?:^|.*?\.){config['layers_pattern']}\.(\d+)\.", name)
    return match is not None and int(match[1]) in config["layers_to_transform"]
