"""One process's resident model, the variants it becomes, and the questions put to them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from eval.asks import Ask, addressed, questions
from eval.engines.transformers import TransformersEngine, compute_dtype
from eval.prompts import PLAIN, TEMPLATE, Style, find_style
from eval.records import Response
from eval.store import Kept, Store
from surgery.errors import ExecutionError, SurgeryError, did_you_mean
from surgery.execute.fingerprint import Fingerprint, fingerprint
from surgery.plan import make_plan
from surgery.recipe import opened
from surgery.recipe.models import pinned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from eval.asks import Question
    from eval.generation import Generation
    from eval.records import Suite
    from eval.sweep.variants import Variant
    from surgery.recipe import Recipe

    Told: TypeAlias = Callable[[str, int, int], None]
    """Told a variant's name, how many responses came in, and how many there will be."""


DEVICES: Final = ("auto", "cpu", "cuda")
DTYPES: Final = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Work:
    """What is asked, and how.

    Attributes:
        suites: The questions.
        generation: How answers are generated.
        style: The prompt style.
        device: `auto`, `cpu` or `cuda`.
        dtype: Element type to compute in; `auto` for the device's own.
        max_batch: Most questions at once.
        threads: Threads of each process; None leaves torch's own number.

    Raises:
        SurgeryError: If there is no such device or element type.
    """

    suites: tuple[Suite, ...]
    generation: Generation
    style: Style = PLAIN
    device: str = "auto"
    dtype: str = "auto"
    max_batch: int = 128
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("device", DEVICES), ("dtype", DTYPES)):
            found = getattr(self, name)
            if found not in known:
                raise SurgeryError(f"there is no {name} {found!r}.{did_you_mean(found, known)}")

    def questions(self, style: Style) -> tuple[Question, ...]:
        """What every variant is asked."""
        return tuple(questions(self.suites, style, self.generation))

    def header_fields(self) -> dict[str, Any]:
        """Return the prompt and generation settings that a run's header records."""
        return {
            "style": self.style.name,
            "prompt": asdict(self.style),
            "generation": asdict(self.generation),
        }

    def where(self) -> str:
        """The kind of device models answer on.

        Raises:
            ExecutionError: If CUDA is asked for and there is none.
        """
        import torch

        there = torch.cuda.is_available()
        if self.device == "cuda" and not there:
            raise ExecutionError("torch finds no CUDA device here. Answer on the CPU: device cpu.")
        if self.device != "auto":
            return self.device
        return "cuda" if there else "cpu"

    def how(self) -> dict[str, str]:
        """What a response depends on besides model, question and settings."""
        return {"engine": "transformers", "dtype": compute_dtype(self.where(), self.dtype)}


@dataclass
class Timing:
    """Where a variant's time went, in seconds.

    Attributes:
        load: Loading the base, if it was not resident.
        switch: Putting the variant in, proving it and taking it out.
        answer: The engine: encoding and generating.
        generate: Of that, the model's own part: seeing and generating.
        total: All of it.
        answered: Responses made.
    """

    load: float = 0.0
    switch: float = 0.0
    answer: float = 0.0
    generate: float = 0.0
    total: float = 0.0
    answered: int = 0


@dataclass(frozen=True)
class Planned:
    """A variant whose content is known; small, so that it can be sent to another process.

    Attributes:
        variant: The variant.
        known: Its content.
        style: The prompt style, its form read from the chat template where that was wanted.
        numel: How many parameters it has.
        folder: Its base, whose processor all images go through.
    """

    variant: Variant
    known: Fingerprint
    style: Style
    numel: int
    folder: Path


def prepare(variant: Variant, work: Work) -> Planned:
    """Work out a variant's fingerprint and style; no model is loaded.

    Raises:
        SurgeryError: If a model cannot be read or the recipe does not fit it.
    """
    recipe = recipe_of(variant)
    if not isinstance(recipe.models[recipe.base], str):
        raise ExecutionError(
            f"variant {variant.name!r}: its base {recipe.models[recipe.base]} has an adapter. Name "
            f"the plain model as base, and take what the adapter changes with 'transplant: \"*\"'."
        )
    with opened(recipe) as checkpoints:
        plan = make_plan(recipe, checkpoints)
        known = fingerprint(plan, checkpoints)
        style = work.style
        if style.name == TEMPLATE:
            style = find_style(TEMPLATE, _template(plan.base.folder))
        numel = sum(op.numel for op in plan.ops)
        folder = plan.base.folder
    # A branch may move while the run goes on; every process reads what was planned.
    revisions = {name: info.revision for name, info in plan.models.items()}
    variant = replace(variant, recipe=pinned(recipe, revisions))
    return Planned(variant, known, style, numel, folder)


def recipe_of(variant: Variant) -> Recipe:
    """What a variant is made by.

    Raises:
        ValueError: If it is a served model, which nobody here makes.
    """
    if variant.recipe is None:
        raise ValueError(f"{variant.name!r} has no recipe")
    return variant.recipe


class Desk:
    """One process's resident model, and the variants it becomes.

    Args:
        work: What is asked, and how.
        folder: The run's folder.
    """

    def __init__(self, work: Work, folder: Path) -> None:
        if work.threads is not None:
            import torch

            torch.set_num_threads(work.threads)
        self._work = work
        self._how = work.how()
        self._store = Store(folder)
        self._resident: tuple[str, TransformersEngine] | None = None
        self._questions: dict[Style, tuple[Question, ...]] = {}
        self._batches: dict[Style, list[tuple[Question, ...]]] = {}

    def answer(self, planned: Planned, told: Told) -> Timing:
        """Ask one variant what it was not asked yet.

        Raises:
            SurgeryError: If the model cannot be loaded, or becomes something else than was planned.
        """
        timing = Timing()
        start = time.perf_counter()
        recipe = recipe_of(planned.variant)
        with opened(recipe) as checkpoints:
            plan = make_plan(recipe, checkpoints)
            began = time.perf_counter()
            engine = self._engine(str(recipe.models[recipe.base]), plan.base.folder)
            timing.load = time.perf_counter() - began
            before = engine.generating
            spent = time.perf_counter()
            with engine.variant(plan, checkpoints, planned.known):
                timing.switch += time.perf_counter() - spent
                self._ask(engine, planned, timing, told)
                spent = time.perf_counter()
            timing.switch += time.perf_counter() - spent
        timing.generate = engine.generating - before
        timing.total = time.perf_counter() - start
        return timing

    def _ask(
        self, engine: TransformersEngine, planned: Planned, timing: Timing, told: Told
    ) -> None:
        """Batch by batch; equal questions are asked once where nothing is left to chance.

        The whole is divided, not what is left of it, so that after an interruption every question
        meets the same neighbours again.
        """
        asks = self.asks(planned)
        by_content: dict[tuple[object, ...], list[Ask]] = {}
        for ask in asks:
            by_content.setdefault(ask.question.answer_key, []).append(ask)
        for batch in self._divided(engine, planned.style, by_content):
            same = [by_content[question.answer_key] for question in batch]
            missing = {ask.key for row in same for ask in row} - self._store.responses.keys()
            if not missing:
                continue
            began = time.perf_counter()
            outcomes = list(engine.answer([row[0] for row in same]))
            timing.answer += time.perf_counter() - began
            of = {ask.key: outcome for ask, outcome in outcomes}
            kept = [
                Kept.of(ask, planned.known.whole, of[row[0].key])
                for row in same
                for ask in row
                if ask.key in missing
            ]
            self._store.append(kept)
            timing.answered += sum(isinstance(record.outcome, Response) for record in kept)
            told(planned.variant.name, len(kept), len(asks))

    def asks(self, planned: Planned) -> tuple[Ask, ...]:
        """Every question to a variant, with the key of its response."""
        if planned.style not in self._questions:
            self._questions[planned.style] = self._work.questions(planned.style)
        asked = self._questions[planned.style]
        return tuple(addressed(question, planned.known.whole, self._how) for question in asked)

    def _divided(
        self,
        engine: TransformersEngine,
        style: Style,
        by_content: Mapping[tuple[object, ...], Sequence[Ask]],
    ) -> list[tuple[Question, ...]]:
        """The same batches for every variant of one base."""
        if style not in self._batches:
            self._batches[style] = engine.batches([row[0].question for row in by_content.values()])
        return self._batches[style]

    def _engine(self, base: str, folder: Path) -> TransformersEngine:
        if self._resident is None or self._resident[0] != base:
            self._resident = None  # the old model goes before the new one comes
            self._batches = {}
            engine = TransformersEngine.load(
                folder,
                device=self._work.device,
                dtype=self._work.dtype,
                max_batch=self._work.max_batch,
            )
            self._resident = (base, engine)
        return self._resident[1]


def _template(folder: Path) -> str:
    from surgery.processor import load_processor

    processor = load_processor(folder)
    return str(processor.chat_template or processor.tokenizer.chat_template or "")
