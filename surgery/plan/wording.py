"""The steps of a recipe as text for terminals and model cards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.recipe.recipe import Add, Interpolate, Merge, Transplant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surgery.plan.model import Plan
    from surgery.recipe.recipe import Step


def step_lines(plan: Plan) -> list[str]:
    """Return a line for every step: its layers, methods and models, and its number of tensors."""
    return [_line(plan, index, step) for index, step in enumerate(plan.recipe.steps)]


def _line(plan: Plan, index: int, step: Step) -> str:
    ops = plan.ops_of(index)
    methods = ", ".join(dict.fromkeys(op.method for op in ops))
    sources = ", ".join(dict.fromkeys(ref.model for op in ops for ref in op.inputs))
    selector_text = step.selector.describe(plan.architecture, plan.recipe.cuts)
    return f"{selector_text}: {methods} from {sources} ({len(ops)} tensors)"


def step_detail(step: Step, base: str) -> str:
    """Return where a step's tensors come from, and how."""
    match step:
        case Transplant():
            return f"from {step.source}"
        case Interpolate():
            return f"{step.method} from {base} to {step.source}, t = {_anchors(step.t)}"
        case Add():
            return f"{base} + {_anchors(step.weight)} x ({step.plus} - {step.minus})"
        case Merge():
            return f"{step.method} of {_members(step)}{_shared(step)}"


def _anchors(values: Sequence[float]) -> str:
    texts = [f"{value:.4g}" for value in values]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _members(step: Merge) -> str:
    members = []
    for name, values in step.models.items():
        inner = ", ".join(f"{key} {value}" for key, value in values.items())
        members.append(f"{name} ({inner})" if inner else name)
    return ", ".join(members)


def _shared(step: Merge) -> str:
    shared = [f"{key} {value}" for key, value in step.parameters.items()]
    if step.base is not None:
        shared.insert(0, f"base {step.base}")
    return f"; {', '.join(shared)}" if shared else ""
