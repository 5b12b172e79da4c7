"""One process's resident model, with variants swapped in one after the other."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING

from eval.engines.transformers import TransformersEngine
from surgery.arch.site import Component
from surgery.pretrained import load_pretrained, loading
from surgery.recipe import opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from eval.asking.prepare import PreparedVariant
    from eval.asking.settings import EvalSettings
    from eval.prompts import Style
    from eval.questions import Question
    from surgery.arch.site import Architecture


@dataclass
class Timing:
    """Seconds that a variant took.

    Attributes:
        load: Loading the base, if it was not resident.
        switch: Putting the variant in, proving it and taking it out.
        answer: The engine: encoding and generating.
        generate: Of that, the model's own part: seeing and generating.
        total: All of it.
        answered: Number of responses.
    """

    load: float = 0.0
    switch: float = 0.0
    answer: float = 0.0
    generate: float = 0.0
    total: float = 0.0
    answered: int = 0


class Session:
    """The resident model of a process.

    Args:
        settings: Settings of the run.
    """

    def __init__(self, settings: EvalSettings) -> None:
        if settings.threads is not None:
            import torch

            torch.set_num_threads(settings.threads)
        self.settings = settings
        self._resident: tuple[str, TransformersEngine] | None = None

    @contextmanager
    def subject(
        self, prepared: PreparedVariant, questions: tuple[Question, ...]
    ) -> Iterator[Subject]:
        """Yield a variant with its questions; the model is loaded when `engine` is first read.

        Afterwards the subject holds no engine, so that two bases are not in memory together.
        """
        with ExitStack() as stack:
            subject = Subject(prepared, questions, self, stack)
            try:
                yield subject
            finally:
                switched = perf_counter()
                vars(subject).pop("engine", None)
                stack.close()
                subject.timing.switch += perf_counter() - switched

    def engine(self, base: str, folder: Path) -> TransformersEngine:
        """Return the engine that holds a base, loaded unless it is resident."""
        if self._resident is None or self._resident[0] != base:
            self._resident = None  # the old model goes before the new one comes
            engine = TransformersEngine.load(
                folder,
                device=self.settings.device,
                dtype=self.settings.dtype,
                max_batch=self.settings.max_batch,
            )
            self._resident = (base, engine)
        return self._resident[1]


@dataclass
class Subject:
    """A variant under study and the questions to it.

    Attributes:
        prepared: The variant, its plan and its fingerprint.
        questions: The questions, in the order of reports.
        timing: Seconds so far.
    """

    prepared: PreparedVariant
    questions: tuple[Question, ...]
    _session: Session
    _stack: ExitStack
    timing: Timing = field(default_factory=Timing, compare=False)

    @property
    def name(self) -> str:
        """Return the variant's name."""
        return self.prepared.variant.name

    @property
    def content(self) -> str:
        """Return the variant's content fingerprint."""
        return self.prepared.content

    @property
    def style(self) -> Style:
        """Return the prompt style of the questions."""
        return self.prepared.style

    @property
    def settings(self) -> EvalSettings:
        """Return the run's settings."""
        return self._session.settings

    @property
    def architecture(self) -> Architecture:
        """Return the variant's architecture."""
        return self.prepared.plan.architecture

    @property
    def layers(self) -> int:
        """Return the number of decoder layers."""
        return self.architecture.layers[Component.LANGUAGE]

    @cached_property
    def heads(self) -> int:
        """Return the number of attention heads of a decoder layer."""
        from transformers import AutoConfig

        # config.json may omit the family's defaults.
        with loading(self.folder):
            config = load_pretrained(AutoConfig, self.folder)
        return int(config.get_text_config().num_attention_heads)

    @property
    def folder(self) -> Path:
        """Return the base's folder; its processor prepares all images."""
        return self.prepared.folder

    @property
    def model_type(self) -> str:
        """Return the family that the configuration names."""
        return str(self.prepared.plan.base.config.get("model_type", ""))

    @cached_property
    def facts(self) -> Mapping[str, str]:
        """Return the facts about the engine that are part of a response's key."""
        return self.settings.engine_facts()

    @cached_property
    def engine(self) -> TransformersEngine:
        """Return the resident model, turned into the variant until the subject is closed.

        Raises:
            SurgeryError: If the model cannot be loaded, or its files changed since it was prepared.
        """
        recipe, plan = self.prepared.recipe, self.prepared.plan
        checkpoints = self._stack.enter_context(opened(recipe))
        start = perf_counter()
        engine = self._session.engine(str(recipe.models[recipe.base]), self.folder)
        loaded = perf_counter()
        self._stack.enter_context(engine.variant(plan, checkpoints, self.prepared.fingerprint))
        self.timing.load += loaded - start
        self.timing.switch += perf_counter() - loaded
        return engine
