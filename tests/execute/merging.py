"""Merge in one call, and read the result back with safetensors itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from surgery.execute.run import execute
from surgery.plan import make_plan
from surgery.recipe import opened, parse_recipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from surgery.checkpoint.ledger import Ledger
    from surgery.plan import Plan


def recipe_text(models: Mapping[str, Path], steps: str, base: str = "in", rest: str = "") -> str:
    """A recipe over local folders; `steps` is YAML for the list."""
    named = "".join(f"  {name}: {path}\n" for name, path in models.items())
    return f"name: test\nmodels:\n{named}base: {base}\n{rest}\nsteps:\n{steps}\n"


def merge(text: str, out: Path, **mode: Any) -> tuple[Plan, Ledger]:
    """Plan and execute a recipe's text."""
    recipe = parse_recipe(text)
    with opened(recipe) as models:
        plan = make_plan(recipe, models)
        return plan, execute(plan, models, out, **mode)


def plan_of(text: str) -> Plan:
    """Plan a recipe's text."""
    recipe = parse_recipe(text)
    with opened(recipe) as models:
        return make_plan(recipe, models)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint, read by safetensors."""
    result = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                result[name] = opened.get_tensor(name)
    return result
