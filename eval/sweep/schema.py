"""What may stand in a sweep's YAML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from eval.generation import PAPER_PIXELS
from surgery.recipe.schema import ModelName, ModelValue, RegionsModel, Strict

Fraction = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[int, Field(ge=1)]


class GenerationModel(Strict):
    """How answers are generated."""

    max_new_tokens: Number | None = Field(
        default=None, description="Longest answer; each suite's own limit when absent."
    )
    temperature: float = Field(default=0.0, ge=0, description="0 is greedy.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Nucleus that is sampled from.")
    repeats: Number = Field(default=1, description="Answers per question when sampling.")
    seed: int = Field(default=0, ge=0, description="Where sampling starts.")
    max_pixels: Number | None = Field(
        default=PAPER_PIXELS, description="Larger images are made smaller; null never does."
    )


class GridModel(Strict):
    """Every combination of these becomes a variant."""

    regions: list[str] = Field(
        default=["early", "mid", "late"],
        min_length=1,
        description="Of the decoder: early, mid, late, or layers such as 0:9.",
    )
    modules: list[str] = Field(
        default=["all"], min_length=1, description="all, attention, mlp, norm."
    )
    methods: list[Literal["transplant", "linear", "slerp"]] = Field(
        default=["transplant"], min_length=1, description="How the donor's layers come in."
    )
    t: list[Fraction] = Field(
        default=[0.5], min_length=1, description="For linear and slerp: 0 is the base, 1 the donor."
    )


class VariantsModel(Strict):
    """Which models are scored."""

    plain: list[ModelName] | None = Field(
        default=None, description="Models as they are; all of them when absent."
    )
    thirds: bool = Field(default=False, description="The paper's six splices of base and donor.")
    layers: list[Literal["language", "vision"]] = Field(
        default=[], description="One layer of the donor at a time, of these components."
    )
    grid: GridModel | None = Field(default=None, description="Regions, modules, methods and t.")
    recipes: list[str] = Field(
        default=[], description="Recipe files, next to this one, or names of bundled ones."
    )


class SweepModel(Strict):
    """A sweep: variants times suites."""

    name: str | None = Field(default=None, min_length=1, max_length=200, description="Its name.")
    description: str = Field(default="", description="What it is for.")
    models: dict[ModelName, ModelValue] = Field(
        min_length=1, description="Names to folders, Hub ids or adapters."
    )
    base: ModelName | None = Field(
        default=None, description="Where every tensor of a variant comes from unless it is moved."
    )
    donor: ModelName | None = Field(default=None, description="Where moved layers come from.")
    against: ModelName | None = Field(
        default=None, description="The variant all are compared with; base when absent."
    )
    regions: RegionsModel | None = Field(default=None, description="Where regions are cut.")
    variants: VariantsModel = Field(
        default_factory=VariantsModel, description="Which models are scored."
    )
    suites: list[str] = Field(
        min_length=1, description="Names of suites, or paths to suites of your own."
    )
    data: dict[str, str] = Field(
        default_factory=dict, description="Local folders of benchmarks, by their name."
    )
    descriptions: str | None = Field(
        default=None, description="A jsonl file of descriptions of images."
    )
    samples: Number | None = Field(default=None, description="Samples per task.")
    seed: int = Field(default=123, ge=0, description="Which samples are drawn.")
    style: object = Field(
        default="plain",
        description="Prompt style: a name, a YAML file, or system, prefix, suffix and form.",
    )
    grader: str = Field(default="strict", description="How answers are read and compared.")
    generation: GenerationModel = Field(
        default_factory=GenerationModel, description="How answers are generated."
    )
