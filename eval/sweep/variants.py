"""The variants of a sweep: splices, single layers and grids between two models."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from eval.variants import Variant
from surgery.arch.regions import Region
from surgery.recipe import Interpolate, Recipe, Transplant, parse_selector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eval.variants import Traits
    from surgery.arch.site import Component
    from surgery.checkpoint.source import AdapterReference
    from surgery.recipe import Step

THIRDS: Final = (
    ("mid", "late"), ("early",), ("late",), ("early", "mid"), ("mid",), ("early", "late"),
)  # fmt: skip
"""The regions that come from the donor in the six splices of arXiv 2602.12395."""
Method: TypeAlias = Literal["transplant", "linear", "slerp"]


@dataclass(frozen=True)
class Grid:
    """Every combination of these becomes a variant.

    Attributes:
        regions: Of the decoder: early, mid, late, or layers such as `0:9`.
        modules: `all`, `attention`, `mlp`, `norm`.
        methods: Methods for the donor's layers.
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
        """Return a recipe over base and donor."""
        named: dict[str, str | AdapterReference | None] = {
            key: self.models[key] for key in (self.base, self.donor)
        }
        return Recipe(name, named, self.base, tuple(steps), cuts=self.cuts)


def thirds(pair: Pairing) -> Iterator[Variant]:
    """Return the six splices, named by the sources of early, mid and late."""
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


def grid(pair: Pairing, settings: Grid) -> Iterator[Variant]:
    """Every combination of regions, modules, methods and t."""
    for region, module, method in product(settings.regions, settings.modules, settings.methods):
        location = f"language[{region}]" + ("" if module == "all" else f".{module}")
        selector = parse_selector(location)
        for t in (1.0,) if method == "transplant" else settings.t:
            name = f"{pair.donor}@{region}.{module}"
            step: Step = Transplant(selector, pair.donor)
            if method != "transplant":
                name += f".{method}.{t:g}"
                step = Interpolate(selector, pair.donor, method, (t,))
            traits: Traits = {"regions": region, "module": module, "method": method, "t": t}
            yield Variant(name, pair.recipe(name, [step]), traits)
