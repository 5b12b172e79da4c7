"""A bar on a terminal, a line every ten seconds anywhere else; always on stderr."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from surgery.cli.console import stderr
from surgery.text import duration_text, one_line, size_text

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.progress import Progress

INTERVAL = 10.0
"""Seconds between two lines where there is no terminal."""


class OnTerminal(ABC):
    """A bar that stands on stderr for the length of a `with` block, if that is a terminal.

    Args:
        quiet: Whether to show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None

    @abstractmethod
    def _drawn(self, console: Console) -> Progress:
        """The bar with its one task, not yet started."""

    def __enter__(self) -> Self:
        console = stderr()
        if not self._quiet and console.is_terminal:
            self._bar = self._drawn(console)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


class ByteProgress(OnTerminal):
    """Shows how many bytes are done, how fast, and how long the rest will take.

    A context manager and a function: call it with the number of bytes just done, from any thread.

    Args:
        label: What is being done.
        total: Bytes in all, or None where nobody knows.
        quiet: Whether to show nothing.
    """

    def __init__(self, label: str, total: int | None, *, quiet: bool = False) -> None:
        self.label = label
        self.total = total
        self.done = 0
        super().__init__(quiet=quiet)
        self._lock = Lock()
        self._start = self._said = time.monotonic()

    def __enter__(self) -> Self:
        self._start = self._said = time.monotonic()
        return super().__enter__()

    def _drawn(self, console: Console) -> Progress:
        bar = _bar(console)
        bar.add_task(self.label, total=self.total)
        return bar

    def __call__(self, count: int) -> None:
        """Count bytes that are done."""
        with self._lock:
            self.done += count
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=self.done)
            elif not self._quiet and time.monotonic() - self._said >= INTERVAL:
                self._said = time.monotonic()
                stderr().print(self._line(), soft_wrap=True)

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._start

    def _line(self) -> str:
        rate = self.done / max(self.seconds, 1e-9)
        told = f"{self.label}: {size_text(self.done)}"
        if self.total:
            left = max(0, self.total - self.done) / max(rate, 1e-9)
            told += f" of {size_text(self.total)} ({self.done / self.total:.0%})"
            return f"{told}, {size_text(rate)}/s, {duration_text(left)} left"
        return f"{told}, {size_text(rate)}/s"


def _bar(console: Any) -> Progress:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class AnswerProgress(OnTerminal):
    """Shows how many responses are in, how fast they come, and how long the rest will take.

    A bar on a terminal, a line per variant anywhere else; always on stderr.

    Args:
        quiet: Whether to show nothing.
        among: What is told apart by name, where all of them are known from the start.
    """

    def __init__(self, *, quiet: bool = False, among: str | None = "variants") -> None:
        super().__init__(quiet=quiet)
        self._among = among
        self._done: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._kept = 0
        self._start = time.monotonic()

    def _drawn(self, console: Console) -> Progress:
        bar = _count_bar(console)
        bar.add_task("loading", total=None, rate="")
        return bar

    def __call__(self, name: str, came: int, total: int) -> None:
        """Count responses of a variant; what is said of it first was there before."""
        name = one_line(name)
        first = name not in self._totals
        self._totals[name] = total
        self._done[name] = self._done.get(name, 0) + came
        if first:
            self._kept += came
            self._start = time.monotonic()
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=sum(self._done.values()),
                total=sum(self._totals.values()), description=name, rate=self._rate(),
            )  # fmt: skip
        elif self._done[name] >= total:
            over = sum(self._done[one] >= self._totals[one] for one in self._totals)
            told = f"      {name}: {total} responses"
            if first:
                told += ", kept from before"
            else:
                of = f"{over} of {len(self._totals)} {self._among}, " if self._among else ""
                told += f"; {of}{self._rate()}"
            stderr().print(told, soft_wrap=True)

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-9)
        done, total = sum(self._done.values()), sum(self._totals.values())
        rate = (done - self._kept) / seconds
        left = f", {duration_text((total - done) / rate)} left" if rate else ""
        return f"{rate:.3g} responses/s{left}"


def _count_bar(console: Any) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        console=console,
        transient=True,
    )
