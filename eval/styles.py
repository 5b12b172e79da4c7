"""Custom prompt styles: a short YAML, as a file or inside a sweep."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias
from unicodedata import category

from pydantic import AfterValidator, Field, ValidationError

from eval.prompts import STYLES, TEMPLATE, Style, find_style
from surgery.errors import RecipeError
from surgery.recipe.extend import read_text
from surgery.recipe.nodes import compose
from surgery.recipe.schema import ModelName, Strict, fail
from surgery.recipe.translate import translate

if TYPE_CHECKING:
    from surgery.recipe.nodes import Node

CUSTOM = "custom"
"""The name of an unnamed style inside a sweep."""


def _writable(value: str) -> str:
    for letter in value:
        if category(letter) in {"Cc", "Cs"} and letter not in "\n\t":
            fail(f"expected text, found the character U+{ord(letter):04X}; leave it out")
    return value


Text: TypeAlias = Annotated[str, AfterValidator(_writable)]


class StyleModel(Strict):
    """The schema of a style's YAML."""

    name: ModelName | None = Field(
        default=None, description="Name in results; the file's name by default."
    )
    system: Text = Field(default="", description="System message.")
    prefix: Text = Field(default="", description="Text before the question.")
    suffix: Text = Field(default="", description="Text after the question.")
    form: Literal["any", "answer-tag", "boxed"] = Field(
        default="any", description="Form of a well-formed response."
    )


def read_style(text: str, folder: Path = Path()) -> Style:
    """Return the style of a name, or of a YAML file.

    Args:
        text: A key of `STYLES`, "template", or a path that ends in .yaml or .yml.
        folder: Where a relative path starts.

    Raises:
        RecipeError: If something in the file is wrong; says where.
        SurgeryError: If there is no such style.
    """
    path = Path(text)
    if path.suffix not in {".yaml", ".yml"}:
        return find_style(text)
    name = re.sub(r"[^\w.-]+", "-", path.stem)  # model cards and tables print it
    return style_of(compose(read_text(folder / path), str(folder / path)), name)


def style_of(node: Node, name: str = CUSTOM) -> Style:
    """Return the style that a mapping describes.

    Args:
        node: The mapping.
        name: What to call a style that has no name of its own.

    Raises:
        RecipeError: If something in it is wrong; says where.
    """
    try:
        model = StyleModel.model_validate(node.plain())
    except ValidationError as error:
        raise translate(error, node, ("the style", StyleModel)) from None
    name = model.name or name
    if name in {*STYLES, TEMPLATE}:
        entry = node.get("name")
        raise RecipeError(
            f"name: {name!r} is an existing style, and results could not distinguish the two. "
            f"Choose another name.",
            entry.place if entry else node.place,
        )
    return Style(name, model.system, model.form, model.prefix, model.suffix)
