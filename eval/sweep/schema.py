"""The schema of a sweep's YAML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from eval.generation import PAPER_PIXELS
from surgery.recipe.schema import ModelName, ModelValue, RegionsModel, Strict

Fraction = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[int, Field(ge=1)]


class GenerationModel(Strict):
    """Decoding options."""

    max_new_tokens: Number | None = Field(
        default=None, description="Maximum tokens of a response; each suite's own limit by default."
    )
    temperature: float = Field(default=0.0, ge=0, description="0 is greedy.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Nucleus sampling probability.")
    repeats: Number = Field(default=1, description="Responses per question when sampling.")
    seed: int = Field(default=0, ge=0, description="Seed of sampling.")
    max_pixels: Number | None = Field(
        default=PAPER_PIXELS,
        description="Maximum pixels of an image; larger images are shrunk; null disables it.",
    )


class GridModel(Strict):
    """Every combination of these becomes a variant."""

    regions: list[str] = Field(
        default=["early", "mid", "late"],
        min_length=1,
        description="Decoder regions: early, mid, late, or layers such as 0:9.",
    )
    modules: list[str] = Field(
        default=["all"], min_length=1, description="Modules: all, attention, mlp, norm."
    )
    methods: list[Literal["transplant", "linear", "slerp"]] = Field(
        default=["transplant"], min_length=1, description="Methods for the donor's layers."
    )
    t: list[Fraction] = Field(
        default=[0.5],
        min_length=1,
        description="Positions for linear and slerp: 0 is the base, 1 the donor.",
    )


class VariantsModel(Strict):
    """The variants of a sweep."""

    plain: list[ModelName] | None = Field(
        default=None, description="Unmerged models; all models by default."
    )
    thirds: bool = Field(default=False, description="The paper's six splices of base and donor.")
    layers: list[Literal["language", "vision"]] = Field(
        default=[], description="Components whose single layers are transplanted one at a time."
    )
    grid: GridModel | None = Field(
        default=None, description="Grid of regions, modules, methods and t."
    )
    recipes: list[str] = Field(
        default=[], description="Recipe files, next to this file, or names of bundled recipes."
    )


class SweepModel(Strict):
    """A sweep: variants times suites."""

    name: str | None = Field(default=None, min_length=1, max_length=200, description="Name.")
    description: str = Field(
        default="", description="Purpose, as free text; it appears on the model card."
    )
    models: dict[ModelName, ModelValue] = Field(
        min_length=1, description="Models by name: folders, Hub repositories or adapters."
    )
    base: ModelName | None = Field(
        default=None, description="Model that supplies all other tensors of a variant."
    )
    donor: ModelName | None = Field(default=None, description="Source model of moved layers.")
    against: ModelName | None = Field(
        default=None, description="Variant that all others are compared with; base by default."
    )
    regions: RegionsModel | None = Field(
        default=None, description="Boundaries of early, mid and late; thirds by default."
    )
    variants: VariantsModel = Field(
        default_factory=VariantsModel, description="Variants to evaluate."
    )
    suites: list[str] = Field(
        min_length=1, description="Names of suites, or paths of custom suites."
    )
    data: dict[str, str] = Field(
        default_factory=dict, description="Local folders of benchmarks, by name."
    )
    descriptions: str | None = Field(
        default=None, description="JSON Lines file of image descriptions."
    )
    samples: Number | None = Field(
        default=None, description="Samples per task; each suite's own number by default."
    )
    seed: int = Field(default=123, ge=0, description="Seed of the selection of samples.")
    style: object = Field(
        default="plain",
        description="Prompt style: a name, a YAML file, or system, prefix, suffix and form.",
    )
    grader: str = Field(default="strict", description="Grading rules: strict or paper.")
    generation: GenerationModel = Field(
        default_factory=GenerationModel, description="Decoding options."
    )
