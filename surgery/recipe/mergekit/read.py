"""mergekit's YAML as a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.recipe.mergekit.layout import layout_of, single
from surgery.recipe.mergekit.reader import Reader
from surgery.recipe.mergekit.sites import selector_for
from surgery.recipe.mergekit.without_model import filters_of, read_without_model
from surgery.recipe.nodes import compose_all

if TYPE_CHECKING:
    from surgery.arch import Architecture
    from surgery.recipe.recipe import Recipe


def from_mergekit(
    text: str, file: str = "<string>", architecture: Architecture | None = None
) -> Recipe:
    """Convert a mergekit file to a recipe.

    Args:
        text: The file's text.
        file: What to call it in errors.
        architecture: The model's sites. Without them only what holds for all models that mergekit
            knows, or is refused by the others when they are merged, can be expressed.

    Returns:
        A recipe that makes the same model.

    Raises:
        RecipeError: If it is not a mergekit file, or says what recipes cannot; names what.
    """
    layout = layout_of(single(compose_all(text, file)))
    if architecture is None:
        return read_without_model(layout)
    reader = Reader(layout, architecture, architecture.layers)
    steps = [(action, selector_for(sites, architecture)) for action, sites in reader.groups]
    names = reader.tensor_names()
    idle = [mark for mark in filters_of(layout) if not any(mark in name for name in names)]
    note = f" No tensor has {' or '.join(map(repr, idle))} in its name; mergekit ignores that, too."
    return reader.recipe(steps, note if idle else "")
