"""The architecture that a mergekit file is about, read from the headers of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from surgery.arch import resolve
from surgery.checkpoint.open import open_checkpoint
from surgery.checkpoint.source import Remote
from surgery.errors import RecipeError, did_you_mean
from surgery.recipe.mergekit.layout import layout_of, single
from surgery.recipe.nodes import compose_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from surgery.arch import Architecture
    from surgery.recipe.nodes import Node
    from surgery.recipe.recipe import Recipe


def architecture_of(reference: str) -> Architecture:
    """Read the sites of a model from its headers.

    Args:
        reference: A folder, `org/name@revision` or `specimen:STAGE`.

    Raises:
        CheckpointError: If the model cannot be opened.
        ArchitectureError: If its tensors cannot be placed.
    """
    with open_checkpoint(reference, Remote.RANGES) as checkpoint:
        return resolve(checkpoint.info.config, checkpoint.info.tensors)


def local_model(text: str, file: str = "<string>") -> str | None:
    """Return the first model of a mergekit file that is a folder here, if its meaning needs one.

    A file without slices, modules, filters and gradients means the same for every model.

    Raises:
        RecipeError: If it is not a mergekit file.
    """
    layout = layout_of(single(compose_all(text, file)))
    settings = list(_settings(layout.root))
    if None in layout.modules and not layout.stacked and not settings:
        return None
    sources = [
        s.model for m in layout.modules.values() for piece in m.slices for s in piece.sources
    ]
    models = [layout.base, *sources] if layout.base else sources
    folders = (model.partition("+")[0] for model in models)
    return next((folder for folder in folders if (Path(folder) / "config.json").is_file()), None)


def bound(recipe: Recipe, references: Iterable[tuple[str, str]]) -> Recipe:
    """Return the recipe with other references for some of its models.

    Args:
        recipe: Any.
        references: Names of its models with their references; unnamed models are omitted.

    Raises:
        RecipeError: If it has no model of a name.
    """
    models = dict(recipe.models)
    for name, reference in references:
        if name and name not in models:
            raise RecipeError(
                f"cannot bind {name}={reference}: the file has no model {name!r}."
                f"{did_you_mean(name, models)}"
            )
        models |= {name: reference} if name else {}
    return replace(recipe, models=models)


def _settings(node: Node) -> Iterator[Node]:
    """Yield every parameter that is more than one value."""
    for key, item in node.value.items() if isinstance(node.value, dict) else ():
        if key == "parameters" and isinstance(item.value, dict):
            yield from (
                entry for entry in item.value.values() if isinstance(entry.value, list | dict)
            )
        else:
            yield from _settings(item)
    for item in node.value if isinstance(node.value, list) else ():
        yield from _settings(item)
