"""A sweep's YAML to its variants and settings; every fault becomes one error with its place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn

from eval.generation import Generation
from eval.grading.grade import GRADERS
from eval.prompts import PLAIN, STYLES, TEMPLATE
from eval.styles import read_style, style_of
from eval.sweep.variants import Grid, Pairing, grid, layers, thirds
from eval.variants import Variant, plain, unique
from surgery.arch.regions import Region
from surgery.arch.site import Module
from surgery.checkpoint.open import open_checkpoint
from surgery.checkpoint.source import AdapterReference
from surgery.errors import RecipeError, did_you_mean
from surgery.reading import is_file
from surgery.recipe import load_recipe, parse_selector
from surgery.recipe.extend import read_text
from surgery.recipe.nodes import compose
from surgery.recipe.schema import AdapterModel, kind_of
from surgery.recipe.translate import translate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from eval.prompts import Style
    from eval.sweep.schema import SweepModel
    from surgery.recipe.nodes import Node


@dataclass(frozen=True)
class Sweep:
    """Variants times suites.

    Attributes:
        name: Its name.
        variants: The models.
        suites: Names of suites, or paths.
        base: The model a gain starts from, if the sweep has one.
        donor: The model it ends at.
        against: The variant all are compared with.
        samples: Samples per task; None takes each suite's own number.
        seed: Which samples are drawn.
        data: Local folders of benchmarks, by name.
        descriptions: A file of descriptions.
        style: Prompt style.
        grader: How answers are read and compared.
        generation: How they are generated.
    """

    name: str
    variants: tuple[Variant, ...]
    suites: tuple[str, ...]
    base: str | None = None
    donor: str | None = None
    against: str | None = None
    samples: int | None = None
    seed: int = 123
    data: Mapping[str, str] = field(default_factory=dict)
    descriptions: Path | None = None
    style: Style = PLAIN
    grader: str = "strict"
    generation: Generation = field(default_factory=Generation)


def load_sweep(path: Path) -> Sweep:
    """Read a sweep.

    Paths in it are relative to its own folder.

    Raises:
        RecipeError: If something in it is wrong; says where.
        CheckpointError: If a model whose layers are to be moved one by one cannot be read.
    """
    from pydantic import ValidationError

    from eval.sweep.schema import SweepModel

    root = compose(read_text(path), str(path))
    try:
        model = SweepModel.model_validate(root.plain())
    except ValidationError as error:
        raise translate(error, root, ("the sweep", SweepModel)) from None
    return _Lowering(model, root, path.parent).sweep(model.name or path.stem)


class _Lowering:
    """Converts the validated YAML to a sweep."""

    def __init__(self, model: SweepModel, root: Node, folder: Path) -> None:
        self._model = model
        self._root = root
        self._folder = folder
        self._models: dict[str, str | AdapterReference] = {}
        for name, value in model.models.items():
            if value is None:
                self._fail(
                    f"model {name!r} needs a folder, org/name or specimen:STAGE", "models", name
                )
            if isinstance(value, AdapterModel):
                self._models[name] = AdapterReference(value.base, value.adapter)
            else:
                self._models[name] = value

    def sweep(self, name: str) -> Sweep:
        model = self._model
        style = self._style()
        self._check_known(model.grader, GRADERS, "grader")
        for key in ("base", "donor"):
            if getattr(model, key) is not None:
                self._check_known(getattr(model, key), self._models, key)
        variants = unique(tuple(self._variants()))
        against = model.against or model.base
        names = [variant.name for variant in variants]
        if model.against is not None:
            self._check_known(model.against, names, "against")
        return Sweep(
            name=name,
            variants=variants,
            suites=tuple(self._local(suite) for suite in model.suites),
            base=model.base if model.base in names else None,
            donor=model.donor if model.donor in names else None,
            against=against if against in names else None,
            samples=model.samples,
            seed=model.seed,
            data={name: str(self._folder / place) for name, place in model.data.items()},
            descriptions=self._folder / model.descriptions if model.descriptions else None,
            style=style,
            grader=model.grader,
            generation=Generation(**model.generation.model_dump()),
        )

    def _style(self) -> Style:
        node, style = self._root.get("style"), self._model.style
        if node is None:
            return PLAIN
        if isinstance(style, dict):
            return style_of(node)
        if not isinstance(style, str):
            self._fail(
                "style: expected a name, a YAML file, or a mapping with system, prefix, suffix and "
                f"form; found {kind_of(style)}", "style",
            )  # fmt: skip
        if not style.endswith((".yaml", ".yml")):
            self._check_known(style, [*STYLES, TEMPLATE], "style")
        return read_style(style, self._folder)

    def _variants(self) -> Iterator[Variant]:
        section = self._model.variants
        names = list(self._models) if section.plain is None else section.plain
        for index, name in enumerate(names):
            self._check_known(name, self._models, "variants", "plain", index)
            yield plain(name, self._models[name])
        if section.thirds:
            yield from thirds(self._pair("thirds"))
        for index, component in enumerate(section.layers):
            pair = self._pair("layers")
            yield from layers(pair, component, self._count(component, index))
        if section.grid is not None:
            yield from self._grid()
        for index, name in enumerate(section.recipes):
            yield self._recipe(name, index)

    def _pair(self, key: str) -> Pairing:
        base, donor = self._model.base, self._model.donor
        if base is None or donor is None:
            missing = "base" if base is None else "donor"
            self._fail(
                f"{key} moves layers between two models; the sweep needs {missing!r}, one of "
                f"{', '.join(self._models)}",
                "variants", key,
            )  # fmt: skip
        cuts = self._model.regions.cuts if self._model.regions else {}
        return Pairing(self._models, base, donor, cuts)

    def _count(self, component: str, index: int) -> int:
        from surgery.arch import resolve

        pair = self._pair("layers")
        with open_checkpoint(pair.models[pair.base]) as checkpoint:
            layer_count = resolve(checkpoint.info.config, checkpoint.info.tensors).layers
        counts = {str(name): count for name, count in layer_count.items()}
        if component not in counts:
            self._fail(
                f"{pair.base!r} has no {component} layers.{did_you_mean(component, counts)}",
                "variants", "layers", index,
            )  # fmt: skip
        return counts[component]

    def _grid(self) -> Iterator[Variant]:
        section = self._model.variants.grid
        assert section is not None
        for index, region in enumerate(section.regions):
            self._selector(f"language[{region}]", region, Region, "regions", index)
        modules = ["all", *Module]
        for index, module in enumerate(section.modules):
            is_known = module.partition(".")[0] in modules
            text = "language" if module == "all" else f"language[:].{module}"
            self._selector(text if is_known else "", module, modules, "modules", index)
        grid_values = Grid(
            tuple(section.regions), tuple(section.modules), tuple(section.methods), tuple(section.t)
        )
        return grid(self._pair("grid"), grid_values)

    def _selector(self, text: str, word: str, names: Iterable[str], key: str, index: int) -> None:
        try:
            parse_selector(text)
        except RecipeError:
            self._fail(
                f"{key}: {word!r} picks nothing.{did_you_mean(word, names)}",
                "variants", "grid", key, index,
            )  # fmt: skip

    def _recipe(self, name: str, index: int) -> Variant:
        path = self._folder / name
        try:
            recipe = load_recipe(path if is_file(path) else name)
        except RecipeError as error:
            if error.place is not None:
                raise
            self._fail(error.message.rstrip("."), "variants", "recipes", index)
        models = {key: self._models.get(key, value) for key, value in recipe.models.items()}
        bound = replace(recipe, models=models)
        if bound.unbound:
            self._fail(
                f"recipe {name!r} has a model {bound.unbound[0]!r} that the sweep does not name",
                "variants", "recipes", index,
            )  # fmt: skip
        return Variant(bound.name, bound, {"recipe": name})

    def _local(self, suite: str) -> str:
        """Return a suite's name, or its path relative to the current folder."""
        path = self._folder / suite
        return str(path) if suite.endswith((".yaml", ".yml")) and is_file(path) else suite

    def _check_known(self, word: str, names: Iterable[str], *path: str | int) -> None:
        names = list(names)
        if word not in names:
            keys = [step for step in path if isinstance(step, str)]
            self._fail(f"{keys[-1]}: there is no {word!r}.{did_you_mean(word, names)}", *path)

    def _fail(self, message: str, *path: str | int) -> NoReturn:
        node = self._root.walk(path[:-1])
        last = path[-1]
        value = node.walk((last,))
        place = node.place_of(last) if value is node else value.place
        raise RecipeError(message if message.endswith((".", "?")) else f"{message}.", place)
