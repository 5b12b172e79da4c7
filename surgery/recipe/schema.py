"""The schema of a recipe's YAML. The JSON schema for editors is generated from these classes.

Every check that can fail in more than one way is one function that says what it found and what it
wants, so that a person reads one sentence and not a union's worth of alternatives.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    StringConstraints,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from surgery.arch.site import Component
from surgery.errors import did_you_mean
from surgery.methods.table import METHODS
from surgery.text import abbreviate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STEP_KINDS = ("transplant", "interpolate", "add", "merge")
DTYPES = ("bfloat16", "float16", "float32", "float64")
_SIZE = re.compile(
    r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*(B|KB|MB|GB|TB|KIB|MIB|GIB|TIB)\Z", re.IGNORECASE
)
_UNITS = {"B": 1} | {
    f"{letter}{middle}B": base**power
    for middle, base in (("", 1000), ("I", 1024))
    for power, letter in enumerate("KMGT", start=1)
}
_FLOAT32_MAX = 3.4028234663852886e38
_CUT_PAIR = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1},
    "minItems": 2,
    "maxItems": 2,
}
_ANCHORS = {
    "anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}, "minItems": 1}]
}
_FRACTIONS = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 1},
        {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 1},
            "minItems": 1,
        },
    ]
}
_SELECTOR_TEXT = {
    "type": "string",
    "pattern": (
        r"^\s*!?\s*(\*|" + "|".join(Component) + r")\s*(\[[^\]]*\])?\s*(\.\s*[A-Za-z0-9_.*-]+)?\s*"
        r"(,\s*!?\s*(\*|" + "|".join(Component) + r")\s*(\[[^\]]*\])?\s*"
        r"(\.\s*[A-Za-z0-9_.*-]+)?\s*)*$"
    ),
    "examples": ["language[9:18].mlp", "language[late]", "vision, !vision.norm", "*"],
}
_SELECTOR = {"anyOf": [_SELECTOR_TEXT, {"type": "array", "items": _SELECTOR_TEXT, "minItems": 1}]}
_SCALARS = {"type": "object", "additionalProperties": {"type": ["number", "boolean"]}}
_MERGE_MODELS = {
    "anyOf": [
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
        {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"anyOf": [_SCALARS, {"type": "null"}]},
        },
    ]
}


def fail(message: str, *path: str | int) -> NoReturn:
    """Refuse a value; `at` leads from it to the part that is wrong."""
    raise PydanticCustomError("recipe", "{message}", {"message": message, "at": path})


def kind_of(value: object) -> str:
    """Return the kind of a value, in YAML's words."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return abbreviate(text, 60)


def _plain(value: str) -> str:
    """Text that a terminal and a model card can show."""
    if not all(letter.isprintable() or letter in "\n\t" for letter in value):
        fail(f"expected plain text, found control characters in {kind_of(value)}")
    return value


def _one_line(value: str | None) -> str | None:
    if value is not None and not value.isprintable():
        fail(f"expected one line of plain text, found {kind_of(value)}")
    return value


def _number(value: object, *path: str | int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        fail(f"expected a number, found {kind_of(value)}", *path)
    if abs(value) > _FLOAT32_MAX:
        fail(f"expected a number that float32 can hold, found {kind_of(value)}", *path)
    return float(value)


def _anchors(value: object) -> tuple[float, ...]:
    if not isinstance(value, list):
        if isinstance(value, str) or value is None:
            fail(f"expected a number or a list of numbers, found {kind_of(value)}")
        return (_number(value),)
    if not value:
        fail("expected a number or a list of numbers, found an empty list")
    return tuple(_number(item, index) for index, item in enumerate(value))


def _fractions(value: object) -> tuple[float, ...]:
    anchors = _anchors(value)
    for index, t in enumerate(anchors):
        if not 0 <= t <= 1:
            fail(
                f"t goes from 0 (the base) to 1 (the other model), found {t:g}; to go beyond, use "
                f"an 'add' step",
                *([index] if isinstance(value, list) else []),
            )
    return anchors


def _selector(value: object) -> list[str]:
    items: list[Any] = value if isinstance(value, list) else [value]
    expectation = "expected a selector such as 'language[9:18].mlp'"
    if not items:
        fail(f"{expectation}, found an empty list")
    for index, item in enumerate(items):
        position = [index] if isinstance(value, list) else []
        if not isinstance(item, str):
            fail(f"{expectation}, found {kind_of(item)}", *position)
    return items


def _size(value: object) -> int:
    expected = "expected a size such as 5GB or 200MB, or a number of bytes"
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        match = _SIZE.match(value.strip()) if isinstance(value, str) else None
        if match is None:
            fail(f"{expected}, found {kind_of(value)}")
        size = int(float(match[1]) * _UNITS[match[2].upper()])
    if size < 1:
        fail(f"{expected}, found {kind_of(value)}")
    return size


def _dtype(value: object) -> str:
    if not isinstance(value, str) or value not in DTYPES:
        near = did_you_mean(str(value), DTYPES)
        fail(f"unknown dtype {kind_of(value)}.{near}")
    return value


def _pair(value: object, *path: str | int) -> tuple[int, int]:
    expected = "expected two layers, the first of mid and the first of late, such as [8, 20]"
    if not isinstance(value, list) or len(value) != 2:
        fail(f"{expected}, found {kind_of(value)}", *path)
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int):
            fail(f"{expected}, found {kind_of(item)} in it", *path)
    if not 0 < value[0] < value[1]:
        fail(f"{expected}, in ascending order and above 0, found {value}", *path)
    return value[0], value[1]


def _cuts(value: object) -> dict[Component, tuple[int, int]]:
    if not isinstance(value, dict):
        return {Component.LANGUAGE: _pair(value)}
    names = [component.value for component in Component]
    for name in value:
        if name not in names:
            fail(f"unknown component {name!r}.{did_you_mean(str(name), names)}", name)
    return {Component(name): _pair(pair, name) for name, pair in value.items()}


def _scalars(value: object, *path: str | int) -> dict[str, float | int | bool]:
    if not isinstance(value, dict):
        fail(f"expected parameters such as {{weight: 0.5}}, found {kind_of(value)}", *path)
    for name, item in value.items():
        if isinstance(item, list):
            fail(
                f"{name} takes one number; for other values in other layers, write one merge step "
                f"per range of layers",
                *path,
                name,
            )
        if not isinstance(item, bool):
            _number(item, *path, name)
    return dict(value)


def _merge_models(value: object) -> dict[str, dict[str, float | int | bool]]:
    expected = (
        "expected the names of models, [in, rl], or models with parameters, {rl: {weight: 1}}"
    )
    if isinstance(value, dict) and value:
        return {
            name: {} if parameters is None else _scalars(parameters, name)
            for name, parameters in value.items()
        }
    if not isinstance(value, list) or not value:
        fail(f"{expected}, found {kind_of(value) if value or value is None else 'none'}")
    for index, name in enumerate(value):
        if not isinstance(name, str):
            fail(f"{expected}, found {kind_of(name)}", index)
        if name in value[:index]:
            fail(f"{name!r} is named twice", index)
    return {name: {} for name in value}


def _method(value: object) -> str:
    if not isinstance(value, str) or value not in METHODS:
        fail(f"unknown method {kind_of(value)}.{did_you_mean(str(value), METHODS)}")
    return value


def _interpolation(value: object) -> str:
    if value not in ("linear", "slerp"):
        near = did_you_mean(str(value), ["linear", "slerp"])
        fail(
            f"interpolate goes along a line (linear) or a great circle (slerp), found "
            f"{kind_of(value)}.{near} Other methods belong to a 'merge' step"
        )
    return str(value)


def _checked(function: Callable[[object], Any], schema: Mapping[str, Any]) -> tuple[Any, ...]:
    return PlainValidator(function), WithJsonSchema(dict(schema))


_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
ModelName: TypeAlias = Annotated[str, StringConstraints(pattern=_NAME, max_length=100)]
SelectorField: TypeAlias = Annotated[list[str], *_checked(_selector, _SELECTOR)]
Anchors: TypeAlias = Annotated[tuple[float, ...], *_checked(_anchors, _ANCHORS)]
Fractions: TypeAlias = Annotated[tuple[float, ...], *_checked(_fractions, _FRACTIONS)]


class Strict(BaseModel):
    """No unknown keys, no guessing of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


class AdapterModel(Strict):
    """A base model with a PEFT LoRA adapter on top."""

    base: str = Field(min_length=1, description="Base model of the adapter.")
    adapter: str = Field(min_length=1, description="Folder or Hub repository of the adapter.")


class TransplantStep(Strict):
    """Take the selected tensors from another model, bit for bit."""

    transplant: SelectorField = Field(description="Selector of the tensors.")
    source: ModelName = Field(alias="from", description="Source model.")


class InterpolateStep(Strict):
    """Put the selected tensors between the base's and another model's."""

    interpolate: SelectorField = Field(description="Selector of the tensors.")
    source: ModelName = Field(alias="from", description="Model at t = 1; the base is at t = 0.")
    method: Annotated[
        Literal["linear", "slerp"], *_checked(_interpolation, {"enum": ["linear", "slerp"]})
    ] = Field(default="linear", description="Interpolation along a line or a great circle.")
    t: Fractions = Field(description="One number, or anchors spread over the selected layers.")


class AddStep(Strict):
    """Task arithmetic: base + weight * (plus - minus)."""

    add: SelectorField = Field(description="Selector of the tensors.")
    plus: ModelName = Field(description="Model whose change is added.")
    minus: ModelName = Field(description="Model from which the change is measured.")
    weight: Anchors = Field(
        default=(1.0,), description="One number, or anchors spread over the selected layers."
    )


class MergeStep(Strict):
    """Make the selected tensors with any of mergekit's methods."""

    merge: SelectorField = Field(description="Selector of the tensors.")
    method: Annotated[str, *_checked(_method, {"enum": list(METHODS)})] = Field(
        description="The method, by mergekit's name."
    )
    models: Annotated[
        dict[str, dict[str, float | int | bool]], *_checked(_merge_models, _MERGE_MODELS)
    ] = Field(description="Models by name, each with its own parameters.")
    base: ModelName | None = Field(
        default=None, description="Base model of the deltas; the recipe's base by default."
    )
    parameters: Annotated[dict[str, float | int | bool], *_checked(_scalars, _SCALARS)] = Field(
        default_factory=dict, description="Parameters for all models."
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of random methods.")


class OutputModel(Strict):
    """Format of the output."""

    dtype: Annotated[str, *_checked(_dtype, {"enum": list(DTYPES)})] | None = Field(
        default=None, description="Element type of the weights; the base's by default."
    )
    max_shard_size: (
        Annotated[
            int,
            *_checked(
                _size,
                {
                    "anyOf": [
                        {"type": "integer", "minimum": 1},
                        {
                            "type": "string",
                            "pattern": r"^[0-9]+(\.[0-9]+)?\s*([KMGTkmgt][Ii]?)?[Bb]$",
                        },
                    ]
                },
            ),
        ]
        | None
    ) = Field(default=None, description="Maximum size of a weight file, such as 5GB.")


class RegionsModel(Strict):
    """Boundaries of early, mid and late."""

    cuts: Annotated[
        dict[Component, tuple[int, int]],
        *_checked(
            _cuts,
            {
                "anyOf": [
                    _CUT_PAIR,
                    {
                        "type": "object",
                        "properties": {component.value: _CUT_PAIR for component in Component},
                        "additionalProperties": False,
                    },
                ]
            },
        ),
    ] = Field(description="First layer of mid and of late, for language or per component.")


def step_kind(value: object) -> str | None:
    """Return the step's kind, named by its key; None when there is not exactly one."""
    if not isinstance(value, dict):
        return None
    kinds = [kind for kind in STEP_KINDS if kind in value]
    return f"{kinds[0]}-step" if len(kinds) == 1 else None


def _model_kind(value: object) -> str:
    return "adapter-model" if isinstance(value, dict) else "text-model"


StepModel: TypeAlias = Annotated[
    Annotated[TransplantStep, Tag("transplant-step")]
    | Annotated[InterpolateStep, Tag("interpolate-step")]
    | Annotated[AddStep, Tag("add-step")]
    | Annotated[MergeStep, Tag("merge-step")],
    Discriminator(step_kind),
]
ModelValue: TypeAlias = Annotated[
    Annotated[Annotated[str, StringConstraints(min_length=1)] | None, Tag("text-model")]
    | Annotated[AdapterModel, Tag("adapter-model")],
    Discriminator(_model_kind),
]


class RecipeModel(Strict):
    """A recipe: which tensors of which models make the new one."""

    extends: str | list[str] | None = Field(
        default=None,
        description="Recipes to start from, as paths next to this file or bundled names.",
    )
    name: Annotated[str | None, AfterValidator(_one_line)] = Field(
        default=None, min_length=1, max_length=200, description="Name."
    )
    description: Annotated[str, AfterValidator(_plain)] = Field(
        default="", description="Purpose, as free text; it appears on the model card."
    )
    models: dict[ModelName, ModelValue] = Field(
        min_length=1,
        description="Models by name: folders, Hub repositories or adapters; null is bound with "
        "--model NAME=REF.",
    )
    base: ModelName = Field(description="Model that supplies every tensor that no step selects.")
    regions: RegionsModel | None = Field(
        default=None, description="Boundaries of early, mid and late; thirds by default."
    )
    steps: list[StepModel] = Field(
        description="Steps that replace tensors of the base; each tensor at most once."
    )
    output: OutputModel = Field(
        default_factory=OutputModel, description="Element type and shard size."
    )
    vocabulary: Literal["same", "ignore"] = Field(
        default="same", description="`ignore` accepts models whose tokenizers differ."
    )
