"""Import and export of mergekit's YAML, where both languages can express the same merge."""

from surgery.recipe.mergekit.models import architecture_of, bound, local_model
from surgery.recipe.mergekit.read import from_mergekit
from surgery.recipe.mergekit.write import to_mergekit

__all__ = ["architecture_of", "bound", "from_mergekit", "local_model", "to_mergekit"]
