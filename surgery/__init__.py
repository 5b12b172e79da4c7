"""Open up a vision-language model and see what reinforcement learning changed in it.

    import surgery as vs

    plan = vs.make_plan("specimen/in-rl-in")
    plan.merge("out/in-rl-in").verify()

Names are imported when they are first used, so that `import surgery` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from surgery.version import __version__

if TYPE_CHECKING:
    from surgery.api.functions import load_run, make_plan, merge, weight_stats
    from surgery.api.plans import MergedModel, MergePlan
    from surgery.api.results import RunResult
    from surgery.api.verification import verify
    from surgery.arch import Component, Site
    from surgery.checkpoint.open import open_checkpoint
    from surgery.checkpoint.source import AdapterReference, Checkpoint, CheckpointInfo
    from surgery.errors import (
        CheckpointError,
        ExecutionError,
        PlanError,
        RecipeError,
        SurgeryError,
    )
    from surgery.hub.merge import PublishOptions, publish_merge
    from surgery.recipe import (
        Recipe,
        Selector,
        bundled_recipes,
        load_recipe,
        parse_recipe,
        parse_selector,
    )
    from surgery.runs import RunKind
    from surgery.stats import Options, Study


_HOMES: Final = {
    "AdapterReference": "surgery.checkpoint.source",
    "Checkpoint": "surgery.checkpoint.source",
    "CheckpointError": "surgery.errors",
    "CheckpointInfo": "surgery.checkpoint.source",
    "Component": "surgery.arch",
    "ExecutionError": "surgery.errors",
    "MergePlan": "surgery.api.plans",
    "MergedModel": "surgery.api.plans",
    "Options": "surgery.stats",
    "PlanError": "surgery.errors",
    "PublishOptions": "surgery.hub.merge",
    "Recipe": "surgery.recipe",
    "RecipeError": "surgery.errors",
    "RunKind": "surgery.runs",
    "RunResult": "surgery.api.results",
    "Selector": "surgery.recipe",
    "Site": "surgery.arch",
    "Study": "surgery.stats",
    "SurgeryError": "surgery.errors",
    "bundled_recipes": "surgery.recipe",
    "load_recipe": "surgery.recipe",
    "load_run": "surgery.api.functions",
    "make_plan": "surgery.api.functions",
    "merge": "surgery.api.functions",
    "open_checkpoint": "surgery.checkpoint.open",
    "parse_recipe": "surgery.recipe",
    "parse_selector": "surgery.recipe",
    "publish_merge": "surgery.hub.merge",
    "verify": "surgery.api.verification",
    "weight_stats": "surgery.api.functions",
}

__all__ = [
    "AdapterReference",
    "Checkpoint",
    "CheckpointError",
    "CheckpointInfo",
    "Component",
    "ExecutionError",
    "MergePlan",
    "MergedModel",
    "Options",
    "PlanError",
    "PublishOptions",
    "Recipe",
    "RecipeError",
    "RunKind",
    "RunResult",
    "Selector",
    "Site",
    "Study",
    "SurgeryError",
    "__version__",
    "bundled_recipes",
    "load_recipe",
    "load_run",
    "make_plan",
    "merge",
    "open_checkpoint",
    "parse_recipe",
    "parse_selector",
    "publish_merge",
    "verify",
    "weight_stats",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, for tab completion."""
    return sorted({*globals(), *_HOMES})
