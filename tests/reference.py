"""Reference tables in the READMEs, made from schemas, dataclasses and module docstrings.

A README asks for a table with a comment, and this module fills it in:

    <!-- table: surgery.recipe.schema:RecipeModel -->
    <!-- /table -->

    <!-- files: surgery/recipe -->
    <!-- /files -->

`python -m tests.reference` rewrites all tables; a test fails while one differs.
"""

from __future__ import annotations

import ast
import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic_core import PydanticUndefined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[1]
_TABLE = re.compile(r"(<!-- table: (\S+):(\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)
_FILES = re.compile(r"(<!-- files: (\S+) -->\n).*?(<!-- /files -->)", re.DOTALL)


def readmes() -> Iterator[Path]:
    """Yield every README of the project."""
    yield ROOT / "README.md"
    for folder in ("surgery", "eval", "merge_recipes", "tests"):
        yield from sorted((ROOT / folder).rglob("README.md"))


def filled(text: str) -> str:
    """Return a README's text with every table rebuilt."""
    text = _TABLE.sub(lambda match: f"{match[1]}{table(match[2], match[3])}\n{match[4]}", text)
    return _FILES.sub(lambda match: f"{match[1]}{file_table(match[2])}\n{match[3]}", text)


def table(module: str, name: str) -> str:
    """Return the Markdown table of a YAML schema's keys or of a dataclass's columns."""
    described = getattr(import_module(module), name)
    return _markdown(list(_columns(described) if is_dataclass(described) else _keys(described)))


def file_table(folder: str) -> str:
    """Return the Markdown table of a package's modules: the first line of each docstring."""
    rows = []
    for file in sorted((ROOT / folder).glob("*.py")):
        docstring = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        if file.name != "__init__.py":
            rows.append(
                {"file": f"`{file.name}`", "contents": docstring.split("\n")[0].rstrip(".")}
            )
    return _markdown(rows)


def _markdown(rows: list[dict[str, str]]) -> str:
    header = list(rows[0])
    lines = [header, ["---"] * len(header), *(list(row.values()) for row in rows)]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _keys(model: type[BaseModel]) -> Iterator[dict[str, str]]:
    for name in model.__annotations__:  # without the keys of a base class, which has its own table
        field = model.model_fields[name]
        yield {
            "key": f"`{field.alias or name}`",
            "default": _default(field),
            "meaning": _meaning(field),
        }


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if field.is_required():
        return "required"
    if value is PydanticUndefined or value is None or value in ("", [], ()):
        return ""
    if isinstance(value, tuple):
        value = value[0] if len(value) == 1 else list(value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = f"{value:g}" if isinstance(value, float) else str(value).replace("'", "")
    return f"`{text}`"


def _meaning(field: FieldInfo) -> str:
    text = (field.description or "").rstrip(".")
    names = sorted(dict.fromkeys(_choices(field.annotation)))
    missing = [name for name in names if name not in text]
    return f"{text}: {', '.join(f'`{name}`' for name in names)}" if missing else text


def _choices(annotation: object) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    for argument in get_args(annotation):
        yield from _choices(argument)


def _columns(described: type) -> Iterator[dict[str, str]]:
    meanings = _attributes(described.__doc__ or "")
    for field in fields(described):
        yield {"column": f"`{field.name}`", "meaning": meanings[field.name].rstrip(".")}


def _attributes(docstring: str) -> dict[str, str]:
    """Return the text of each entry of a docstring's Attributes section."""
    section = cleandoc(docstring).partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n      .*)*)", section, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in entries}


if __name__ == "__main__":
    for readme in readmes():
        readme.write_text(filled(readme.read_text("utf-8")), "utf-8")
