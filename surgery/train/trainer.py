"""TRL's trainers, set up from a configuration."""

from __future__ import annotations

import dataclasses
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from surgery.errors import RecipeError, SurgeryError, did_you_mean, first_line
from surgery.train.example import SampledResponse, columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from surgery.train.example import Example, Reward
    from surgery.train.load import Config
    from surgery.train.schema import GrpoModel, SftModel, TrainModel

_FORBIDDEN: Final = frozenset(
    {"trust_remote_code", "push_to_hub", "hub_token", "hub_model_id", "resume_from_checkpoint",
     "model_init_kwargs", "log_completions_hub_repo", "log_completions", "save_only_model"}
)  # fmt: skip
_SCHEDULES: Final = {
    "constant": "constant_with_warmup",
    "cosine": "cosine",
    "linear": "linear",
}


@dataclass(frozen=True)
class Parts:
    """The arguments of a trainer.

    Attributes:
        model: A transformers model; what may learn is marked on it.
        processor: Its processor, or its tokenizer.
        examples: The training examples.
        folder: Where checkpoints go.
        callbacks: Of transformers.
    """

    model: Any
    processor: Any
    examples: Sequence[Example]
    folder: Path
    callbacks: Sequence[Any]

    def built(self, kind: Any, arguments: Any, dataset: Any, **more: Any) -> Any:
        """Return a trainer without transformers' log lines, which the csv replaces."""
        from transformers import PrinterCallback

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            trainer = kind(
                model=self.model,
                args=arguments,
                train_dataset=dataset,
                processing_class=self.processor,
                callbacks=list(self.callbacks),
                **more,
            )
        trainer.remove_callback(PrinterCallback)
        return trainer


def make_sft(config: Config[SftModel], parts: Parts) -> Any:
    """Return a `trl.SFTTrainer`; its loss covers the tokens of demonstrations only.

    Raises:
        RecipeError: If `trl:` names a field that does not exist or is set otherwise.
        SurgeryError: If TRL is not installed.
    """
    trl = trl_module()
    settings = _settings(config.model, parts.folder) | {
        "max_length": None,
        "completion_only_loss": True,
    }
    arguments = _arguments(trl.SFTConfig, config, settings)
    with _translated_errors(config):
        return parts.built(trl.SFTTrainer, arguments, _dataset(parts.examples))


def make_grpo(config: Config[GrpoModel], rewards: Mapping[str, Reward], parts: Parts) -> Any:
    """Return a `trl.GRPOTrainer`; see `make_sft`.

    Rewards without a weight in the configuration are logged and count for nothing.
    """
    trl = trl_module()
    keys = config.model
    if len(parts.examples) < keys.batch // keys.group:
        raise SurgeryError(
            f"a step needs {keys.batch // keys.group} prompts (batch {keys.batch} of groups "
            f"of {keys.group}), and there are {len(parts.examples)} samples."
        )
    settings = _settings(keys, parts.folder) | {
        "num_generations": keys.group,
        "max_completion_length": keys.max_new_tokens,
        "temperature": keys.temperature,
        "beta": keys.kl,
        "epsilon": keys.clip,
        "num_iterations": keys.updates,
        "loss_type": keys.loss,
        # TRL would gather pictures from all processes, and wait forever for one that has none.
        "log_multimodal": False,
        "reward_weights": [keys.rewards.get(name, 0.0) for name in rewards],
    }
    arguments = _arguments(trl.GRPOConfig, config, settings)
    functions = [
        _as_trl(name, place, reward, keys) for place, (name, reward) in enumerate(rewards.items())
    ]
    dataset = _dataset(parts.examples).remove_columns("completion")
    with _translated_errors(config):
        return parts.built(trl.GRPOTrainer, arguments, dataset, reward_funcs=functions)


def trl_module() -> Any:
    """TRL.

    Raises:
        SurgeryError: If it is not installed.
    """
    try:
        import trl
    except ImportError as error:
        raise SurgeryError(
            f"training needs TRL ({error}). Install it with: pip install 'vlm-surgery[train]'"
        ) from None
    return trl


def _settings(config: TrainModel, folder: Path) -> dict[str, Any]:
    """Return the arguments that both trainers share, as transformers' TrainingArguments."""
    import torch

    cuda = torch.cuda.is_available()
    devices = int(os.environ.get("WORLD_SIZE", "1"))
    micro = config.micro_batch or max(1, config.batch // devices)
    if config.batch % (micro * devices):
        raise SurgeryError(
            f"batch {config.batch} cannot be divided into micro-batches of {micro} on {devices} "
            "devices."
        )
    return {
        "output_dir": str(folder),
        "max_steps": config.steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": config.batch // (micro * devices),
        "learning_rate": config.lr,
        "lr_scheduler_type": _SCHEDULES[config.schedule],
        "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "data_seed": config.seed,
        "save_strategy": "steps" if config.checkpoint_every else "no",
        "save_steps": config.checkpoint_every or 500,
        "save_total_limit": config.keep,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would show a run that diverges with a loss of 0
        "report_to": config.log_to or "none",
        "disable_tqdm": True,
        "use_cpu": not torch.accelerator.is_available(),
        "bf16": cuda and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": cuda,
    }


def _arguments(kind: Any, config: Config[Any], settings: dict[str, Any]) -> Any:
    """Build TRL's configuration, with the user's additions."""
    for index, service in enumerate(config.model.log_to):
        if find_spec(service) is None:
            raise RecipeError(
                f"log_to: {service} is not installed; pip install {service}, or leave it out. "
                "log.csv and curves.png are written anyway.",
                config.place("log_to", index),
            )
    fields = [f.name for f in dataclasses.fields(kind) if f.init and f.name not in _FORBIDDEN]
    reserved = frozenset(settings) - {"bf16", "gradient_checkpointing", "use_cpu"}
    for name in config.model.trl:
        if name in reserved:
            raise RecipeError(
                f"trl: {name!r} follows from the other keys of this file; set it there.",
                config.place("trl", name),
            )
        if name not in fields:
            near = did_you_mean(name, [n for n in fields if n not in reserved])
            near = near if near.startswith(" Did") else ""
            raise RecipeError(
                f"trl: {kind.__name__} has no field {name!r} that may be set here.{near}",
                config.place("trl", name),
            )
    with _translated_errors(config), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kind(**settings | config.model.trl)


@contextmanager
def _translated_errors(config: Config[Any]) -> Iterator[None]:
    """Turn TRL's refusal of the user's fields into one sentence; other errors remain bugs."""
    try:
        yield
    except (ImportError, NotImplementedError, OSError, TypeError, ValueError) as error:
        if not config.model.trl:
            raise
        raise RecipeError(
            f"trl: TRL does not take these settings: {first_line(error)}", config.place("trl")
        ) from None


def _dataset(examples: Sequence[Example]) -> Any:
    from datasets import Dataset, Image, List

    dataset = Dataset.from_dict(columns(examples))
    if "images" in dataset.column_names:
        dataset = dataset.cast_column("images", List(Image(mode="RGB")))
    return dataset


def _as_trl(name: str, place: int, reward: Reward, config: GrpoModel) -> Callable[..., list[float]]:
    """Return a reward in TRL's form."""

    def rewarded(
        completions: list[Any],
        completion_ids: list[list[int]],
        example: list[int],
        trainer_state: Any,
        **_: Any,
    ) -> list[float]:
        rank = int(os.environ.get("RANK", "0"))
        source = np.random.default_rng([config.seed, trainer_state.global_step, rank, place])
        draws = source.random(len(completions))
        return [
            reward(
                SampledResponse(
                    index, _text(completion), len(ids), config.max_new_tokens, float(draw)
                )
            )
            for completion, ids, index, draw in zip(
                completions, completion_ids, example, draws, strict=True
            )
        ]

    rewarded.__name__ = name
    return rewarded


def _text(completion: Any) -> str:
    """Return the text of a response, from TRL's list of one turn."""
    content = completion if isinstance(completion, str) else completion[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in content)
