"""The variants of a sweep: every one a recipe, a plain model too."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from surgery.arch.regions import Region
from surgery.errors import RecipeError
from surgery.recipe import Interpolate, Recipe, Transplant, parse_selector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from surgery.arch.site import Component
    from surgery.checkpoint.source import AdapterReference

    Traits: TypeAlias = Mapping[str, str | int | float]
    from surgery.recipe import Step

THIRDS: Final = (
    ("mid", "late"), ("early",), ("late",), ("early", "mid"), ("mid",), ("early", "late"),
)  # fmt: skip
"""The regions that come from the donor in the six splices of arXiv 2602.12395."""
Method: TypeAlias = Literal["transplant", "linear", "slerp"]


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


@dataclass(frozen=True)
class Grid:
    """Every combination of these becomes a variant.

    Attributes:
        regions: Of the decoder: early, mid, late, or layers such as `0:9`.
        modules: `all`, `attention`, `mlp`, `norm`.
        methods: How the donor's layers come in.
        t: For linear and slerp, how far from the base (0) to the donor (1).
    """

    regions: tuple[str, ...] = tuple(Region)
    modules: tuple[str, ...] = ("all",)
    methods: tuple[Method, ...] = ("transplant",)
    t: tuple[float, ...] = (0.5,)


@dataclass(frozen=True)
class Pairing:
    """The models a sweep moves layers between.

    Attributes:
        models: References by name.
        base: Where every tensor comes from unless a variant says otherwise.
        donor: Where the moved layers come from.
        cuts: First layer of mid and of late, per component; thirds where absent.
    """

    models: Mapping[str, str | AdapterReference]
    base: str
    donor: str
    cuts: Mapping[Component, tuple[int, int]] = field(default_factory=dict)

    def recipe(self, name: str, steps: Sequence[Step]) -> Recipe:
        """A recipe over base and donor."""
        named: dict[str, str | AdapterReference | None] = {
            key: self.models[key] for key in (self.base, self.donor)
        }
        return Recipe(name, named, self.base, tuple(steps), cuts=self.cuts)


def plain(name: str, reference: str | AdapterReference) -> Variant:
    """A model as it is; one with an adapter is its base with every tensor replaced."""
    if isinstance(reference, str):
        return Variant(name, Recipe(name, {name: reference}, name, ()))
    below = f"{name}.base"
    models: dict[str, str | AdapterReference | None] = {below: reference.base, name: reference}
    step = Transplant(parse_selector("*"), name)
    return Variant(name, Recipe(name, models, below, (step,)))


def thirds(pair: Pairing) -> Iterator[Variant]:
    """The six splices, named by where early, mid and late come from."""
    for regions in THIRDS:
        order = [pair.donor if region in regions else pair.base for region in Region]
        step = Transplant(parse_selector(f"language[{', '.join(regions)}]"), pair.donor)
        recipe = pair.recipe("-".join(order), [step])
        yield Variant(recipe.name, recipe, {"regions": "+".join(regions)})


def layers(pair: Pairing, component: str, count: int) -> Iterator[Variant]:
    """One layer of the donor at a time.

    Args:
        pair: Between which models.
        component: `language` or `vision`.
        count: How many layers it has.
    """
    width = len(str(count - 1))
    for layer in range(count):
        step = Transplant(parse_selector(f"{component}[{layer}]"), pair.donor)
        recipe = pair.recipe(f"{pair.donor}@{component}.{layer:0{width}d}", [step])
        yield Variant(recipe.name, recipe, {"component": component, "layer": layer})


def grid(pair: Pairing, wanted: Grid) -> Iterator[Variant]:
    """Every combination of regions, modules, methods and t."""
    for region, module, method in product(wanted.regions, wanted.modules, wanted.methods):
        where = f"language[{region}]" + ("" if module == "all" else f".{module}")
        selector = parse_selector(where)
        for t in (1.0,) if method == "transplant" else wanted.t:
            name = f"{pair.donor}@{region}.{module}"
            step: Step = Transplant(selector, pair.donor)
            if method != "transplant":
                name += f".{method}.{t:g}"
                step = Interpolate(selector, pair.donor, method, (t,))
            traits: Traits = {"regions": region, "module": module, "method": method, "t": t}
            yield Variant(name, pair.recipe(name, [step]), traits)


def unique(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """The variants, refused if two share a name.

    Raises:
        RecipeError: If they do.
    """
    seen: set[str] = set()
    for variant in variants:
        if variant.name in seen:
            raise RecipeError(
                f"two variants are called {variant.name!r}. Give one another name (NAME=MODEL for "
                f"models and merges on the command line), or leave one out."
            )
        seen.add(variant.name)
    return tuple(variants)
