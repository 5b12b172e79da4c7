"""The language of the project stays plain: shares of odd names and docstrings may only fall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.language import (
    ROOT,
    Finding,
    banned_names,
    listed_words,
    question_docstrings,
    sources,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOURCE = (ROOT / "surgery", ROOT / "eval", ROOT / "merge_recipes")
TESTS = (ROOT / "tests",)
TEXTS = (*SOURCE, ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "tests" / "README.md")
"""Code and texts of the project, which users read."""

NAMES_CEILING = {SOURCE: 0.003, TESTS: 0.002}
"""Largest share of banned names among all bindings; both may only fall."""
QUESTIONS_CEILING = {SOURCE: 0.0, TESTS: 0.0}
"""Largest share of docstrings that open with a question word; both may only fall."""
WORDS_CEILING = {TEXTS: 1, TESTS: 95}
"""Largest number of listed words in texts; both may only fall. The one is in a model's prompt."""


def share(
    measure: Callable[[Path], tuple[list[Finding], int]], paths: tuple[Path, ...]
) -> tuple[float, list[Finding]]:
    """Return the share of findings in all modules under the paths, and the findings."""
    measured = [measure(file) for file in sources(paths)]
    findings = [finding for part, _ in measured for finding in part]
    return len(findings) / sum(count for _, count in measured), findings


@pytest.mark.parametrize("paths", [SOURCE, TESTS], ids=["source", "tests"])
def test_identifiers_name_things(paths: tuple[Path, ...]) -> None:
    measured, findings = share(banned_names, paths)
    assert measured <= NAMES_CEILING[paths], "\n".join(map(str, findings))


@pytest.mark.parametrize("paths", [SOURCE, TESTS], ids=["source", "tests"])
def test_docstrings_open_with_a_verb_or_a_noun(paths: tuple[Path, ...]) -> None:
    measured, findings = share(question_docstrings, paths)
    assert measured <= QUESTIONS_CEILING[paths], "\n".join(map(str, findings))


@pytest.mark.parametrize("paths", [TEXTS, TESTS], ids=["texts", "tests"])
def test_texts_use_the_terms_of_the_field(paths: tuple[Path, ...]) -> None:
    files = [
        file
        for file in sources(paths, (".py", ".md", ".yaml", ".yml"))
        if file.name not in {"language.py", "test_language.py", "test_help_texts.py"}
    ]
    findings = [finding for file in files for finding in listed_words(file)]
    assert len(findings) <= WORDS_CEILING[paths], "\n".join(map(str, findings))


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """Return a module with one finding of each kind per line that is marked."""
    file = tmp_path / "module.py"
    file.write_text(
        '''"""What this is."""
def told(its, row): pass  # two names
def report(row):
    """Return the rows."""
    found_one = [text for text in row]  # one name, of two words
    raise ValueError(f"it goes on beside {row}")  # two words
'''
    )
    return file


def test_each_kind_of_finding_is_found(module: Path) -> None:
    names, bindings = banned_names(module)
    assert [(finding.line, finding.word) for finding in names] == [
        (2, "told"), (2, "its"), (5, "found_one"),
    ]  # fmt: skip
    assert bindings == 7
    questions, docstrings = question_docstrings(module)
    assert [finding.line for finding in questions] == [1] and docstrings == 2
    assert [(finding.line, finding.word.split(" -> ")[0]) for finding in listed_words(module)] == [
        (6, "goes on"), (6, "beside"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["left_margin", "found_rows", "_", "__all__", "items", "key"])
def test_names_with_a_noun_are_allowed(name: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(f"{name} = 1\n")
    assert banned_names(file)[0] == []


def packages() -> list[Any]:
    """Return the two front doors."""
    import eval
    import surgery

    return [surgery, eval]


@pytest.mark.parametrize("package", packages(), ids=["surgery", "eval"])
def test_every_public_name_is_listed_and_documented(package: Any) -> None:
    assert sorted(package.__all__) == sorted(set(package.__all__))
    for name in package.__all__:
        value = getattr(package, name)
        assert not callable(value) or value.__doc__, name
    assert set(package.__all__) <= set(dir(package))
