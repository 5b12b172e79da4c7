"""The meaning of a mergekit file on one architecture, tensor by tensor.

By mergekit's own rules: the first filter that fits, gradients over a slice, embeddings with the
first slice and the head with the last. Tensors with equal actions become one step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from surgery.checkpoint.dtype import DType
from surgery.checkpoint.source import AdapterReference
from surgery.errors import CheckpointError, RecipeError, did_you_mean
from surgery.methods.table import METHODS, Scope
from surgery.recipe.mergekit.filters import pick
from surgery.recipe.mergekit.steps import (
    Between,
    ModelCopy,
    TensorSettings,
    action_of,
    combined,
    step_of,
)
from surgery.recipe.mergekit.tables import parts_of
from surgery.recipe.mergekit.values import convert
from surgery.recipe.recipe import Output, Recipe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from surgery.arch import Architecture, Component, Site
    from surgery.recipe.mergekit.layout import MergeConfiguration, OutputModule, Slice
    from surgery.recipe.mergekit.steps import Action
    from surgery.recipe.mergekit.tables import MergekitModule, Tensor
    from surgery.recipe.recipe import Reference
    from surgery.recipe.select import Selector


WAY_OUT = "Name one of its models: --model REF (a folder or org/name; only headers are read)."
"""The advice for a file that does not identify its models' family."""


@dataclass(frozen=True)
class _Spot:
    """A tensor in its slice.

    Attributes:
        tensor: The tensor.
        part: The module it belongs to.
        slice: The slice it is made from.
        module: Its module's settings.
        index: Its layer's place in the slice; None outside the layers.
        count: How many layers the slice has.
    """

    tensor: Tensor
    part: MergekitModule
    slice: Slice
    module: OutputModule
    index: int | None
    count: int

    @property
    def t(self) -> float:
        """Return the tensor's position on a gradient, as mergekit counts."""
        if self.index is None:
            return 0.0
        return self.index / (self.count - 1) if self.count > 1 else 1.0


class Reader:
    """The meaning of a layout on an architecture.

    Args:
        layout: The file.
        architecture: The model's sites.
        counted: The components whose layer counts come from the model.
    """

    def __init__(
        self, layout: MergeConfiguration, architecture: Architecture, counted: Collection[Component]
    ) -> None:
        self.layout = layout
        self.architecture = architecture
        self.base = _base(layout)
        self.counted = counted
        self.left_out: list[str] = []
        self._covered: dict[Any, bool] = {}

    @cached_property
    def groups(self) -> list[tuple[Action, frozenset[Site]]]:
        """Return actions, each with all sites that it fills.

        Gradients over different slices stay separate, because each has different layers.
        """
        groups: dict[Any, list[_Spot]] = {}
        actions: dict[Any, Action] = {}
        for spots in self.spots().values():
            for key, action, spot in self.decide(spots):
                groups.setdefault(key, []).append(spot)
                actions[key] = action
        steps: dict[Action, set[Site]] = {}
        gradients: list[tuple[Action, set[Site]]] = []
        for key, spots_of in groups.items():
            action, sites = actions[key], {spot.tensor.site for spot in spots_of}
            if isinstance(action, Between) and len(action.t) > 1:
                gradients.append((action, sites))
            else:
                steps.setdefault(action, set()).update(sites)
        return [(action, frozenset(sites)) for action, sites in [*steps.items(), *gradients]]

    def recipe(self, steps: Iterable[tuple[Action, Selector]], note: str = "") -> Recipe:
        """Return the recipe with these steps; what leaves the base as it is needs none."""
        names = self.names()
        return Recipe(
            name="from-mergekit",
            description=self.description() + note,
            models={name: _reference(text) for text, name in names.items()},
            base=names[self.base],
            steps=tuple(
                step_of(action, selector, names)
                for action, selector in steps
                if action != ModelCopy(self.base)
            ),
            output=Output(dtype=self.dtype()),
        )

    def tensor_names(self) -> list[str]:
        """Return mergekit's names of the model's tensors, which its filters are pieces of."""
        return [tensor.name for part in parts_of(self.architecture) for tensor in part.tensors()]

    def description(self) -> str:
        """Return the recipe's origin, and every deviation from mergekit."""
        text = f"From a mergekit file ({self.layout.method})."
        if self.left_out:
            text += (
                f" The file omits {' and '.join(self.left_out)}, which mergekit would drop "
                f"from the model; here it stays the base's."
            )
        return text

    def dtype(self) -> DType | None:
        """Return the output's element type."""
        if self.layout.dtype is None:
            return None
        try:
            return DType.from_torch_name(self.layout.dtype.removeprefix("torch."))
        except CheckpointError as error:
            key = "out_dtype" if self.layout.root.get("out_dtype") else "dtype"
            raise RecipeError(str(error), self.layout.root.walk((key,)).place) from None

    def names(self) -> dict[str, str]:
        """Return a short name for every model in the file."""
        texts = [self.base]
        for module in self.layout.modules.values():
            for piece in module.slices:
                texts += [source.model for source in piece.sources]
                texts += [piece.base] if piece.base else []
        names: dict[str, str] = {}
        for text in dict.fromkeys(texts):
            stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", text.split("@")[0].rstrip("/").split("/")[-1])
            stem = stem.strip("-.") or "model"
            stem = stem if re.match(r"[A-Za-z_]", stem) else f"model-{stem}"
            name, number = stem[:80], 2
            while name in names.values():
                name, number = f"{stem[:80]}-{number}", number + 1
            names[text] = name
        return names

    # --- the slice of each tensor ---------------------------------------------------------------

    def spots(self) -> dict[Tensor, list[_Spot]]:
        """Return every tensor's places; those of repeated layers have several."""
        parts = {part.name: part for part in parts_of(self.architecture)}
        modules: dict[str, OutputModule] = {}
        for key, module in self.layout.modules.items():
            modules.update(dict.fromkeys(parts, module) if key is None else {key: module})
        unknown = [name for name in modules if name not in parts]
        if unknown:
            raise RecipeError(
                f"unknown module {unknown[0]!r}.{did_you_mean(unknown[0], parts)}",
                self.layout.root.walk(("modules",)).place_of(unknown[0]),
            )
        self.left_out = [name for name in parts if name not in modules]
        places: dict[Tensor, list[_Spot]] = {}
        for name, module in modules.items():
            for spot in self.part_spots(parts[name], module):
                places.setdefault(spot.tensor, []).append(spot)
        return places

    def part_spots(self, part: MergekitModule, module: OutputModule) -> Iterator[_Spot]:
        """Return one module's tensors."""
        first, last = module.slices[0], module.slices[-1]
        yield from (_Spot(tensor, part, first, module, None, 0) for tensor in part.before)
        position = 0
        for piece in module.slices:
            stop = self.stop_of(piece, position, part)
            for index in range(position, stop):
                for tensor in part.layers[index]:
                    yield _Spot(tensor, part, piece, module, index - position, stop - position)
            position = stop
        if position != len(part.layers):
            raise RecipeError(
                f"the slices of {part.name} end with layer {position - 1}, but the model has "
                f"{len(part.layers)} layers; a recipe cannot leave layers out.",
                last.place,
            )
        yield from (_Spot(tensor, part, last, module, None, 0) for tensor in part.after)

    def stop_of(self, piece: Slice, layer: int, part: MergekitModule) -> int:
        """Return the end of a slice that must begin with layer `layer`."""
        stops, count = set(), len(part.layers)
        for source in piece.sources:
            stop = count if source.stop is None else source.stop
            empty = source.start == stop
            if stop > count:
                raise RecipeError(
                    f"layers {source.start}-{stop - 1} of {source.model} are named for {part.name},"
                    f" which has {count} layers. Slices at the top of a file count for every part "
                    "of the model; put those of one part under 'modules:' and the part's name.",
                    source.place,
                )
            if source.start != layer and not empty:
                end = layer + stop - source.start
                raise RecipeError(
                    f"layers {source.start}-{stop - 1} of {source.model} would become layers "
                    f"{layer}-{end - 1} of {count}; in a recipe every layer keeps its place.",
                    source.place,
                )
            stops.add(layer if empty else stop)
        if len(stops) != 1:
            raise RecipeError("the sources of a slice have different lengths.", piece.place)
        return stops.pop()

    # --- the action for each tensor -------------------------------------------------------------

    def decide(self, spots: list[_Spot]) -> Iterator[tuple[Any, Action, _Spot]]:
        """Return a tensor's action, with a key that is equal for tensors of one step."""
        spot = spots[0]
        if len(spots) > 1:
            actions = {self.action(item, item.t) for item in spots}
            if len(actions) > 1:
                raise RecipeError(
                    f"mergekit counts {len(spots)} layers in {spot.part.name} and would write "
                    f"{spot.tensor.name} once for each, with different results; give "
                    f"{spot.part.name} one number in modules.",
                    spot.slice.place,
                )
        length = self.gradient(spot) if spot.index is not None and len(spots) == 1 else 0
        if length < 0 and not self.has_real_count(spot):
            raise self.count_error(spot)
        if length > 1 and (spot.count > 1 or not self.has_real_count(spot)):
            anchors = [self.action(spot, j / (length - 1)) for j in range(length)]
            whole = combined(anchors, self.base)
            if whole is not None and spot.tensor.site.layer is not None and self.covers(spot):
                yield (whole, id(spot.slice), spot.part.name), whole, spot
                return
            if len(set(anchors)) > 1 and not self.has_real_count(spot):
                raise self.count_error(spot)
        action = self.action(spot, spot.t)
        yield action, action, spot

    def has_real_count(self, spot: _Spot) -> bool:
        """Check that the number of layers in the spot's slice is the real one."""
        site, stop = spot.tensor.site, spot.slice.sources[0].stop
        # Layers that only mergekit's table has, as in projectors, are as many as it says.
        return site.layer is None or site.component in self.counted or stop is not None

    def count_error(self, spot: _Spot) -> RecipeError:
        """Return the error for a gradient over layers whose number is not known."""
        return RecipeError(
            f"what becomes of {spot.tensor.name} depends on the number of layers, which this file "
            f"does not say. {WAY_OUT} Or use slices with layer_range.",
            spot.slice.place,
        )

    def gradient(self, spot: _Spot) -> int:
        """Count the anchors of the spot's gradients: 0 without, -1 when lengths differ."""
        lengths = {
            len(value)
            for source in spot.slice.sources
            for value in self.settings(spot, source.model).values()
            if isinstance(value, tuple)
        }
        if not lengths:
            return 0
        return lengths.pop() if len(lengths) == 1 else -1

    def covers(self, spot: _Spot) -> bool:
        """Check that the same gradients hold for this tensor in every layer of the slice."""
        site = spot.tensor.site
        key = (id(spot.slice), spot.part.name, site.module, site.leaf)
        if key not in self._covered:
            assert site.layer is not None and spot.index is not None  # asked of layers only
            start = site.layer - spot.index
            peers = [
                replace(spot, tensor=tensor)
                for group in spot.part.layers[start : start + spot.count]
                for tensor in group
                if (tensor.site.module, tensor.site.leaf) == (site.module, site.leaf)
            ]
            parameters = [
                [self.settings(peer, source.model) for source in spot.slice.sources]
                for peer in peers
            ]
            self._covered[key] = all(settings == parameters[0] for settings in parameters)
        return self._covered[key]

    def settings(self, spot: _Spot, model: str) -> dict[str, Any]:
        """Return a source's parameters for a tensor, gradients as tuples; the narrowest wins."""
        specific = next(s.parameters for s in spot.slice.sources if s.model == model)
        scopes = (specific, spot.slice.parameters, spot.module.parameters, self.layout.parameters)
        result: dict[str, Any] = {}
        for scope in scopes:
            for name, setting in scope.items():
                if name not in result:
                    value = pick(setting, spot.tensor.name)
                    if value is not None:
                        result[name] = value
        return result

    def action(self, spot: _Spot, t: float) -> Action:
        """Return a tensor's action at a point of its gradients."""
        parameters = {p.name: p for p in METHODS[self.layout.method].parameters}
        models: dict[str, Mapping[str, Any]] = {}
        shared: dict[str, Any] = {}

        def value_of(name: str, value: Any) -> Any:
            if name in parameters:
                value = convert(value, parameters[name], spot.slice.place)
            return _value_at(value, t)

        for source in spot.slice.sources:
            if source.model in models:
                raise RecipeError(f"{source.model} is named twice in one slice.", source.place)
            values = {n: value_of(n, v) for n, v in self.settings(spot, source.model).items()}
            split = {n for n in values if n in parameters and parameters[n].scope is Scope.SHARED}
            models[source.model] = {n: v for n, v in values.items() if n not in split}
        for scope in (spot.slice.parameters, spot.module.parameters, self.layout.parameters):
            for name, setting in scope.items():
                value = pick(setting, spot.tensor.name)
                if (
                    value is not None
                    and name in parameters
                    and parameters[name].scope is Scope.SHARED
                ):
                    shared.setdefault(name, value_of(name, value))
        return action_of(
            TensorSettings(
                self.layout.method,
                models,
                shared,
                spot.slice.base or self.layout.base,
                self.base,
                spot.slice.place,
            )
        )


def _value_at(value: Any, t: float) -> Any:
    """Return a setting's value at a point of its gradient, as mergekit counts."""
    if not isinstance(value, tuple):
        return value
    position = t * (len(value) - 1)
    if any(isinstance(item, bool) for item in value):
        return value[int(position)]
    low = int(position)
    high = min(len(value) - 1, low + 1)
    share = position - low
    return (1 - share) * value[low] + share * value[high]


def _base(layout: MergeConfiguration) -> str:
    """Return the recipe's base: the file's, or else the first model it names."""
    if layout.base is not None:
        return layout.base
    return next(iter(layout.modules.values())).slices[0].sources[0].model


def _reference(text: str) -> Reference:
    """Return a model as recipes name it; a LoRA follows its base after a plus."""
    base, plus, adapter = text.partition("+")
    return AdapterReference(base, adapter) if plus else text
