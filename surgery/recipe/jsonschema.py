"""The recipe language as JSON Schema, for editors."""

from __future__ import annotations

from typing import Any

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a recipe file.

    A file that extends others may omit what they define, and a file that others extend may define
    only some; so only a file with steps and without `extends` must have models and base.

    Returns:
        The schema, out of the same definition that recipes are checked with.
    """
    from surgery.recipe.schema import RecipeModel

    schema = RecipeModel.model_json_schema(by_alias=True, mode="validation")
    required = schema.pop("required", [])
    for definition in [schema, *schema.get("$defs", {}).values()]:
        _tidy(definition)
    return {
        "$schema": DIALECT,
        "title": "vlm-surgery recipe",
        **{key: value for key, value in schema.items() if key != "title"},
        "if": {"required": ["steps"], "not": {"required": ["extends"]}},
        "then": {"required": sorted(required)},
    }


def _tidy(definition: dict[str, Any]) -> None:
    """Remove titles that only repeat a property's name."""
    for value in definition.get("properties", {}).values():
        value.pop("title", None)
