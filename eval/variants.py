"""Variants: every one a recipe, a plain model too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from surgery.errors import RecipeError, SurgeryError, did_you_mean
from surgery.recipe import Recipe, Transplant, find_recipe, load_recipe, parse_selector
from surgery.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surgery.checkpoint.source import AdapterReference

    Traits: TypeAlias = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Variant:
    """One model of a sweep.

    Attributes:
        name: Unique in the sweep.
        recipe: What it is made by; without steps it is its base itself. None for a model that is
            served elsewhere.
        traits: What varies, for figures: `regions`, `layer`, `module`, `method`, `t`.
    """

    name: str
    recipe: Recipe | None
    traits: Traits = field(default_factory=dict)


class HasRecipe(Protocol):
    """Anything made from a recipe, such as a plan."""

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        ...


Model: TypeAlias = str | Recipe | Variant | HasRecipe
Models: TypeAlias = "Model | Sequence[Model] | Mapping[str, Model]"


def plain(name: str, reference: str | AdapterReference) -> Variant:
    """Return a plain model; one with an adapter is its base with every tensor replaced."""
    if isinstance(reference, str):
        return Variant(name, Recipe(name, {name: reference}, name, ()))
    below = f"{name}.base"
    models: dict[str, str | AdapterReference | None] = {below: reference.base, name: reference}
    step = Transplant(parse_selector("*"), name)
    return Variant(name, Recipe(name, models, below, (step,)))


def named(
    models: Models, bindings: Mapping[str, str] | None = None, *, served: bool = False
) -> tuple[Variant, ...]:
    """Return models and recipes as variants.

    Args:
        models: References, recipe files, names of bundled recipes, recipes, plans or variants; by
            name in a mapping, and `NAME=REFERENCE` names one in a sequence.
        bindings: References that replace those of the recipes' own models, by model name.
        served: Whether the models are names at a server.

    Raises:
        SurgeryError: If a recipe is wrong, or two variants share a name.
    """
    if isinstance(models, str | Recipe | Variant) or hasattr(models, "recipe"):
        models = [models]
    items = models.items() if isinstance(models, Mapping) else (("", model) for model in models)
    return unique([_named(name, model, bindings or {}, served) for name, model in items])


def _named(name: str, model: Model, bindings: Mapping[str, str], served: bool) -> Variant:
    if isinstance(model, Variant):
        return replace(model, name=name or model.name)
    if not isinstance(model, str):
        recipe = model if isinstance(model, Recipe) else model.recipe
        return Variant(name or recipe.name, recipe)
    before, equals, reference = model.partition("=")
    if not equals or name:
        before, reference = "", model
    name = well_formed(name or before)
    if served:
        return Variant(name or well_formed(reference), None, {"served": reference})
    try:
        path = find_recipe(reference)
    except RecipeError:
        return plain(name or well_formed(_short(reference)), reference)
    recipe = load_recipe(reference if path.is_file() else path, bindings)
    return Variant(name or recipe.name, recipe, {"recipe": reference})


def _short(reference: str) -> str:
    """Return the end of a reference, which is a model's name by default."""
    return reference.rstrip("/").rpartition("/")[2].rpartition(":")[2] or reference


def find_variant(label: str, name: str, variants: Sequence[Variant]) -> str:
    """Return the name of the variant that a name or a model's reference means.

    Args:
        label: What the name is for, in an error.
        name: A variant's name, or the reference of one that is a model as it is.
        variants: The variants.

    Raises:
        SurgeryError: If there is none; names the nearest.
    """
    names = [variant.name for variant in variants]
    if name in names:
        return name
    for variant in variants:
        recipe = variant.recipe
        if recipe is not None and not recipe.steps and recipe.models[recipe.base] == name:
            return variant.name
    raise SurgeryError(f"{label}: there is no {name!r}.{did_you_mean(name, names)}")


def unique(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return the variants, refused if two share a name.

    Raises:
        RecipeError: If they do.
    """
    names: set[str] = set()
    for variant in variants:
        if variant.name in names:
            raise RecipeError(
                f"two variants are called {variant.name!r}. Give one another name (NAME=MODEL for "
                f"models and merges on the command line), or leave one out."
            )
        names.add(variant.name)
    return tuple(variants)
