"""Translation of pydantic's errors to one sentence with a position."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_args

from surgery.errors import RecipeError, did_you_mean
from surgery.recipe.schema import (
    STEP_KINDS,
    AdapterModel,
    AddStep,
    InterpolateStep,
    MergeStep,
    RecipeModel,
    TransplantStep,
    kind_of,
)

if TYPE_CHECKING:
    from typing import TypeAlias

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from surgery.errors import Place
    from surgery.recipe.nodes import Node

    Holder: TypeAlias = tuple[str, type[BaseModel]]
    """The container of a key: its name for messages, and the keys it may have."""

_RECIPE: Holder = ("the recipe", RecipeModel)
_TAGGED: dict[str | int, Holder] = {
    "transplant-step": ("a transplant step", TransplantStep),
    "interpolate-step": ("an interpolate step", InterpolateStep),
    "add-step": ("an add step", AddStep),
    "merge-step": ("a merge step", MergeStep),
    "adapter-model": ("a model with an adapter", AdapterModel),
}
"""Members of unions, which pydantic names in the place of an error."""
_EXPECTED = {
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "string_too_long": "a shorter text",
    "dict_type": "a mapping",
    "list_type": "a list",
    "int_type": "a whole number",
    "model_type": "a mapping",
    "greater_than_equal": "{ge} or more",
    "greater_than": "more than {gt}",
    "less_than": "a smaller number",
    "less_than_equal": "{le} or less",
    "too_short": "at least one entry",
}
_NAME_RULE = "letters, digits, '_', '-' and '.', starting with a letter or '_'"


def translate(error: ValidationError, root: Node, top: Holder = _RECIPE) -> RecipeError:
    """Return the first error, in the order of the text.

    Unknown keys are reported before missing keys: a misspelled key is both.

    Args:
        error: What pydantic found.
        root: The text with places.
        top: What the text is, and what may stand in it.
    """
    faults = [
        (_rank(detail), *_explain(detail, root, top)) for detail in error.errors(include_url=False)
    ]
    faults.sort(key=lambda item: (item[0], item[2].line, item[2].column))
    _, message, place = faults[0]
    return RecipeError(message if message.endswith((".", "?")) else f"{message}.", place)


def _rank(detail: ErrorDetails) -> int:
    return 1 if detail["type"] == "missing" else 0


def _explain(detail: ErrorDetails, root: Node, top: Holder) -> tuple[str, Place]:
    """One finding as a sentence and its place."""
    loc, kind = detail["loc"], detail["type"]
    inside, holder = _holder(loc, top)
    if kind == "extra_forbidden":
        return _unknown(str(loc[-1]), inside, holder, _node(root, loc[:-1]))
    if kind == "missing":
        field = _fields(holder)[str(loc[-1])]
        return f"{inside} needs {str(loc[-1])!r}: {field.lower()}", _node(root, loc[:-1]).place
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        return _no_kind(_node(root, loc))
    if loc and loc[-1] == "[key]":
        name = str(loc[-2])
        place = _node(root, loc[:-2]).place_of(name)
        if kind == "literal_error":
            near = did_you_mean(name, _choices(detail))
            return f"unknown key {name!r} in {_key(loc[:-2], top)}.{near}", place
        return f"{name!r} cannot be a model's name; use {_NAME_RULE}", place
    return _wrong(detail, _node(root, loc), _key(loc, top))


def _wrong(detail: ErrorDetails, node: Node, key: str) -> tuple[str, Place]:
    """Describe a value of the wrong kind for its key."""
    context, kind = detail.get("ctx", {}), kind_of(detail["input"])
    if detail["type"] == "recipe":
        return f"{key}: {context['message']}", _inner(node, tuple(context.get("at", ())))
    if detail["type"] == "literal_error":
        near = did_you_mean(str(detail["input"]), _choices(detail))
        return f"{key}: unknown value {kind}.{near}", node.place
    patterned = detail["type"] == "string_pattern_mismatch"
    template = _NAME_RULE if patterned else _EXPECTED.get(detail["type"])
    text = f"expected {template.format(**context)}" if template else detail["msg"]
    return f"{key}: {text}, found {kind}", node.place


def _choices(detail: ErrorDetails) -> list[str]:
    """Return the choices of a literal."""
    return re.findall("'([^']*)'", str(detail["ctx"]["expected"]))


def _unknown(word: str, inside: str, holder: type[BaseModel], node: Node) -> tuple[str, Place]:
    """Describe a key that does not exist here."""
    place = node.place_of(word)
    keys = list(_fields(holder))
    return f"unknown key {word!r} in {inside}.{did_you_mean(word, keys)}", place


def _no_kind(node: Node) -> tuple[str, Place]:
    """Describe a step without exactly one of the four words."""
    kinds = ", ".join(STEP_KINDS)
    if not isinstance(node.value, dict):
        return f"a step is a mapping with one of {kinds}; found {kind_of(node.plain())}", node.place
    value = [kind for kind in STEP_KINDS if kind in node.value]
    if value:
        text = " and ".join(repr(kind) for kind in value)
        return f"one step cannot be {text}; write two steps", node.place_of(value[1])
    for key in node.value:
        near = did_you_mean(key, STEP_KINDS)
        if near.startswith(" Did"):
            return f"unknown kind of step {key!r}.{near}", node.place_of(key)
    return f"a step needs one of {kinds}; found {', '.join(node.value) or 'nothing'}", node.place


def _holder(loc: tuple[str | int, ...], top: Holder) -> Holder:
    """Return the innermost model that `loc` passes through, with its name for people."""
    if len(loc) > 2 and loc[0] in {"steps", "models"}:
        return _TAGGED.get(loc[2], top)
    name, holder = top
    for step in loc[:-1]:
        field = holder.model_fields.get(str(step))
        within = _model_in(field.annotation) if field else None
        if within is None:
            break
        name, holder = str(step), within
    return name, holder


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model of a field that holds one, or may."""
    models = [
        candidate
        for candidate in (annotation, *get_args(annotation))
        if isinstance(candidate, type) and hasattr(candidate, "model_fields")
    ]
    return models[0] if models else None


def _fields(holder: type[BaseModel]) -> dict[str, str]:
    """Keys as people write them, with their descriptions."""
    return {
        field.alias or name: (field.description or name).rstrip(".")
        for name, field in holder.model_fields.items()
    }


def _node(root: Node, loc: tuple[str | int, ...]) -> Node:
    """Return the node at `loc`, names of union members passed over."""
    node = root
    for step in loc:
        node = node.walk((step,))
    return node


def _inner(node: Node, path: tuple[str | int, ...]) -> Place:
    """Return the place of a part of a value; of its key, when the part is a key."""
    for step in path[:-1]:
        node = node.walk((step,))
    return node.place_of(path[-1]) if path else node.place


def _key(loc: tuple[str | int, ...], top: Holder) -> str:
    """Return a name for the value at `loc`: its innermost key."""
    passed = {*_TAGGED, "text-model", "[key]"}
    names = [str(step) for step in loc if isinstance(step, str) and step not in passed]
    return names[-1] if names else top[0]
