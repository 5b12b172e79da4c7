"""The tensor names that mergekit knows of a model, read from mergekit's tables.

mergekit merges a family by a JSON file that lists the tensors of each of its modules: those before
the layers, those of one layer, those after. Only the files are read; nothing of it is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from surgery.arch import FAMILIES, resolve
from surgery.arch.fused import parameter_part
from surgery.errors import RecipeError
from surgery.reading import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from surgery.arch import Architecture, Component, Family, Site

_LAYER = "${layer_index}"


@dataclass(frozen=True)
class Tensor:
    """A tensor as mergekit sees it.

    Attributes:
        name: mergekit's name for it, which its filters are matched against. Single experts bear
            the name of the tensor that all of a layer are fused to.
        site: Its place in the model.
    """

    name: str
    site: Site


@dataclass(frozen=True)
class MergekitModule:
    """One of mergekit's modules.

    Attributes:
        name: What mergekit calls it.
        before: Tensors that go with the first slice.
        layers: Tensors of each layer. Where mergekit counts layers that the model does not have,
            as in projectors, each holds the same tensors.
        after: Tensors that go with the last slice.
    """

    name: str
    before: tuple[Tensor, ...]
    layers: tuple[tuple[Tensor, ...], ...]
    after: tuple[Tensor, ...]

    def tensors(self) -> Iterator[Tensor]:
        """All of them, each once."""
        every = (tensor for group in (self.before, *self.layers, self.after) for tensor in group)
        yield from dict.fromkeys(every)

    @property
    def repeats(self) -> bool:
        """True if all its layers have the same tensor names."""
        return len(self.layers) > 1 and self.layers[0] == self.layers[1]


def parts_of(architecture: Architecture) -> tuple[MergekitModule, ...]:
    """Look at a model as mergekit does.

    Args:
        architecture: The model's sites.

    Raises:
        RecipeError: If mergekit has no table for the family, or the table and the model differ, so
            that mergekit would drop a tensor or look for one in vain.
    """
    family = next((row for row in FAMILIES if row.name == architecture.family), None)
    table = _table(family) if family else None
    if family is None or table is None:
        raise RecipeError(
            f"mergekit 0.1.5 has no table of {architecture.family} models and would guess their "
            f"modules; write the merge as a recipe, and merge with surgery instead."
        )
    drafts, sites = _drafts(family, table, architecture.layers)
    parts: dict[Site, list[Site]] = {}
    for site in architecture.sites.values():
        # mergekit sees experts as transformers 5 fuses them.
        parts.setdefault(parameter_part(family.name, site, (1,)).site, []).append(site)
    listed = frozenset(sites.values())
    dropped = [
        name
        for name, site in architecture.sites.items()
        if parameter_part(family.name, site, (1,)).site not in listed
    ]
    if dropped:
        raise RecipeError(
            f"mergekit 0.1.5 would drop {len(dropped)} tensors of this {architecture.family} "
            f"model that its table does not list, {dropped[0]} first; merge with surgery instead."
        )
    for draft in drafts:
        for entry in (entry for group in draft.groups for entry in group):
            if sites[entry["name"]] not in parts and not entry.get("optional"):
                raise RecipeError(
                    f"mergekit 0.1.5 expects {entry['name']} in a {architecture.family} model, "
                    f"which this one does not have; merge with surgery instead."
                )
    return tuple(_part(draft, sites, parts) for draft in drafts)


def stand_in(family_name: str, layers: Mapping[Component, int]) -> Architecture:
    """Return an architecture as mergekit's table for a family describes it.

    Args:
        family_name: A family that mergekit has a table for.
        layers: How many layers each component with a stack has.
    """
    family = next(row for row in FAMILIES if row.name == family_name)
    table = _table(family)
    assert table is not None  # called for families that mergekit knows
    _, sites = _drafts(family, table, layers)
    return resolve(_config(family), sites)


def module_names(family_name: str) -> tuple[str, ...]:
    """Return what mergekit calls a family's modules; nothing where it has no table of them."""
    family = next(row for row in FAMILIES if row.name == family_name)
    table = _table(family)
    return () if table is None else tuple(_modules(table))


@dataclass(frozen=True)
class _Draft:
    """A module's entries: those before, those of each layer, those after."""

    name: str
    groups: tuple[tuple[Mapping[str, Any], ...], ...]


def _drafts(
    family: Family, table: Mapping[str, Any], layers: Mapping[Component, int]
) -> tuple[tuple[_Draft, ...], Mapping[str, Site]]:
    """All modules in a model of this size, and the sites of all names."""
    modules = _modules(table)
    single = {name: _draft(name, module, 1) for name, module in modules.items()}
    sites = resolve(_config(family), _names(single.values())).sites
    drafts = []
    for name, module in modules.items():
        count = module.get("override_num_layers")
        if count is None:
            count = layers.get(sites[single[name].groups[1][0]["name"]].component, 0)
        drafts.append(_draft(name, module, count))
    return tuple(drafts), resolve(_config(family), _names(drafts)).sites


def _draft(name: str, module: Mapping[str, Any], count: int) -> _Draft:
    template = module["layer_templates"]["weights"]
    layers = [
        tuple({**entry, "name": entry["name"].replace(_LAYER, str(index))} for entry in template)
        for index in range(count)
    ]
    return _Draft(name, (tuple(module["pre_weights"]), *layers, tuple(module["post_weights"])))


def _names(drafts: Iterable[_Draft]) -> list[str]:
    """Every name once, in order."""
    return list(dict.fromkeys(e["name"] for d in drafts for group in d.groups for e in group))


def _part(
    draft: _Draft, sites: Mapping[str, Site], layers: Mapping[Site, list[Site]]
) -> MergekitModule:
    """Return a module without the optional tensors that this model does not have."""
    groups = [
        tuple(
            Tensor(entry["name"], site)
            for entry in group
            for site in layers.get(sites[entry["name"]], ())
        )
        for group in draft.groups
    ]
    return MergekitModule(draft.name, groups[0], tuple(groups[1:-1]), groups[-1])


def _config(family: Family) -> dict[str, Any]:
    return {"model_type": family.model_types[0]}


def _modules(table: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return a table's modules; a text model is one, which mergekit calls `default`."""
    if table.get("kind") != "modular":
        return {"default": table}
    return {
        name: _with_prefix(module["architecture"], module.get("weight_prefix") or "")
        for name, module in table["modules"].items()
    }


def _with_prefix(module: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    """Return a module whose names have mergekit's prefix, as its filters see them."""

    def rename(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [{**entry, "name": prefix + entry["name"]} for entry in entries]

    return {
        **module,
        "pre_weights": rename(module["pre_weights"]),
        "layer_templates": {"weights": rename(module["layer_templates"]["weights"])},
        "post_weights": rename(module["post_weights"]),
    }


def _table(family: Family) -> dict[str, Any] | None:
    """Return the one table that mergekit has for a family."""
    classes = set(family.architectures)
    tables = [t for t in _tables() if classes & set(t.get("architectures", ()))]
    tables = tables or [t for t in _tables() if t.get("model_type") == family.name]
    exact = [table for table in tables if table.get("model_type") in family.model_types]
    tables = exact or tables
    return tables[0] if len(tables) == 1 else None


@cache
def _tables() -> tuple[dict[str, Any], ...]:
    folder = files("mergekit").joinpath("_data", "architectures")
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return tuple(parse_json(e.read_text()) for e in entries if e.name.endswith(".json"))
