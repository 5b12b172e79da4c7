"""Recipe files and bundled names to `Recipe`; every fault becomes one error with its place."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgery.checkpoint.source import AdapterReference
from surgery.errors import RecipeError, did_you_mean
from surgery.reading import is_file, is_folder
from surgery.recipe.extend import SUFFIXES, Extender, bundled_folder, bundled_names, read_text
from surgery.recipe.nodes import Node, compose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.recipe.recipe import Recipe, Reference
    from surgery.recipe.schema import RecipeModel


PUBLISHED = "recipe.yaml"
"""The recipe's name in a published merge."""


def load_recipe(path_or_name: str | Path, models: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path_or_name: A file, the name of a bundled recipe such as `specimen/in-rl-in`, or a
            published merge, `hf://org/name@revision`.
        models: References that replace the recipe's own, by model name.

    Returns:
        The recipe, checked as far as it can be without its models.

    Raises:
        RecipeError: If there is no such recipe, or something in it is wrong; says where.
    """
    path = find_recipe(path_or_name)
    if not str(path_or_name).startswith("hf://"):
        return _parse(read_text(path), str(path), path, models or {})
    recipe = _parse(read_text(path), str(path), None, models or {})
    bound = models or {}
    return replace(
        recipe,
        models={
            name: reference if name in bound else _elsewhere(name, reference, str(path_or_name))
            for name, reference in recipe.models.items()
        },
    )


def _elsewhere(name: str, reference: Reference | None, recipe: str) -> Reference | None:
    """Return a model of a published recipe, which is on the Hub and never a local folder.

    Raises:
        RecipeError: If it is something else.
    """
    if isinstance(reference, AdapterReference):
        base, adapter = (
            _elsewhere(name, part, recipe) for part in (reference.base, reference.adapter)
        )
        return AdapterReference(str(base), str(adapter))
    if reference is None or reference.startswith("specimen:"):
        return reference
    bare = reference.removeprefix("hf://")
    if bare.startswith((".", "~", "/")) or "/" not in bare:
        raise RecipeError(
            f"{recipe}: its model {name!r} is {reference!r}, a folder on another machine. Bind it "
            f"to a model on this one: --model {name}=REF."
        )
    return f"hf://{bare}"


def parse_recipe(
    text: str, file: str = "<string>", models: Mapping[str, str] | None = None
) -> Recipe:
    """Read a recipe from text; its `extends` reaches bundled recipes only.

    Args:
        text: The YAML.
        file: What to call it in errors.
        models: References that replace the recipe's own, by model name.

    Raises:
        RecipeError: If something in it is wrong; says where.
    """
    return _parse(text, file, None, models or {})


def find_recipe(path_or_name: str | Path) -> Path:
    """Return the file of a recipe: a local file, a bundled recipe, or a published merge's.

    Raises:
        RecipeError: If there is none.
        CheckpointError: If the published merge cannot be reached.
    """
    if str(path_or_name).startswith("hf://"):
        return _published(str(path_or_name))
    path = Path(path_or_name)
    if is_file(path):
        return path
    name = str(path_or_name).removesuffix(".yaml")
    names = bundled_names()
    if name in names:
        return bundled_folder() / f"{name}.yaml"
    if is_folder(path):
        raise RecipeError(f"{path} is a folder; name one recipe file in it.")
    near = did_you_mean(name, names)
    near = near if near.startswith(" Did") else " 'surgery recipe list' shows bundled recipes."
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@\S+)?", str(path_or_name)):
        near += f" A published merge is hf://{path_or_name}."
    label = "file" if path.suffix in SUFFIXES else "file and no bundled recipe"
    raise RecipeError(f"there is no {label} {str(path_or_name)!r}.{near}")


def _published(reference: str) -> Path:
    """Return the recipe in the repository of a merge on the Hub."""
    from surgery.checkpoint.hub import fetch_file
    from surgery.checkpoint.open import split_hub_id

    repo, revision = split_hub_id(reference)
    path = fetch_file(repo, revision, PUBLISHED)
    if path is None:
        raise RecipeError(
            f"{reference} has no {PUBLISHED}: it was not published by 'surgery publish'. Name a "
            f"recipe file, and models with --model."
        )
    return path


def bundled_recipes() -> dict[str, Recipe]:
    """Return the bundled recipes that can be run or bound, by name, in alphabetical order.

    Returns:
        Recipes by name; files without steps, which others extend, are omitted.

    Example:
        >>> import surgery
        >>> "specimen/in-rl-in" in surgery.bundled_recipes()
        True
    """
    from surgery.recipe.lower import lower

    folder = bundled_folder()
    recipes = {}
    for name in bundled_names():
        path = folder / f"{name}.yaml"
        root = _extended(read_text(path), str(path), path)
        if root.get("steps") is not None:
            recipes[name] = lower(_validate(root), root, {}, path, name)
    return recipes


def _parse(text: str, file: str, path: Path | None, models: Mapping[str, str]) -> Recipe:
    """Return the recipe of a text."""
    # Imported here, because pydantic is slow to load and plans do not need it.
    from surgery.recipe.lower import lower

    root = _extended(text, file, path)
    return lower(_validate(root), root, models, path, _default_name(path, file))


def _extended(text: str, file: str, path: Path | None) -> Node:
    """Return a recipe's root laid over all that it extends."""
    root = compose(text, file)
    if not isinstance(root.value, dict):
        raise RecipeError(
            "expected a mapping with keys such as models, base and steps.", root.place
        )
    folder = path.parent if path else None
    return Extender.around(folder).extended(root, folder, (path.resolve(),) if path else ())


def _default_name(path: Path | None, file: str) -> str:
    """Return the name of a recipe that gives none: for a bundled one, the name people ask for."""
    if path is None:
        return Path(file).stem.strip("<>") or "recipe"
    resolved, bundle = path.resolve(), bundled_folder().resolve()
    if resolved.is_relative_to(bundle):
        return resolved.relative_to(bundle).with_suffix("").as_posix()
    return path.stem


def _validate(root: Node) -> RecipeModel:
    """Validate the plain values against the schema."""
    from pydantic import ValidationError

    from surgery.recipe.schema import RecipeModel
    from surgery.recipe.translate import translate

    plain: dict[str, Any] = root.plain()
    try:
        return RecipeModel.model_validate(plain)
    except ValidationError as error:
        raise translate(error, root) from None
