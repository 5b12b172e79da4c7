"""The public names of `import surgery` and `from eval import ...`, and their import time."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import eval as harness
import surgery

ROOT = Path(surgery.__file__).parents[1]
HEAVY = ("torch", "transformers", "pandas", "numpy", "matplotlib", "pydantic", "rich", "yaml")
PUBLIC = [
    *((surgery, name) for name in surgery.__all__ if name != "__version__"),
    *((harness, name) for name in harness.__all__),
]
IDS = [f"{module.__name__}.{name}" for module, name in PUBLIC]


@pytest.mark.parametrize("package", ["surgery", "eval"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    code = f"import sys, {package}; print(*(set({HEAVY!r}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", [surgery, harness], ids=["surgery", "eval"])
def test_every_promised_name_is_there_and_tab_completion_shows_it(module: Any) -> None:
    assert len(set(module.__all__)) == len(module.__all__) <= 35
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize("module", [surgery, harness], ids=["surgery", "eval"])
def test_no_public_name_is_that_of_a_module_beside_it(module: Any) -> None:
    beside = {iter_module.name for iter_module in pkgutil.iter_modules(module.__path__)}
    assert not beside & set(module.__all__)


@pytest.mark.parametrize("module", [surgery, harness], ids=["surgery", "eval"])
def test_type_checkers_see_the_names_that_are_offered(module: Any) -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported | {"__version__"} == set(module.__all__) | {"__version__"}


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=IDS)
def test_every_public_name_says_what_it_is(module: Any, name: str) -> None:
    value = getattr(module, name)
    assert inspect.getdoc(value), name
    if inspect.isfunction(value):
        assert "Raises:" in str(value.__doc__) or "Returns:" in str(value.__doc__)


def test_the_examples_of_public_names_run(tmp_path: Path) -> None:
    """On the specimen; `out` is a folder to write to."""
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    examples = 0
    for module, name in PUBLIC:
        value = getattr(module, name)
        source = inspect.getdoc(value) or ""
        home = importlib.import_module(value.__module__)
        test = parser.get_doctest(
            source, {"out": tmp_path}, f"{module.__name__}.{name}", home.__file__, None
        )
        examples += len(test.examples)
        if test.examples:
            runner.run(test)
    assert runner.failures == 0
    assert examples >= 20
