"""What may stand in a training configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from surgery.recipe.schema import RegionsModel, SelectorField, Strict, fail

Count = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DataModel(Strict):
    """What is learnt from."""

    suites: list[str] = Field(
        min_length=1,
        description="'specimen', or YAML files of your own suites; published benchmarks are for "
        "measuring.",
    )
    tasks: dict[str, Positive] = Field(
        default_factory=dict,
        description="Tasks and their weights; all tasks by their size when absent.",
    )
    samples: Annotated[int, Field(ge=1, le=10**7)] | None = Field(
        default=None, description="How many samples are drawn; all of a file when absent."
    )
    seed: int = Field(default=0, ge=0, description="Which ones are drawn.")
    style: str = Field(default="plain", description="Prompt style, as in an evaluation.")
    max_pixels: Count | None = Field(
        default=1280 * 720, description="Larger images are made smaller; null never does."
    )


class TrainModel(Strict):
    """What supervised training and reinforcement share."""

    model: str = Field(
        min_length=1, description="Where training starts: a folder, a Hub id or specimen:STAGE."
    )
    data: DataModel = Field(description="What is learnt from.")
    freeze: SelectorField | None = Field(default=None, description="What stands still.")
    train: SelectorField | None = Field(
        default=None, description="What learns, all else standing still."
    )
    regions: RegionsModel | None = Field(default=None, description="Where regions are cut.")
    steps: Count = Field(description="Optimizer steps.")
    batch: Count = Field(description="Demonstrations, or responses, per step.")
    micro_batch: Count | None = Field(
        default=None, description="How many of them a device holds at once; all when absent."
    )
    lr: Positive = Field(description="Peak learning rate.")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        default="constant", description="What the learning rate does after the warm-up."
    )
    warmup: int = Field(default=0, ge=0, description="Steps of warm-up.")
    weight_decay: Share = Field(default=0.0, description="Decoupled, of AdamW.")
    max_grad_norm: Share = Field(default=1.0, description="Gradients are clipped to it.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of order, dropout and sampling.")
    checkpoint_every: Count | None = Field(
        default=None, description="Steps between checkpoints to resume from; none when absent."
    )
    keep: Count | None = Field(
        default=2, description="How many of the last checkpoints stay; null keeps all."
    )
    log_to: list[Literal["trackio", "wandb"]] = Field(
        default=[], description="Services that are told as well as log.csv."
    )
    trl: dict[str, Any] = Field(
        default_factory=dict,
        description="Further fields of TRL's SFTConfig or GRPOConfig, such as use_vllm.",
    )

    @model_validator(mode="after")
    def _whole(self) -> TrainModel:
        if self.freeze is not None and self.train is not None:
            fail("give freeze (what stands still) or train (what learns), not both", "train")
        if self.micro_batch is not None and self.batch % self.micro_batch:
            fail(f"micro_batch {self.micro_batch} does not divide batch {self.batch}",
                 "micro_batch")  # fmt: skip
        return self


class SftModel(TrainModel):
    """Supervised training on demonstrations."""


class GrpoModel(TrainModel):
    """Reinforcement by group relative policy optimization (arXiv 2402.03300)."""

    rewards: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        min_length=1, description="Rewards by name, with their weights."
    )
    form: Literal["answer-tag", "boxed", "any"] | None = Field(
        default=None, description="What `format` wants; what the style asks for when absent."
    )
    grader: str = Field(default="strict", description="How `correct` reads and compares answers.")
    group: Annotated[int, Field(ge=2)] = Field(
        default=8, description="Responses to each prompt, compared with each other."
    )
    temperature: Annotated[float, Field(ge=0.01, le=100)] = Field(
        default=1.0, description="At which responses are sampled."
    )
    max_new_tokens: Count = Field(default=1024, description="Longest response.")
    kl: Share = Field(
        default=0.0, description="Weight of the divergence from where training started."
    )
    clip: Positive = Field(default=0.2, description="How far a probability ratio may count.")
    updates: Count = Field(default=1, description="Optimizer steps on each batch of responses.")
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = Field(
        default="grpo", description="How tokens are averaged, by TRL's names."
    )

    @model_validator(mode="after")
    def _grouped(self) -> GrpoModel:
        if self.batch % self.group:
            fail(f"batch counts responses, so group {self.group} must divide it; found "
                 f"{self.batch}", "batch")  # fmt: skip
        if self.checkpoint_every is not None and self.checkpoint_every % self.updates:
            # A checkpoint does not hold the responses that are still to be learnt from.
            fail(f"checkpoint_every {self.checkpoint_every} falls between the {self.updates} "
                 "updates on one batch of responses; make it a multiple",
                 "checkpoint_every")  # fmt: skip
        return self
