"""A variant before it is asked: its plan, its content fingerprint and its prompt style."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eval.prompts import TEMPLATE, find_style
from surgery.errors import ExecutionError
from surgery.execute.fingerprint import fingerprint
from surgery.plan import make_plan
from surgery.recipe import opened
from surgery.recipe.models import pinned

if TYPE_CHECKING:
    from pathlib import Path

    from eval.asking.settings import EvalSettings
    from eval.prompts import Style
    from eval.variants import Variant
    from surgery.execute.fingerprint import Fingerprint
    from surgery.plan.model import Plan
    from surgery.recipe import Recipe


@dataclass(frozen=True)
class PreparedVariant:
    """A variant whose content is known; it may be sent to another process.

    Attributes:
        variant: The variant, every model of its recipe at the revision that was read.
        recipe: Its recipe.
        plan: The recipe's plan.
        fingerprint: Its content.
        style: The prompt style, its form read from the chat template where that was asked for.
    """

    variant: Variant
    recipe: Recipe
    plan: Plan
    fingerprint: Fingerprint
    style: Style

    @property
    def content(self) -> str:
        """Return the content fingerprint."""
        return self.fingerprint.whole

    @property
    def folder(self) -> Path:
        """Return the base's folder, whose processor prepares all images."""
        return self.plan.base.folder

    @property
    def numel(self) -> int:
        """Return the number of parameters."""
        return sum(op.numel for op in self.plan.ops)


def prepare(variant: Variant, settings: EvalSettings) -> PreparedVariant:
    """Plan a variant and hash its content; no model is loaded.

    Raises:
        SurgeryError: If a model cannot be read or the recipe does not fit it.
        ValueError: If the variant is a served model, which has no recipe.
    """
    recipe = variant.recipe
    if recipe is None:
        raise ValueError(f"{variant.name!r} has no recipe")
    if not isinstance(recipe.models[recipe.base], str):
        raise ExecutionError(
            f"variant {variant.name!r}: its base {recipe.models[recipe.base]} has an adapter. Name "
            f"the plain model as base, and take what the adapter changes with 'transplant: \"*\"'."
        )
    with opened(recipe) as checkpoints:
        plan = make_plan(recipe, checkpoints)
        content = fingerprint(plan, checkpoints)
    style = settings.style
    if style.name == TEMPLATE:
        style = find_style(TEMPLATE, _template(plan.base.folder))
    # A branch may move during the run; every process reads the planned commit.
    revisions = {name: info.revision for name, info in plan.models.items()}
    recipe = pinned(recipe, revisions)
    return PreparedVariant(replace(variant, recipe=recipe), recipe, plan, content, style)


def _template(folder: Path) -> str:
    from surgery.processor import load_processor

    processor = load_processor(folder)
    return str(processor.chat_template or processor.tokenizer.chat_template or "")
