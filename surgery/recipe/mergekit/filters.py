"""Values per tensor, as mergekit's filtered parameters.

A parameter in mergekit is one value or a list of `{filter, value}`: the first filter that is a
substring of the tensor's full name decides, an entry without a filter fits all. Substrings are
treacherous (`layers.1` is in `layers.17`), so filters are built from whole name parts and then held
against every name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from surgery.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Value: TypeAlias = float | int | bool


@dataclass
class _Tree:
    """Names as a tree of their dotted parts."""

    path: str = ""
    children: dict[str, _Tree] = field(default_factory=dict)
    value: Value | None = None
    costs: dict[Value, int] = field(default_factory=dict)


def as_setting(values: Mapping[str, Value]) -> Any:
    """Return the shortest setting that gives each name its value.

    Args:
        values: A value for every tensor that mergekit writes.

    Returns:
        One value, or a list of `{filter, value}` for YAML.

    Raises:
        RecipeError: If no filters can separate the names.
    """
    choices = list(dict.fromkeys(values.values()))
    if len(choices) == 1:
        return choices[0]
    single = _single(values, choices)
    if single is not None:
        return single
    root = _Tree()
    for name, value in values.items():
        node = root
        for part in name.split("."):
            node = node.children.setdefault(part, _Tree(f"{node.path}{part}."))
        node.value = value
    _count(root, choices)
    default = min(choices, key=lambda value: root.costs[value])
    rules: list[dict[str, Any]] = []
    _collect(root, default, rules)
    rules.append({"value": default})
    _check(rules, values)
    return rules


def _single(values: Mapping[str, Value], choices: Sequence[Value]) -> list[dict[str, Any]] | None:
    """One filter and a default, where a part of the names tells all there is to tell."""
    if len(choices) != 2:
        return None
    for value, default in (choices, choices[::-1]):
        names = [name for name, result in values.items() if result == value]
        rest = [name for name, result in values.items() if result == default]
        for start in _fragments(names[0]):
            if all(start in name for name in names) and not any(start in name for name in rest):
                return [{"filter": start, "value": value}, {"value": default}]
    return None


def _fragments(name: str) -> list[str]:
    """Beginnings of a name and its inner parts, cut at dots, shortest beginnings first."""
    parts = name.split(".")
    starts = [".".join(parts[:end]) + "." for end in range(1, len(parts))]
    return [*starts, *(f".{part}." for part in parts[1:-1]), name]


def pick(setting: Any, name: str) -> Any:
    """Return mergekit's setting for a tensor: a value, a gradient, or None without a match.

    Args:
        setting: A value, a list of values (a gradient), or a list of `{filter, value}`.
        name: The tensor's full name.
    """
    if isinstance(setting, dict):
        setting = [setting]
    if not isinstance(setting, list) or not any(isinstance(item, dict) for item in setting):
        return tuple(setting) if isinstance(setting, list) else setting
    for rule in setting:
        mark = rule.get("filter")
        if mark is None or mark == "*" or mark in name:
            return pick(rule["value"], name)
    return None


def _count(node: _Tree, choices: Sequence[Value]) -> None:
    """Count the rules below a node, for each value it may inherit."""
    if not node.children:
        node.costs = {choice: 0 if choice == node.value else 1 for choice in choices}
        return
    for child in node.children.values():
        _count(child, choices)
    below = {c: sum(child.costs[c] for child in node.children.values()) for c in choices}
    cheapest = 1 + min(below.values())
    node.costs = {choice: min(cost, cheapest) for choice, cost in below.items()}


def _collect(node: _Tree, inherited: Value, rules: list[dict[str, Any]]) -> None:
    """Yield the rules below a node, exceptions before their general rule."""
    if not node.children:
        if node.value != inherited:
            rules.append({"filter": node.path.rstrip("."), "value": node.value})
        return
    below = {c: sum(child.costs[c] for child in node.children.values()) for c in node.costs}
    value = inherited
    if below[inherited] > node.costs[inherited]:
        value = min(below, key=lambda choice: below[choice])
    for child in node.children.values():
        _collect(child, value, rules)
    if value != inherited:
        rules.append({"filter": node.path, "value": value})


def _check(rules: Sequence[Mapping[str, Any]], values: Mapping[str, Value]) -> None:
    """Check the rules against every name, as mergekit does."""
    for name, value in values.items():
        picked = pick(list(rules), name)
        if picked != value:
            raise RecipeError(
                f"mergekit's filters are substrings and cannot separate {name} from the others; "
                f"merge with surgery instead."
            )
