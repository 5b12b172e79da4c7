"""Rules of the structure that import-linter cannot express."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

import pytest

import surgery.cli
from surgery.cli.main import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    import typer

ROOT = Path(__file__).parents[1]
PACKAGES = ("surgery", "eval")


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Every module under the folders: its path from the root, and its tree."""
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text("utf-8"), str(file))


def repeated_classes(trees: Iterator[tuple[str, ast.Module]]) -> dict[str, list[str]]:
    """The names of public classes that are defined more than once, and where."""
    result = defaultdict(list)
    for file, tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                result[node.name].append(f"{file}:{node.lineno}")
    return {name: places for name, places in result.items() if len(places) > 1}


def test_no_two_public_classes_share_a_name() -> None:
    assert repeated_classes(modules(*PACKAGES)) == {}


def test_a_repeated_class_is_found() -> None:
    twice = ast.parse("class Pair: ...\ndef f():\n    class Pair: ...\nclass _Own: ...\n")
    again = ast.parse("class _Own: ...")
    result = repeated_classes(iter([("a.py", twice), ("b.py", again)]))
    assert result == {"Pair": ["a.py:1", "a.py:3"]}


SUPPORT = {
    "main": "the table of commands, and what becomes of errors",
    "options": "arguments and options that several commands take, and their parsing",
    "console": "where and how text is printed",
    "progress": "bars and lines while a command works",
    "process": "what the operating system gives the process of a command",
}
"""Modules of `surgery.cli` that are no command: they parse and print for several commands."""


def command_modules() -> Iterator[ModuleType]:
    for module in iter_modules(surgery.cli.__path__):
        if module.name not in SUPPORT:
            yield import_module(f"surgery.cli.{module.name}")


def callbacks(app: typer.Typer) -> Iterator[Callable[..., Any]]:
    """The functions behind an application's commands, and those of its groups."""
    for command in app.registered_commands:
        assert command.callback is not None
        yield command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from callbacks(group.typer_instance)


def public_functions(module: ModuleType) -> list[Callable[..., Any]]:
    """The public functions that a module defines itself."""
    return [
        value
        for name, value in vars(module).items()
        if isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]


def test_a_command_module_defines_nothing_public_but_commands() -> None:
    registered = set(callbacks(build()))
    defined = [function for module in command_modules() for function in public_functions(module)]
    assert [f"{f.__module__}.{f.__name__}" for f in defined if f not in registered] == []
    assert registered == set(defined)


def test_every_support_module_is_there() -> None:
    entries = {module.name for module in iter_modules(surgery.cli.__path__)}
    assert entries >= SUPPORT.keys()


STARTERS = {
    "subprocess", "pty", "runpy", "typer.testing", "click.testing", "asyncio.subprocess",
}  # fmt: skip
"""Modules that start a program, or run a command line inside this one."""
CALLS = re.compile(
    r"os\.(system|popen|posix_spawnp?|exec[lv]\w*|spawn[lv]\w*)|asyncio\.create_subprocess_\w+"
)


def starts(tree: ast.Module) -> Iterator[str]:
    """Yield the statements of a module that start a program."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        else:
            continue
        yield from (
            f"{node.lineno}: {name}" for name in names if name in STARTERS or CALLS.fullmatch(name)
        )


def test_no_module_starts_a_command_line() -> None:
    results = [f"{file}:{start}" for file, tree in modules(*PACKAGES) for start in starts(tree)]
    assert results == []


@pytest.mark.parametrize(
    "line",
    [
        "import subprocess",
        "from subprocess import run",
        "from typer.testing import CliRunner",
        "import os; os.execvp('surgery', [])",
        "from os import system",
        "asyncio.create_subprocess_exec('surgery')",
    ],
)
def test_a_started_program_is_found(line: str) -> None:
    assert list(starts(ast.parse(line)))
    assert not list(starts(ast.parse("import os; os.stat('subprocess')")))
