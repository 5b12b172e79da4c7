"""The recipe language: which tensors of which models make a new one."""

from surgery.recipe.grammar import parse_selector
from surgery.recipe.load import (
    bundled_recipes,
    find_recipe,
    load_recipe,
    parse_recipe,
)
from surgery.recipe.models import opened
from surgery.recipe.recipe import Add, Interpolate, Merge, Output, Recipe, Step, Transplant
from surgery.recipe.select import Selector

__all__ = [
    "Add",
    "Interpolate",
    "Merge",
    "Output",
    "Recipe",
    "Selector",
    "Step",
    "Transplant",
    "bundled_recipes",
    "find_recipe",
    "load_recipe",
    "opened",
    "parse_recipe",
    "parse_selector",
]
