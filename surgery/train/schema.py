"""The schema of a training configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from surgery.recipe.schema import RegionsModel, SelectorField, Strict, fail

Count = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DataModel(Strict):
    """The training samples."""

    suites: list[str] = Field(
        min_length=1,
        description="'specimen', or YAML files of custom suites; published benchmarks are for "
        "measuring.",
    )
    tasks: dict[str, Positive] = Field(
        default_factory=dict,
        description="Tasks and their weights; by default all tasks, weighted by size.",
    )
    samples: Annotated[int, Field(ge=1, le=10**7)] | None = Field(
        default=None, description="Number of samples; all of a file by default."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the selection.")
    style: str = Field(default="plain", description="Prompt style, as in an evaluation.")
    max_pixels: Count | None = Field(
        default=1280 * 720,
        description="Maximum pixels of an image; larger images are shrunk; null disables it.",
    )


class TrainModel(Strict):
    """The keys that SFT and GRPO share."""

    model: str = Field(
        min_length=1, description="Initial model: a folder, a Hub repository or specimen:STAGE."
    )
    data: DataModel = Field(description="The training samples.")
    freeze: SelectorField | None = Field(
        default=None, description="Selectors of the frozen tensors."
    )
    train: SelectorField | None = Field(
        default=None, description="Selectors of the trained tensors; all others are frozen."
    )
    regions: RegionsModel | None = Field(
        default=None, description="Boundaries of early, mid and late; thirds by default."
    )
    steps: Count = Field(description="Optimizer steps.")
    batch: Count = Field(
        description="Demonstrations (SFT) or responses (GRPO) per step, over all devices."
    )
    micro_batch: Count | None = Field(
        default=None, description="Examples per device and forward pass; all when absent."
    )
    lr: Positive = Field(description="Peak learning rate.")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        default="constant", description="Learning rate schedule after the warm-up."
    )
    warmup: int = Field(default=0, ge=0, description="Warm-up steps.")
    weight_decay: Share = Field(default=0.0, description="Weight decay of AdamW.")
    max_grad_norm: Share = Field(default=1.0, description="Gradient clipping norm.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of order, dropout and sampling.")
    checkpoint_every: Count | None = Field(
        default=None, description="Steps between checkpoints for resuming; none by default."
    )
    keep: Count | None = Field(default=2, description="Number of kept checkpoints; null keeps all.")
    log_to: list[Literal["trackio", "wandb"]] = Field(
        default=[], description="Services that get the log, in addition to log.csv."
    )
    trl: dict[str, Any] = Field(
        default_factory=dict,
        description="Further fields of TRL's SFTConfig or GRPOConfig, such as use_vllm.",
    )

    @model_validator(mode="after")
    def _whole(self) -> TrainModel:
        if self.freeze is not None and self.train is not None:
            fail("set freeze (frozen selectors) or train (trained selectors), not both", "train")
        if self.micro_batch is not None and self.batch % self.micro_batch:
            fail(f"micro_batch {self.micro_batch} does not divide batch {self.batch}",
                 "micro_batch")  # fmt: skip
        return self


class SftModel(TrainModel):
    """Supervised training on demonstrations."""


class GrpoModel(TrainModel):
    """Reinforcement by group relative policy optimization (arXiv 2402.03300)."""

    rewards: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        min_length=1, description="Rewards by name, with weights."
    )
    form: Literal["answer-tag", "boxed", "any"] | None = Field(
        default=None, description="Form that `format` rewards; the style's by default."
    )
    grader: str = Field(
        default="strict", description="Grading rules of `correct`: strict or paper."
    )
    group: Annotated[int, Field(ge=2)] = Field(
        default=8, description="Responses per prompt; divides batch."
    )
    temperature: Annotated[float, Field(ge=0.01, le=100)] = Field(
        default=1.0, description="Sampling temperature."
    )
    max_new_tokens: Count = Field(default=1024, description="Maximum tokens of a response.")
    kl: Share = Field(
        default=0.0, description="Weight of the KL divergence from the initial model (TRL's beta)."
    )
    clip: Positive = Field(
        default=0.2, description="Clipping range of the probability ratio (TRL's epsilon)."
    )
    updates: Count = Field(
        default=1, description="Optimizer steps per batch of responses (TRL's num_iterations)."
    )
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = Field(
        default="grpo", description="Averaging over tokens (TRL's loss_type)."
    )

    @model_validator(mode="after")
    def _grouped(self) -> GrpoModel:
        if self.batch % self.group:
            fail(f"batch counts responses, so group {self.group} must divide it; found "
                 f"{self.batch}", "batch")  # fmt: skip
        if self.checkpoint_every is not None and self.checkpoint_every % self.updates:
            # A checkpoint does not hold responses that are not yet learned from.
            fail(f"checkpoint_every {self.checkpoint_every} falls between the {self.updates} "
                 "updates on one batch of responses; make it a multiple",
                 "checkpoint_every")  # fmt: skip
        return self
