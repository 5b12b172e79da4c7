"""The structure of a mergekit file: its method, and slices with sources for each module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from surgery.errors import RecipeError, did_you_mean
from surgery.methods.table import METHODS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from surgery.errors import Place
    from surgery.recipe.nodes import Node

_TOP = (
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
)


# Keys that only files of mergekit's other programs have.
_OTHER_PROGRAMS = {
    "experts": ("mergekit-moe", "builds a mixture of experts from dense models"),
    "gate_mode": ("mergekit-moe", "builds a mixture of experts from dense models"),
    "genome": ("mergekit-evolve", "searches for the parameters of a merge"),
    "tasks": ("mergekit-evolve", "searches for the parameters of a merge"),
    "layer_slices": ("bakllama", "stacks layers of several models"),
}


@dataclass(frozen=True)
class Source:
    """One model in a slice.

    Attributes:
        model: What the file calls it.
        start: First layer.
        stop: One past the last; None for all layers.
        parameters: Settings of its own.
        place: Where it stands.
    """

    model: str
    start: int
    stop: int | None
    parameters: Mapping[str, Any]
    place: Place


@dataclass(frozen=True)
class Slice:
    """Neighbouring layers of the output, made from the same sources.

    Attributes:
        sources: The models.
        base: Its own base, when it has one.
        parameters: Settings for all its sources.
        place: Where it stands.
    """

    sources: tuple[Source, ...]
    base: str | None
    parameters: Mapping[str, Any]
    place: Place


@dataclass(frozen=True)
class OutputModule:
    """The composition of a module of the output."""

    slices: tuple[Slice, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MergeConfiguration:
    """A mergekit file.

    Attributes:
        method: Its merge method, a key of `METHODS`.
        base: Its base model.
        modules: By mergekit's name; the one key None when the same holds for all modules.
        stacked: Whether layers are given by top-level `slices`, as for text models.
        parameters: Settings for everything.
        dtype: torch's name of the output's element type.
        root: The file.
    """

    method: str
    base: str | None
    modules: Mapping[str | None, OutputModule]
    stacked: bool
    parameters: Mapping[str, Any]
    dtype: str | None
    root: Node


def layout_of(root: Node) -> MergeConfiguration:
    """Read a mergekit file's shape.

    Raises:
        RecipeError: If it is not a mergekit file, or uses what recipes have no words for.
    """
    if not isinstance(root.value, dict):
        raise RecipeError("expected a mergekit configuration: a mapping.", root.place)
    _refuse_other_programs(root)
    _keys(root, _TOP, "a mergekit file")
    _refuse_tokenizers(root)
    layouts = [key for key in ("models", "slices", "modules") if root.get(key) is not None]
    if len(layouts) != 1:
        text = " and ".join(layouts) or "none"
        raise RecipeError(f"expected one of models, slices and modules; found {text}.", root.place)
    base = _text(root, "base_model")
    modules: dict[str | None, OutputModule] = {}
    body = root.walk((layouts[0],))
    if layouts[0] == "models":
        modules[None] = OutputModule((_all_layers(body, base),))
    elif layouts[0] == "slices":
        modules[None] = OutputModule(tuple(_slice(item) for item in _items(body)))
    else:
        modules.update({name: _module(node, base) for name, node in _entries(body)})
    return MergeConfiguration(
        method=_method(root),
        base=base,
        modules=modules,
        stacked=layouts[0] == "slices",
        parameters=_parameters(root),
        dtype=_text(root, "out_dtype") or _text(root, "dtype"),
        root=root,
    )


def _refuse_other_programs(root: Node) -> None:
    """Refuse the files of mergekit's other programs, which have other keys."""
    for key, (program, meaning) in _OTHER_PROGRAMS.items():
        if root.get(key) is not None:
            raise RecipeError(
                f"{key!r} is a key of a file for {program}, which {meaning}. A recipe cannot say "
                f"that; run {program} itself, and use the folder that it writes as a model.",
                root.place_of(key),
            )


def single(roots: Sequence[Node]) -> Node:
    """Return the one document of a file.

    Raises:
        RecipeError: If there are several, as in a file for `mergekit-multi`.
    """
    if len(roots) == 1:
        return roots[0]
    names = [root.get("name") if isinstance(root.value, dict) else None for root in roots]
    text = ", ".join("without a name" if n is None else repr(n.plain()) for n in names)
    raise RecipeError(
        f"the file holds {len(roots)} documents ({text}), which mergekit-multi merges one "
        f"after another; a recipe is one merge. Put each into a file of its own, translate and "
        f"merge them in order, and where one names an earlier one, write the folder that it made.",
        roots[1].place,
    )


def _method(root: Node) -> str:
    name = _text(root, "merge_method")
    if name is None:
        raise RecipeError("a mergekit file needs merge_method.", root.place)
    if name not in METHODS:
        near = did_you_mean(name, METHODS)
        raise RecipeError(
            f"merge_method: mergekit 0.1.5 has no {name!r}.{near}",
            root.walk(("merge_method",)).place,
        )
    return name


def _refuse_tokenizers(root: Node) -> None:
    """Recipes keep the base's tokenizer."""
    source = root.get("tokenizer_source")
    if source is not None and source.value not in ("base", None):
        raise RecipeError(
            f"tokenizer_source: {source.plain()!r} would build another vocabulary; recipes keep "
            f"the base's tokenizer ('base').",
            source.place,
        )
    for key in ("tokenizer", "chat_template"):
        node = root.get(key)
        if node is not None and node.value is not None:
            raise RecipeError(f"{key}: recipes keep the base's; they cannot change it.", node.place)


def _module(node: Node, base: str | None) -> OutputModule:
    """One entry of `modules`."""
    _keys(node, ("slices", "models", "parameters"), "a module")
    slices, models = node.get("slices"), node.get("models")
    if (slices is None) == (models is None):
        raise RecipeError("a module has either slices or models.", node.place)
    if models is not None:
        return OutputModule((_all_layers(models, base),), _parameters(node))
    assert slices is not None  # one of the two is there
    return OutputModule(tuple(_slice(item) for item in _items(slices)), _parameters(node))


def _all_layers(node: Node, base: str | None) -> Slice:
    """Return one slice of all layers from a list of models, the base added as mergekit does."""
    sources = []
    for item in _items(node):
        _keys(item, ("model", "parameters"), "a model")
        sources.append(Source(_model(item), 0, None, _parameters(item), item.place))
    if base is not None and base not in [source.model for source in sources]:
        sources.append(Source(base, 0, None, {}, node.place))
    return Slice(tuple(sources), None, {}, node.place)


def _slice(node: Node) -> Slice:
    """One entry of `slices`."""
    _keys(node, ("sources", "base_model", "residual_weight", "parameters"), "a slice")
    residual = node.get("residual_weight")
    if residual is not None and residual.value is not None:
        raise RecipeError("recipes have no residual_weight.", residual.place)
    listed = node.get("sources")
    if listed is None:
        raise RecipeError("a slice needs sources.", node.place)
    sources = tuple(_source(item) for item in _items(listed))
    return Slice(sources, _text(node, "base_model"), _parameters(node), node.place)


def _source(node: Node) -> Source:
    """One source of a slice."""
    _keys(node, ("model", "layer_range", "parameters"), "a source")
    child = node.get("layer_range")
    pair = None if child is None else child.plain()
    if (
        not isinstance(pair, list)
        or len(pair) != 2
        or not all(isinstance(end, int) and not isinstance(end, bool) for end in pair)
        or not 0 <= pair[0] <= pair[1]
    ):
        place = node.place if child is None else child.place
        raise RecipeError("layer_range: expected two layers such as [0, 8].", place)
    return Source(_model(node), pair[0], pair[1], _parameters(node), node.place)


def _model(node: Node) -> str:
    name = _text(node, "model")
    if name is None:
        raise RecipeError("expected a model here.", node.place)
    return name


def _text(node: Node, key: str) -> str | None:
    """Return a text value, or None when it is absent."""
    child = node.get(key)
    if child is None or child.value is None:
        return None
    if not isinstance(child.value, str):
        hint = " An override_architecture has no place in recipes." if key == "model" else ""
        raise RecipeError(f"{key}: expected text.{hint}", child.place)
    return child.value


def _parameters(node: Node) -> dict[str, Any]:
    """Return settings by name: values, gradients, or lists of filter and value."""
    child = node.get("parameters")
    if child is None or child.value is None:
        return {}
    settings = {}
    for name, setting in _entries(child):
        _check_setting(name, setting)
        settings[name] = setting.plain()
    return settings


def _check_setting(name: str, node: Node) -> None:
    """Return a setting's form: a value, a list of values, or filters with those."""
    if isinstance(node.value, dict):
        _keys(node, ("filter", "value"), f"a filtered {name}")
        mark, value = node.get("filter"), node.get("value")
        if value is None or (mark is not None and not isinstance(mark.value, str | None)):
            raise RecipeError(f"{name}: expected {{filter: text, value: ...}}.", node.place)
        _check_setting(name, value)
    elif isinstance(node.value, list):
        kinds = {isinstance(item.value, dict) for item in node.value}
        if len(kinds) != 1:
            raise RecipeError(f"{name}: expected values, or filters with values.", node.place)
        for item in node.value:
            if isinstance(item.value, list):
                raise RecipeError(f"{name}: a gradient is one list of numbers.", item.place)
            _check_setting(name, item)
    elif isinstance(node.value, str) or node.value is None:
        raise RecipeError(f"{name}: expected a number, true or false.", node.place)


def _keys(node: Node, allowed: Sequence[str], label: str) -> None:
    """Refuse what mergekit itself would pass over in silence."""
    for key, _ in _entries(node):
        if key not in allowed:
            raise RecipeError(
                f"unknown key {key!r} in {label}.{did_you_mean(key, allowed)}", node.place_of(key)
            )


def _entries(node: Node) -> Sequence[tuple[str, Node]]:
    if not isinstance(node.value, dict):
        raise RecipeError("expected a mapping here.", node.place)
    return list(node.value.items())


def _items(node: Node) -> list[Node]:
    if not isinstance(node.value, list) or not node.value:
        raise RecipeError("expected a list with at least one entry here.", node.place)
    return node.value
