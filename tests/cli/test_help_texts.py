"""Help texts are short, complete and in the field's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import typer

from surgery.cli.main import build
from tests.language import SUBSTITUTES, find_words

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 100
"""Characters of a help text, so that it fits on two lines of a terminal."""


def commands(command: Any, path: str = "surgery") -> Iterator[tuple[str, Any]]:
    """Yield every command with its name, groups included."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{path} {name}")


COMMANDS = dict(commands(typer.main.get_command(build())))


def test_all_commands_are_found() -> None:
    assert {"surgery merge", "surgery probe ablation", "surgery recipe show"} <= COMMANDS.keys()
    assert len(COMMANDS) > 25


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_short_help_text(name: str) -> None:
    for parameter in COMMANDS[name].params:
        text = getattr(parameter, "help", None)
        if getattr(parameter, "hidden", False):
            continue
        assert text, parameter.name
        assert len(text) < LONGEST, (parameter.name, text)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_texts_use_the_terms_of_the_field(name: str) -> None:
    texts = [COMMANDS[name].help or ""]
    texts += [getattr(parameter, "help", None) or "" for parameter in COMMANDS[name].params]
    assert texts[0], "a command without a description"
    assert find_words("\n".join(texts)) == []


def test_a_listed_word_is_found() -> None:
    assert find_words("What is told is kept beside it.") == ["told", "beside"]
    assert "told" in SUBSTITUTES
