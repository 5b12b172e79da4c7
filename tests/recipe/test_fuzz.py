"""Arbitrary recipes: each gives a recipe or one clear error."""

from __future__ import annotations

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surgery.errors import RecipeError, SurgeryError
from surgery.recipe import Recipe, parse_recipe
from surgery.recipe.dump import to_yaml
from surgery.recipe.mergekit import from_mergekit
from tests.recipe.models import architecture
from tests.recipe.test_load import FULL

ARCHITECTURE = architecture("specimen")
CLASSIC = """\
modules:
  text_decoder:
    slices:
      - sources:
          - {model: a/x, layer_range: [0, 9]}
          - {model: b/y, layer_range: [0, 9]}
  vision_tower: {models: [{model: b/y}]}
merge_method: slerp
base_model: a/x
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
    - value: 0.5
dtype: bfloat16
"""
SLICES = """\
models:
  - {model: a/x, parameters: {weight: [1, 0.5]}}
  - {model: b/y, parameters: {weight: [0, 0.5]}}
merge_method: linear
base_model: a/x
"""
WORDS = [
    "in",
    "rl",
    "x",
    "null",
    "~",
    "true",
    "0",
    "1",
    "-1",
    "0.5",
    "1e400",
    ".inf",
    ".nan",
    "[]",
    "{}",
    "[1]",
    "[1,2,3]",
    "''",
    "*",
    "!vision",
    "&a",
    "*a",
    "!!float",
    "<<:",
    "language[3]",
    "vision",
    "language[mid]",
    "language[99]",
    "[language]",
    "slerp",
    "ties",
    "linear",
    "merge:",
    "models:",
    "base:",
    "steps:",
    "extends:",
    "t:",
    "weight:",
    "-",
    "?",
    "|",
    ">",
    "#",
    "---",
    "...",
    "%",
    "@",
    "`",
    "5GB",
    "9999999999999999999",
    "model.",
    "filter:",
    "{}",
]
TREE = yaml.safe_load(FULL)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(WORDS),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


def check(text: str) -> None:
    """A recipe, or a SurgeryError with a place."""
    try:
        recipe = parse_recipe(text, "r.yaml")
    except RecipeError as error:
        assert error.message.strip()
        assert error.place is not None or "over 1 MB" in error.message
        assert "Traceback" not in str(error) and "pydantic" not in str(error)
        return
    assert isinstance(recipe, Recipe)
    assert parse_recipe(to_yaml(recipe)) == recipe
    for step in recipe.steps:
        try:
            assert step.selector.match(ARCHITECTURE, recipe.cuts)
        except SurgeryError:
            continue


@st.composite
def edited(draw: st.DrawFn, text: str) -> str:
    """A text with pieces cut out, doubled or replaced."""
    for _ in range(draw(st.integers(1, 4))):
        a = draw(st.integers(0, len(text)))
        b = min(len(text), a + draw(st.integers(0, 30)))
        piece = draw(st.one_of(st.sampled_from(WORDS), st.text(max_size=8), st.just(text[a:b] * 2)))
        text = text[:a] + piece + text[b:]
    return text


def _paths(value: object, position: tuple = ()) -> list[tuple]:
    results = [position]
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        results += _paths(inner, (*position, key))
    return results


PATHS = _paths(TREE)


def _replaced(tree: object, path: tuple, value: object) -> object:
    if not path:
        return value
    if isinstance(tree, dict):
        return {k: _replaced(v, path[1:], value) if k == path[0] else v for k, v in tree.items()}
    return [_replaced(v, path[1:], value) if i == path[0] else v for i, v in enumerate(tree)]


@given(edited(FULL))
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_text(text: str) -> None:
    check(text)


@given(st.sampled_from(PATHS), values)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_values(path: tuple, value: object) -> None:
    check(yaml.safe_dump(_replaced(TREE, path, value), allow_unicode=True))


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text(text: str) -> None:
    check(text)


@given(st.one_of(edited(CLASSIC), edited(SLICES)))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_mergekit(text: str) -> None:
    try:
        recipe = from_mergekit(text, "m.yml", ARCHITECTURE)
    except RecipeError as error:
        assert error.message.strip()
    else:
        assert parse_recipe(to_yaml(recipe)) == recipe
