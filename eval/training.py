"""Training on samples of a suite: what `surgery.train` is given, and the two trainings by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.grading.grade import GRADERS
from eval.prompts import find_style, messages
from eval.records import Condition, Picture
from eval.rewards import REWARDS, WATCHED, Rewarded
from eval.suites.lessons import lessons
from surgery.errors import RecipeError, did_you_mean
from surgery.train.example import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eval.records import Sample
    from surgery.train.example import Reward, SampledResponse
    from surgery.train.load import Config
    from surgery.train.run import Trained
    from surgery.train.schema import DataModel, GrpoModel, TrainModel

    Progress = Callable[[Mapping[str, str], int], object]


def train_on_demonstrations(
    config: str | Path, out: str | Path, *, progress: Progress | None = None, **changes: Any
) -> Trained:
    """Train a model on the demonstrations of samples; an interrupted run resumes.

    Args:
        config: The training's YAML.
        out: Folder of the run; `out/model` is the trained checkpoint.
        progress: Called with every row of the log and the number of steps.
        **changes: Values that replace the file's, such as `model`, `freeze`, `seed`, `steps`.

    Raises:
        SurgeryError: If the configuration, the model or a sample cannot be used, or `out` holds
            another run.
    """
    from surgery.train.load import load_sft
    from surgery.train.run import train_sft

    loaded = load_sft(Path(config), changes)
    return train_sft(loaded, examples(_samples(loaded), loaded.model.data), Path(out), progress)


def train_on_rewards(
    config: str | Path, out: str | Path, *, progress: Progress | None = None, **changes: Any
) -> Trained:
    """Reinforce a model by rewards with GRPO; an interrupted run resumes.

    Args:
        config: The training's YAML.
        out: Folder of the run; `out/model` is the trained checkpoint.
        progress: Called with every row of the log and the number of steps.
        **changes: Values that replace the file's, such as `model`, `freeze`, `rewards`, `steps`.

    Raises:
        SurgeryError: As `train_on_demonstrations`, or if there is no reward of a name.
    """
    from surgery.train.load import load_grpo
    from surgery.train.run import train_grpo

    loaded = load_grpo(Path(config), changes)
    samples = _samples(loaded)
    return train_grpo(
        loaded, examples(samples, loaded.model.data), rewards(loaded, samples), Path(out), progress
    )


def _samples(config: Config[Any]) -> list[Sample]:
    model: TrainModel = config.model
    data = model.data
    return lessons(data.suites, data.tasks, data.samples, data.seed, config.folder)


def examples(samples: Sequence[Sample], data: DataModel) -> list[Example]:
    """Return samples as an evaluation asks them, each with its demonstration."""
    style = find_style(data.style)
    training_examples = []
    for sample in samples:
        condition = Condition.IMAGE if sample.images else Condition.TEXT
        turns = messages(sample, condition, style, data.max_pixels)
        parts = [part for turn in turns for part in turn.parts]
        chat = tuple(
            {
                "role": turn.role,
                "content": [
                    {"type": "text", "text": part}
                    if isinstance(part, str)
                    else {"type": "image", "text": None}
                    for part in turn.parts
                ],
            }
            for turn in turns
        )
        images = tuple(part.data for part in parts if isinstance(part, Picture))
        name = f"sample {sample.id!r} of task {sample.task!r}"
        training_examples.append(Example(name, chat, images, sample.demonstration))
    return training_examples


def rewards(config: Config[GrpoModel], samples: Sequence[Sample]) -> dict[str, Reward]:
    """Return the configuration's rewards, and those that every run logs, by name.

    Raises:
        RecipeError: If there is no reward or grader of a name.
    """
    model = config.model
    for name in model.rewards:
        if name not in REWARDS:
            raise RecipeError(f"rewards: there is no reward {name!r}."
                              f"{did_you_mean(name, REWARDS)}",
                              config.place("rewards", name))  # fmt: skip
    if model.grader not in GRADERS:
        raise RecipeError(f"grader: there is no {model.grader!r}."
                          f"{did_you_mean(model.grader, GRADERS)}",
                          config.place("grader"))  # fmt: skip
    form = model.form or find_style(model.data.style).form
    names = dict.fromkeys([*model.rewards, *WATCHED])
    return {name: _reward(name, samples, form, model.grader) for name in names}


def _reward(name: str, samples: Sequence[Sample], form: str, grader: str) -> Reward:
    worth: Callable[[Rewarded], float] = REWARDS[name]

    def reward(response: SampledResponse) -> float:
        return worth(
            Rewarded(
                samples[response.example],
                response.text,
                response.tokens,
                response.limit,
                response.chance,
                form,
                grader,
            )
        )

    return reward
