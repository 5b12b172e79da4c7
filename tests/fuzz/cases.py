"""One case: a damaged copy of the inputs, the commands that read it, and uncaught errors."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import typer

from surgery.cli.process import resource_error
from surgery.errors import SurgeryError
from tests.fuzz import mutate
from tests.fuzz.kinds import KINDS
from tests.fuzz.room import call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.servers import Servers

LONGEST = 30  # seconds
_ROOT = Path(__file__).parents[2]


class Hang(BaseException):
    """A command took too long."""


@dataclass
class Report:
    """The outcome of a series of cases.

    Attributes:
        count: How many commands ran, by how they ended.
        buckets: Escaped errors by where they came from, with the cases that raised them.
    """

    count: Counter[str] = field(default_factory=Counter)
    buckets: dict[str, list[str]] = field(default_factory=dict)


def run_case(
    kind: str, seed: int, clean: Path, room: Path, servers: Servers, report: Report
) -> None:
    """Damage a copy of the clean inputs and run the commands that read it."""
    rng, servers.rng = Random(f"{kind}/{seed}"), None
    mutate.copy(clean, room)
    with _inside(room):
        for command in KINDS[kind](rng, room, servers):
            before = _listing(room)
            try:
                with _watched(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    call(command)
                report.count["done"] += 1
            except (SurgeryError, typer.BadParameter.__mro__[2]) as error:
                report.count["refused"] += 1
                if not str(error).strip() or "Traceback" in str(error):
                    _put(report, f"bad message: {str(error)[:80]!r}", kind, seed, command)
                remaining = _listing(room) - before if command[0] == "merge" else set()
                if remaining:
                    _put(report, f"left behind: {sorted(remaining)[:3]}", kind, seed, command)
            except SystemExit as done:
                report.count[f"exit {done.code}"] += 1
                if done.code not in (0, 2, None):
                    _put(report, f"exit {done.code}", kind, seed, command)
            except (Hang, Exception) as error:  # noqa: BLE001 - what escapes is the finding
                if resource_error(error) is not None:  # as the command line's own end does
                    report.count["refused"] += 1
                    continue
                report.count["escaped"] += 1
                _put(report, _bucket(error), kind, seed, command)


def _put(report: Report, bucket: str, kind: str, seed: int, command: list[str]) -> None:
    displayed = " ".join(word[:60].encode("ascii", "backslashreplace").decode() for word in command)
    cases = report.buckets.setdefault(bucket, [])
    cases.append(f"--only {kind} --seed {seed} --count 1: {displayed}")
    if len(cases) == 1:
        print(ascii(bucket), cases[0], sep="\n    ", flush=True)


def _bucket(error: BaseException) -> str:
    """Return the error's kind, and the last places of this project in its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    actual = [f for f in frames if "surgery/" in f.filename or "/eval/" in f.filename]
    actual = [
        f for f in actual if "site-packages" not in f.filename and "/tests/" not in f.filename
    ]
    location = " < ".join(f"{_short(f.filename)}:{f.lineno}" for f in reversed(actual[-3:]))
    return f"{type(error).__name__}: {str(error)[:100]!r} at {location}"


def _short(name: str) -> str:
    path = Path(name)
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else name


def _listing(room: Path) -> set[str]:
    return {entry.name for entry in os.scandir(room)}


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    old = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(old)


@contextmanager
def _watched() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang(f"over {LONGEST} s")

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
