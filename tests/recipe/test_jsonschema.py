"""The schema for editors agrees with the checks."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

import merge_recipes
from surgery.recipe.jsonschema import recipe_schema
from tests.recipe.test_load import FULL

SCHEMA = recipe_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_it_is_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"].endswith("2020-12/schema")


def test_it_takes_the_issues_example() -> None:
    VALIDATOR.validate(yaml.safe_load(FULL))


@pytest.mark.parametrize("path", sorted(merge_recipes.folder().rglob("*.yaml")), ids=str)
def test_it_takes_every_bundled_file(path) -> None:
    VALIDATOR.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("language[mid]", "langauge[mid]"),
        ("steps:", "stpes:"),
        ("method: slerp", "method: slrp"),
        ("[0.2, 0.8]", "[0.2, 1.8]"),
        ("dare_ties", "dare_tie"),
        ("bfloat16", "bf16"),
        ("5GB", "5XB"),
        ("[8, 20]", "[8]"),
        ("base: in ", "bas: in "),
        ("seed: 0", "seed: -1"),
    ],
)
def test_it_refuses_what_the_loader_refuses(old: str, new: str) -> None:
    assert not VALIDATOR.is_valid(yaml.safe_load(FULL.replace(old, new, 1)))


def test_every_property_is_described() -> None:
    for definition in [SCHEMA, *SCHEMA["$defs"].values()]:
        for name, value in definition["properties"].items():
            assert value.get("description"), name
