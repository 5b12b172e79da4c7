"""Output of commands: results to stdout, everything about the run to stderr."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from surgery.report.console import plain_console
from surgery.text import one_line, printable, without_credentials

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console

    from surgery.errors import SurgeryError
    from surgery.runs import RunTables

INTERRUPTED: Final = 130
_LONGEST: Final = 2000  # characters of an error


def stdout() -> Console:
    """Return the console for results.

    A pipe has no width: there, nothing is folded, so that no line depends on where it was made.
    """
    return _console(sys.stdout)


def stderr() -> Console:
    """Return the console for progress, warnings and errors."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return plain_console(file=stream, width=width)


_PIPE_WIDTH: Final = 160


def print_json(value: Any) -> None:
    """Print a value for programs, and nothing else."""
    plain = (sys.stdout.encoding or "utf-8").lower() not in ("utf-8", "utf8")
    text = json.dumps(value, indent=2, ensure_ascii=plain)
    if not text.isprintable():  # only strings hold what is escaped, so the value stays the same
        text = "".join(c if printable(c) == c else json.dumps(c)[1:-1] for c in text)
    print(text, flush=True)


def print_text(text: str) -> None:
    """Print text that is a file's, such as a recipe, and nothing else."""
    print(printable(text), end="", flush=True)


def plain_json(value: Any) -> Any:
    """Return a value that JSON can represent: null for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plain_rows(table: DataFrame) -> Any:
    """Return a table that JSON can represent: one object per row."""
    return plain_json(table.astype(object).where(table.notna(), None).to_dict("records"))


def print_note(text: str) -> None:
    """Print a line about the run to stderr."""
    stderr().print(one_line(text), soft_wrap=True)


def print_scores(results: RunTables, folder: Path | None) -> None:
    """Print what an evaluation found, and where it is."""
    from surgery.report.scores.terminal import notes, overview

    console = stdout()
    for part in overview(results, console.width):
        console.print(part)
    for line in notes(results):
        console.print(line.replace("\n", " "), soft_wrap=True)
    if folder is not None:
        console.print(f"tables, records and figures are in {folder}")


def show_error(error: SurgeryError) -> None:
    """Print one paragraph that says what is wrong."""
    from rich.text import Text

    console = stderr()
    text = one_line(without_credentials(str(error)))
    if len(text) > _LONGEST:  # a path or a value of somebody's file
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    paragraph = Text.assemble(("error: ", "bold red"), text)
    console.print(paragraph, soft_wrap=not console.is_terminal)


def program() -> str:
    """Return this program's command: its name if it is on the PATH, else its path."""
    import shutil

    script = Path(sys.executable).with_name("surgery")
    on_path = shutil.which("surgery")
    if (on_path and Path(on_path).resolve() == script.resolve()) or not script.exists():
        return "surgery"
    return str(script.relative_to(Path.cwd())) if script.is_relative_to(Path.cwd()) else str(script)


_warnings: set[str] = set()


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning in one line, each text once; stands in for `warnings.showwarning`."""
    text = one_line(without_credentials(str(message)))
    if text in _warnings:
        return
    _warnings.add(text)
    from rich.text import Text

    console = stderr()
    line = Text.assemble(("warning: ", "bold yellow"), text)
    console.print(line, soft_wrap=not console.is_terminal)
