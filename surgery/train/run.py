"""From a configuration to a trained checkpoint: resumable, and proven to have kept still."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError
from safetensors import SafetensorError

from surgery.checkpoint.dtype import DType
from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.open import open_checkpoint
from surgery.errors import CheckpointError, ExecutionError, first_line, shortage
from surgery.train.folder import LOG, RunFolder, is_first
from surgery.train.log import CsvLog, grpo_columns, sft_columns
from surgery.train.model import load_model, load_processing
from surgery.train.proof import check_frozen, fingerprints, left_out
from surgery.train.region import FrozenRegion, freeze, frozen_region
from surgery.train.save import save_model
from surgery.train.trainer import Parts, make_grpo, make_sft, trl_module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from surgery.checkpoint.source import CheckpointInfo
    from surgery.train.example import Example, Reward
    from surgery.train.load import Config
    from surgery.train.schema import GrpoModel, SftModel

    RowReport = Callable[[Mapping[str, str], int], object]
    Build = Callable[[Parts], Any]


_FIRST_STEP_ERRORS = (
    TemplateError, TypeError, LookupError, AttributeError, ValueError, RuntimeError,
)  # fmt: skip
"""Errors of templates, tokenizers, processors and models for files that do not match."""


@dataclass(frozen=True)
class Trained:
    """The result of a training run.

    Attributes:
        folder: The trained checkpoint.
        region: What stood still.
        unmoved: Parameters that were to learn and did not change.
        rounded: Tensors of the files that were to learn and are what they were, because their
            element type is too coarse for how far they moved.
        left_out: Tensors of the start that are no part of the model, and so not of the result.
        resumed: The step from which it resumed; 0 for a fresh start.
        seconds: How long it took, from that step on.
    """

    folder: Path
    region: FrozenRegion
    unmoved: tuple[str, ...]
    rounded: tuple[str, ...]
    left_out: tuple[str, ...]
    resumed: int
    seconds: float


def train_sft(
    config: Config[SftModel],
    examples: Sequence[Example],
    out: Path,
    progress: RowReport | None = None,
) -> Trained:
    """Train on demonstrations.

    Args:
        config: How.
        examples: The training examples; each has a demonstration.
        out: The run's folder; an interrupted run resumes from its last checkpoint.
        progress: Called with every row of the log and the number of steps.

    Raises:
        SurgeryError: If the model, an example or a setting cannot be used, or `out` holds
            another run.
        ExecutionError: If something that was to stand still did not.
    """
    bare = next((example.name for example in examples if not example.demonstration), None)
    if bare is not None:
        raise ExecutionError(
            f"{bare} has no demonstration, which supervised training requires. Give every sample "
            f"a 'demonstration', the assistant's turn in full."
        )
    run = _Run("sft", config, examples, out, CsvLog(out / LOG, sft_columns(), progress))
    return run.done(lambda parts: make_sft(config, parts))


def train_grpo(
    config: Config[GrpoModel],
    examples: Sequence[Example],
    rewards: Mapping[str, Reward],
    out: Path,
    progress: RowReport | None = None,
) -> Trained:
    """Reinforce by rewards; as `train_sft`.

    Args:
        config: How.
        examples: What is asked.
        rewards: By name: those of the configuration, and any that are to be logged besides.
        out: The run's folder.
        progress: Called with every row of the log and the number of steps.
    """
    log = CsvLog(out / LOG, grpo_columns(list(rewards)), progress)
    run = _Run("grpo", config, examples, out, log)
    return run.done(lambda parts: make_grpo(config, rewards, parts))


@dataclass(frozen=True)
class _Run:
    """One run in its folder."""

    kind: str
    config: Config[Any]
    examples: Sequence[Example]
    out: Path
    log: CsvLog

    def done(self, build: Build) -> Trained:
        """Train from the last checkpoint, or from the start, and save the result."""
        trl_module()  # before anything is read or written
        with open_checkpoint(self.config.model.model) as checkpoint:
            info = checkpoint.info
        _check_start(info)
        processor = load_processing(info.folder)
        self._check_images(processor)
        model = load_model(info.folder, info.config)
        region = frozen_region(
            model, self.config.selectors, inverse=self.config.inverse, cuts=self.config.cuts
        )
        before = fingerprints(model)
        folder = RunFolder(self.out)
        record = self._record(info, before)
        with folder.claimed(record):
            resumed = folder.last()
            if resumed:
                # transformers' trainer looks for the weights by their names in memory, finds none
                # of them in files that spell names as they were published, and says nothing.
                model = load_model(folder.checkpoint(resumed), info.config)
                model.config._name_or_path = str(info.folder)  # where KL is measured from
            freeze(model, region)
            trainer = build(Parts(model, processor, self.examples, folder.checkpoints, [self.log]))
            if is_first():
                self.log.start(resumed)
            started = time.monotonic()
            if resumed < self.config.model.steps:
                self._train(trainer, folder.checkpoint(resumed) if resumed else None)
            seconds = time.monotonic() - started
            trained = trainer.accelerator.unwrap_model(trainer.model)
            unmoved = check_frozen(before, trained, region)
            rounded: list[str] = []
            if is_first():
                rounded = save_model(trained, info, region, folder.model, record)
                folder.end(record)
            trainer.accelerator.wait_for_everyone()
        return Trained(
            folder.model, region, tuple(unmoved), tuple(rounded), tuple(left_out(info, region)),
            resumed, seconds,
        )  # fmt: skip

    def _check_images(self, processor: Any) -> None:
        """Refuse images where the model takes none, and questions where it has no template."""
        seeing = hasattr(processor, "image_processor")
        example_name = next((example.name for example in self.examples if example.images), None)
        if example_name is not None and not seeing:
            raise ExecutionError(
                f"{example_name} has an image, and {self.config.model.model} is a text-only model."
            )
        if not (
            processor.chat_template or getattr(processor, "tokenizer", processor).chat_template
        ):
            raise CheckpointError(
                f"{self.config.model.model} has no chat template, so it cannot answer questions."
            )

    def _train(self, trainer: Any, checkpoint: Path | None) -> None:
        """Take all steps.

        Raises:
            CheckpointError: If the model's files do not let it take the first step.
            ExecutionError: If the disk fails, or the data do not last for a single step.
        """
        try:
            with filesystem_errors(self.out):
                _train(trainer, checkpoint)
        except SafetensorError as error:
            raise ExecutionError(f"{self.out}: a checkpoint cannot be written: {error}") from None
        except _FIRST_STEP_ERRORS as error:
            if checkpoint or trainer.state.global_step or shortage(error) is not None:
                raise
            raise CheckpointError(
                f"{trainer.model.config._name_or_path or 'the model'} cannot take its first step: "
                f"{type(error).__name__}, {first_line(error)[:300]}. Its configuration, tokenizer, "
                "chat template or processor files are damaged, or do not belong together: restore "
                "them from the checkpoint's source."
            ) from error
        except UnpicklingError as error:  # torch reads plain values alone, and runs nothing
            raise ExecutionError(
                f"{checkpoint} cannot be resumed: a file of the trainer's state holds more than "
                f"numbers ({first_line(error)}). Remove that folder to resume from the checkpoint "
                "before."
            ) from None
        taken = trainer.state.global_step
        if taken != self.config.model.steps:
            raise ExecutionError(
                f"only {taken} of {self.config.model.steps} steps were taken: "
                f"{len(self.examples)} samples do not fill one. Draw more, or make 'batch' smaller."
            )

    def _record(self, info: CheckpointInfo, before: Mapping[str, str]) -> dict[str, Any]:
        """Return everything that the result depends on."""
        digest = sha256()
        for example in self.examples:
            digest.update(json.dumps([example.messages, example.demonstration]).encode())
            for image in example.images:
                digest.update(sha256(image).digest())
        return {
            "kind": self.kind,
            "config": self.config.model.model_dump(mode="json"),
            "start": {
                "reference": str(info.reference),
                "revision": info.revision,
                "weights": sha256(json.dumps(before, sort_keys=True).encode()).hexdigest(),
            },
            "examples": {"count": len(self.examples), "sha256": digest.hexdigest()},
            "versions": {name: version(name) for name in ("torch", "transformers", "trl")},
        }


def _check_start(info: CheckpointInfo) -> None:
    """Refuse what training cannot start from."""
    if info.formed or (info.folder / "adapter_config.json").exists():
        raise CheckpointError(
            f"{info.reference} has an adapter; training starts from whole weights. Merge it "
            "first, with a recipe that has only this model."
        )
    if any(header.dtype is DType.F64 for header in info.tensors.values()):
        raise CheckpointError(
            f"{info.reference} has weights in float64; training computes in float32, which would "
            f"change them. Store them in float32 first."
        )


def _train(trainer: Any, checkpoint: Path | None) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
