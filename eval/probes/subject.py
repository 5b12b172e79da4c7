"""The model that is probed: any variant, loaded when its first question is asked."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from eval.asks import needs
from eval.engines.transformers import TransformersEngine
from eval.sweep.desk import prepare, recipe_of
from surgery.arch.site import Component
from surgery.plan import make_plan
from surgery.pretrained import load_pretrained, loading
from surgery.recipe import opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from eval.asks import Question
    from eval.sweep.desk import Planned, Work
    from eval.sweep.variants import Variant
    from surgery.arch.site import Architecture
    from surgery.checkpoint.source import Checkpoint
    from surgery.plan.model import Plan


@dataclass
class Subject:
    """A variant under study.

    Attributes:
        planned: The variant, its content and its prompt style.
        work: What is asked, and how.
    """

    planned: Planned
    work: Work
    _plan: Plan
    _checkpoints: Mapping[str, Checkpoint]
    _stack: ExitStack

    @property
    def name(self) -> str:
        """What the variant is called."""
        return self.planned.variant.name

    @property
    def content(self) -> str:
        """The variant's content fingerprint."""
        return self.planned.known.whole

    @property
    def architecture(self) -> Architecture:
        """Its architecture."""
        return self._plan.architecture

    @property
    def layers(self) -> int:
        """How many decoder layers it has."""
        return self.architecture.layers[Component.LANGUAGE]

    @property
    def how(self) -> dict[str, Any]:
        """What a response depends on besides model, question and settings."""
        return dict(self.work.how())

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """What the suites ask of it."""
        return self.work.questions(self.planned.style)

    @cached_property
    def places(self) -> tuple[tuple[str, Question], ...]:
        """Every sample of every task with the question that asks it; tasks may share samples."""
        asked = {question.serves: question for question in self.questions}
        needed = needs(self.work.suites, self.work.generation)
        return tuple((need.task.name, asked[need.identity]) for need in needed if need.askable)

    @cached_property
    def heads(self) -> int:
        """How many attention heads a decoder layer has."""
        from transformers import AutoConfig

        # config.json may leave out what is the family's default.
        with loading(self._plan.base.folder):
            config = load_pretrained(AutoConfig, self._plan.base.folder)
        return int(config.get_text_config().num_attention_heads)

    @property
    def folder(self) -> Path:
        """Return the base's folder; its processor prepares all images."""
        return self._plan.base.folder

    @property
    def model_type(self) -> str:
        """Return the family that the configuration names."""
        return str(self._plan.base.config.get("model_type", ""))

    @cached_property
    def engine(self) -> TransformersEngine:
        """The model, loaded and turned into the variant on first use."""
        engine = TransformersEngine.load(
            self._plan.base.folder,
            device=self.work.device,
            dtype=self.work.dtype,
            max_batch=self.work.max_batch,
        )
        known = self.planned.known
        self._stack.enter_context(engine.variant(self._plan, self._checkpoints, known))
        return engine


@contextmanager
def subject(variant: Variant, work: Work) -> Iterator[Subject]:
    """Open a variant for the length of a `with` block.

    Raises:
        SurgeryError: If a model cannot be read, or the recipe does not fit it.
    """
    planned = prepare(variant, work)
    recipe = recipe_of(variant)
    with ExitStack() as stack:
        checkpoints = stack.enter_context(opened(recipe))
        plan = make_plan(recipe, checkpoints)
        yield Subject(planned, work, plan, checkpoints, stack)
