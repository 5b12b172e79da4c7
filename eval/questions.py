"""Questions to a model: every sample under every condition that a task's metric needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from eval.conditions import conditions_of
from eval.prompts import messages
from eval.records import Condition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eval.generation import Generation
    from eval.prompts import Message, Style
    from eval.records import Metric, Sample, Suite

FORMAT: Final = 2
"""Part of every key: raise it when the same question would be put to a model otherwise."""


@dataclass(frozen=True)
class Question:
    """One repeat of a task's sample under one condition, ready for any model.

    Attributes:
        suite: The suite.
        task: Its task.
        metric: The task's metric.
        sample: The sample.
        condition: The part of the sample that is shown.
        repeat: Number of the answer among several samples; 0 when greedy.
        messages: The turns; empty where the condition needs a description and there is none.
        generation: Settings of the answer.
    """

    suite: str
    task: str
    metric: Metric
    sample: Sample
    condition: Condition
    repeat: int
    messages: tuple[Message, ...]
    generation: Generation

    @property
    def askable(self) -> bool:
        """Return whether there is anything to show a model."""
        return bool(self.messages)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """Return the turns' sha256; questions with equal turns have equal greedy answers."""
        return tuple(turn.digest for turn in self.messages)

    @cached_property
    def answer_key(self) -> tuple[object, ...]:
        """Return a value that is equal for questions with equal answers.

        A sampled answer belongs to one sample and repeat.
        """
        key: tuple[object, ...] = (*self.digests, str(self.generation.settings()))
        if not self.generation.greedy:
            key = (*key, self.sample.fingerprint, self.sample.id, self.repeat)
        return key

    @cached_property
    def content(self) -> str:
        """Return the sha256 of all that a response depends on besides the model."""
        parts = [self.sample.fingerprint, self.condition, self.repeat, self.digests]
        text = json.dumps([*parts, self.generation.settings()], sort_keys=True)
        return sha256(text.encode()).hexdigest()

    def key(self, model: str, engine: Mapping[str, Any]) -> str:
        """Return the sha256 of all that a response depends on, under which it is stored.

        Args:
            model: The model's content fingerprint, with the change made to it, if any.
            engine: Facts about the engine, such as its name and the type it computes in.
        """
        facts = (f"{name}={engine[name]}" for name in sorted(engine))
        text = "\0".join([str(FORMAT), model, *facts, self.content])
        return sha256(text.encode()).hexdigest()


def questions(suites: Sequence[Suite], style: Style, generation: Generation) -> Iterator[Question]:
    """Yield every question that the suites' metrics need, in their order.

    Samples that several tasks share come once for each; equal questions share their turns.
    """
    turns: dict[tuple[object, ...], tuple[Message, ...]] = {}
    for suite in suites:
        settings = generation.within(suite.max_new_tokens)
        for task in suite.tasks:
            for sample in task.samples:
                for condition in conditions_of(task.metric, sample):
                    description = sample.description if condition is Condition.DESCRIBED else ""
                    place = (sample.id, sample.fingerprint, description, condition)
                    if place not in turns:
                        turns[place] = (
                            () if description is None
                            else messages(sample, condition, style, settings.max_pixels)
                        )  # fmt: skip
                    for repeat in range(settings.answers):
                        yield Question(
                            suite.name, task.name, task.metric, sample, condition, repeat,
                            turns[place], settings,
                        )  # fmt: skip
