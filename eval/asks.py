"""Questions put to one variant: each with the key under which its response is kept."""

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
    from eval.records import Sample, Suite, Task

FORMAT: Final = 2
"""Part of every key: raise it when the same question would be put to a model otherwise."""


@dataclass(frozen=True)
class Question:
    """A sample under one condition, ready to be asked of any variant.

    Attributes:
        sample: What is asked.
        condition: What of it is shown.
        repeat: Which of several answers this is for; 0 when greedy.
        messages: The turns.
        generation: How it is answered.
        serves: The identity of the needs it serves.
    """

    sample: Sample
    condition: Condition
    repeat: int
    messages: tuple[Message, ...]
    generation: Generation
    serves: tuple[object, ...] = ()

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """What is asked, by content: equal ones have equal greedy answers."""
        return tuple(turn.digest for turn in self.messages)

    @cached_property
    def answer_key(self) -> tuple[object, ...]:
        """Equal for questions that have equal answers: a sampled one has its sample's own."""
        same: tuple[object, ...] = (*self.digests, str(self.generation.settings()))
        if not self.generation.greedy:
            same = (*same, self.sample.fingerprint, self.sample.id, self.repeat)
        return same

    @cached_property
    def content(self) -> str:
        """sha256 of all that its response depends on, but for the model."""
        told = [self.sample.fingerprint, self.condition, self.repeat, self.digests]
        text = json.dumps([*told, self.generation.settings()], sort_keys=True)
        return sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Ask:
    """A question to one variant.

    Attributes:
        key: sha256 of all that its response depends on.
        question: What is asked; the same value for every variant that is asked the same.
    """

    key: str
    question: Question

    @property
    def sample(self) -> Sample:
        """What is asked."""
        return self.question.sample

    @property
    def condition(self) -> Condition:
        """What of the sample is shown."""
        return self.question.condition

    @property
    def repeat(self) -> int:
        """Which of several answers this is for."""
        return self.question.repeat


@dataclass(frozen=True)
class Need:
    """One condition of one sample that a task's metric needs.

    Attributes:
        suite: The suite.
        task: Its task.
        sample: The sample.
        condition: What of it is to be shown.
        generation: How it is to be answered.
    """

    suite: str
    task: Task
    sample: Sample
    condition: Condition
    generation: Generation

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for needs that one response serves, in several tasks or suites."""
        described = self.sample.description if self.condition is Condition.DESCRIBED else ""
        limit = self.generation.max_new_tokens
        return (self.sample.id, self.sample.fingerprint, described, self.condition, limit)

    @property
    def askable(self) -> bool:
        """Whether it can be asked: it cannot where a description is needed and nobody gave one."""
        return self.condition is not Condition.DESCRIBED or self.sample.description is not None


def needs(suites: Sequence[Suite], generation: Generation) -> Iterator[Need]:
    """Everything the suites' metrics need, in their order."""
    for suite in suites:
        settings = generation.within(suite.max_new_tokens)
        for task in suite.tasks:
            for sample in task.samples:
                for condition in conditions_of(task.metric, sample):
                    yield Need(suite.name, task, sample, condition, settings)


def questions(suites: Sequence[Suite], style: Style, generation: Generation) -> Iterator[Question]:
    """What to ask for the suites' metrics, each different question once."""
    seen: set[tuple[object, ...]] = set()
    for need in needs(suites, generation):
        if not need.askable or need.identity in seen:
            continue
        seen.add(need.identity)
        turns = messages(need.sample, need.condition, style, need.generation.max_pixels)
        for repeat in range(need.generation.answers):
            yield Question(
                need.sample, need.condition, repeat, turns, need.generation, need.identity
            )


def addressed(question: Question, variant: str, how: Mapping[str, Any]) -> Ask:
    """A question to one variant.

    Args:
        question: What is asked.
        variant: The variant's content fingerprint.
        how: What else a response depends on: the engine and the type it computes in.
    """
    text = "\0".join(
        [str(FORMAT), variant, *(f"{name}={how[name]}" for name in sorted(how)), question.content]
    )
    return Ask(sha256(text.encode()).hexdigest(), question)
