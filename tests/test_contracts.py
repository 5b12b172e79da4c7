"""Rules of the structure that import-linter cannot express."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGES = ("surgery", "eval")


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Every module under the folders: its path from the root, and its tree."""
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text("utf-8"), str(file))


def repeated_classes(trees: Iterator[tuple[str, ast.Module]]) -> dict[str, list[str]]:
    """The names of public classes that are defined more than once, and where."""
    found = defaultdict(list)
    for file, tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(f"{file}:{node.lineno}")
    return {name: places for name, places in found.items() if len(places) > 1}


def test_no_two_public_classes_share_a_name() -> None:
    assert repeated_classes(modules(*PACKAGES)) == {}


def test_a_repeated_class_is_found() -> None:
    twice = ast.parse("class Pair: ...\ndef f():\n    class Pair: ...\nclass _Own: ...\n")
    again = ast.parse("class _Own: ...")
    found = repeated_classes(iter([("a.py", twice), ("b.py", again)]))
    assert found == {"Pair": ["a.py:1", "a.py:3"]}
