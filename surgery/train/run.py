"""From a configuration to a trained checkpoint: resumable, and proven to have kept still."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, TypeVar

from surgery.checkpoint.failure import explained
from surgery.checkpoint.open import open_checkpoint
from surgery.checkpoint.sibling import put
from surgery.errors import CheckpointError, ExecutionError
from surgery.train.log import CsvLog, grpo_columns, sft_columns
from surgery.train.model import load_model, load_processing
from surgery.train.proof import check_still, fingerprints
from surgery.train.region import Region, frozen_region, hold_still
from surgery.train.save import save_model
from surgery.train.schema import TrainModel
from surgery.train.trainer import Parts, make_grpo, make_sft, trl_module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from surgery.checkpoint.source import CheckpointInfo
    from surgery.train.example import Example, Reward
    from surgery.train.load import Config
    from surgery.train.schema import GrpoModel, SftModel

    Progress = Callable[[Mapping[str, str]], object]
    Build = Callable[[Parts], Any]

LOG: Final = "log.csv"
MODEL: Final = "model"
RUN: Final = "run.json"
_CHECKPOINTS: Final = "checkpoints"

Model = TypeVar("Model", bound=TrainModel)


def is_first() -> bool:
    """Whether this process is the one of several, as a launcher starts them, that writes."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class Trained:
    """What a run made.

    Attributes:
        folder: The trained checkpoint.
        region: What stood still.
        unmoved: Parameters that were to learn and did not change.
        resumed: The step it went on from; 0 for a fresh start.
        seconds: How long it took, from that step on.
    """

    folder: Path
    region: Region
    unmoved: tuple[str, ...]
    resumed: int
    seconds: float


def train_sft(
    config: Config[SftModel],
    examples: Sequence[Example],
    out: Path,
    progress: Progress | None = None,
) -> Trained:
    """Train on demonstrations.

    Args:
        config: How.
        examples: What is learnt; each has a demonstration.
        out: The run's folder; a run that was interrupted goes on from its last checkpoint.
        progress: Called with every row of the log.

    Raises:
        SurgeryError: If the model, an example or a setting cannot be used, or `out` holds
            another run.
        ExecutionError: If something that was to stand still did not.
    """
    bare = next((one.name for one in examples if not one.demonstration), None)
    if bare is not None:
        raise ExecutionError(
            f"{bare} has no demonstration, and supervised training learns from nothing else. Give "
            "every sample a 'demonstration', the assistant's turn in full."
        )
    run = _Run("sft", config, examples, out, CsvLog(out / LOG, sft_columns(), progress))
    return run.done(lambda parts: make_sft(config, parts))


def train_grpo(
    config: Config[GrpoModel],
    examples: Sequence[Example],
    rewards: Mapping[str, Reward],
    out: Path,
    progress: Progress | None = None,
) -> Trained:
    """Reinforce by rewards; as `train_sft`.

    Args:
        config: How.
        examples: What is asked.
        rewards: By name: those of the configuration, and any that are to be logged besides.
        out: The run's folder.
        progress: Called with every row of the log.
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
        """Train from the last checkpoint, or from the start, and keep what was made."""
        trl_module()  # before anything is read or written
        with open_checkpoint(self.config.model.model) as checkpoint:
            info = checkpoint.info
        if info.formed:
            raise CheckpointError(
                f"{info.reference} has an adapter; training starts from whole weights. Merge it "
                "first, with a recipe that names nothing but this model."
            )
        model = load_model(info.folder, info.config)
        region = frozen_region(
            model, self.config.selectors, inverse=self.config.inverse, cuts=self.config.cuts
        )
        before = fingerprints(model)
        record = self._record(info, before)
        if is_first():
            self._claim(record)
        with explained(self.out):
            checkpoints = self.out / _CHECKPOINTS
            resumed = self._last(checkpoints)
            last = checkpoints / f"checkpoint-{resumed}" if resumed else None
            if last is not None:
                # transformers' trainer looks for the weights by their names in memory, finds none
                # of them in files that spell names as they were published, and says nothing.
                model = load_model(last, info.config)
            hold_still(model, region)
            processor = load_processing(info.folder)
            trainer = build(Parts(model, processor, self.examples, checkpoints, [self.log]))
            if is_first():
                self.log.start(resumed)
            started = time.monotonic()
            _train(trainer, last)
        seconds = time.monotonic() - started
        trained = trainer.accelerator.unwrap_model(trainer.model)
        unmoved = check_still(before, trained, region)
        folder = self.out / MODEL
        if is_first():
            save_model(trained, info, region, folder, record)
        trainer.accelerator.wait_for_everyone()
        return Trained(folder, region, tuple(unmoved), resumed, seconds)

    def _record(self, info: CheckpointInfo, before: Mapping[str, str]) -> dict[str, Any]:
        """What the result depends on."""
        asked = sha256()
        for one in self.examples:
            asked.update(json.dumps([one.messages, one.demonstration]).encode())
            for image in one.images:
                asked.update(sha256(image).digest())
        return {
            "kind": self.kind,
            "config": self.config.model.model_dump(mode="json"),
            "start": {
                "reference": str(info.reference),
                "revision": info.revision,
                "weights": sha256(json.dumps(before, sort_keys=True).encode()).hexdigest(),
            },
            "examples": {"count": len(self.examples), "sha256": asked.hexdigest()},
            "versions": {name: version(name) for name in ("torch", "transformers", "trl")},
        }

    def _claim(self, record: dict[str, Any]) -> None:
        """Make the folder this run's, or find that it is."""
        path = self.out / RUN
        with explained(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            if (self.out / MODEL).exists():
                raise ExecutionError(
                    f"{self.out / MODEL} exists: this run is complete. Give another --out to train "
                    "again."
                )
            if not path.exists():
                if any(self.out.iterdir()):
                    raise ExecutionError(f"{self.out} is not empty and holds no training run.")
                text = json.dumps(record, indent=2) + "\n"
                put(path, lambda draft: draft.write_text(text))
                return
            found = json.loads(path.read_text())
        different = _difference(found, record)
        if different:
            raise ExecutionError(
                f"{self.out} holds another run: {different}. Give another --out, or remove it."
            )

    @staticmethod
    def _last(folder: Path) -> int:
        """The step of the last whole checkpoint; 0 without one."""
        steps = [
            int(path.name.removeprefix("checkpoint-"))
            for path in folder.glob("checkpoint-*")
            if (path / "trainer_state.json").is_file()
        ]
        return max(steps, default=0)


def _train(trainer: Any, checkpoint: Path | None) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


def _difference(found: Any, wanted: Any, at: str = "") -> str:
    """The first thing in which two records differ; "" where there is none."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        told = (
            _difference(found.get(key), wanted.get(key), f"{at}.{key}" if at else key)
            for key in dict.fromkeys([*found, *wanted])
        )
        return next((one for one in told if one), "")
    return "" if found == wanted else f"{at} was {found!r} and is {wanted!r}"
