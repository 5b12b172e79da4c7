"""mergekit's YAML, in and out, wherever both languages can say the same."""

from surgery.recipe.mergekit.read import from_mergekit
from surgery.recipe.mergekit.write import to_mergekit

__all__ = ["from_mergekit", "to_mergekit"]
