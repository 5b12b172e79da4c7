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
    """A progress bar on stderr for the length of a `with` block, if stderr is a terminal.

    Args:
        quiet: Whether to show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None

    @abstractmethod
    def _new_bar(self, console: Console) -> Progress:
        """Return the bar with its one task, not yet started."""

    def __enter__(self) -> Self:
        console = stderr()
        if not self._quiet and console.is_terminal:
            self._bar = self._new_bar(console)
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
    """Shows the bytes done, the rate, and the remaining time.

    A context manager and a function: call it with the number of bytes just done, from any thread.

    Args:
        label: What is being done.
        total: Total bytes, or None if unknown.
        quiet: Whether to show nothing.
    """

    def __init__(self, label: str, total: int | None, *, quiet: bool = False) -> None:
        self.label = label
        self.total = total
        self.done = 0
        super().__init__(quiet=quiet)
        self._lock = Lock()
        self._start = self._reported_at = time.monotonic()

    def __enter__(self) -> Self:
        self._start = self._reported_at = time.monotonic()
        return super().__enter__()

    def _new_bar(self, console: Console) -> Progress:
        bar = _bar(console)
        bar.add_task(self.label, total=self.total)
        return bar

    def __call__(self, count: int) -> None:
        """Count bytes that are done."""
        with self._lock:
            self.done += count
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=self.done)
            elif not self._quiet and time.monotonic() - self._reported_at >= INTERVAL:
                self._reported_at = time.monotonic()
                stderr().print(self._line(), soft_wrap=True)

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._start

    def _line(self) -> str:
        rate = self.done / max(self.seconds, 1e-9)
        text = f"{self.label}: {size_text(self.done)}"
        if self.total:
            seconds = max(0, self.total - self.done) / max(rate, 1e-9)
            text += f" of {size_text(self.total)} ({self.done / self.total:.0%})"
            return f"{text}, {size_text(rate)}/s, {duration_text(seconds)} left"
        return f"{text}, {size_text(rate)}/s"


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
    """Shows the number of responses, the rate, and the remaining time.

    A bar on a terminal, a line per variant anywhere else; always on stderr.

    Args:
        quiet: Whether to show nothing.
        among: Label of what is counted by name, if all names are known from the start.
    """

    def __init__(self, *, quiet: bool = False, among: str | None = "variants") -> None:
        super().__init__(quiet=quiet)
        self._among = among
        self._done: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._stored = 0
        self._start = time.monotonic()

    def _new_bar(self, console: Console) -> Progress:
        bar = _count_bar(console)
        bar.add_task("loading", total=None, rate="")
        return bar

    def __call__(self, name: str, count: int, total: int) -> None:
        """Count responses of a variant; the first count includes stored responses."""
        name = one_line(name)
        first = name not in self._totals
        self._totals[name] = total
        self._done[name] = self._done.get(name, 0) + count
        if first:
            self._stored += count
            self._start = time.monotonic()
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=sum(self._done.values()),
                total=sum(self._totals.values()), description=name, rate=self._rate(),
            )  # fmt: skip
        elif self._done[name] >= total:
            over = sum(
                self._done[one_total] >= self._totals[one_total] for one_total in self._totals
            )
            text = f"      {name}: {total} responses"
            if first:
                text += ", all from the earlier run"
            else:
                finished = f"{over} of {len(self._totals)} {self._among}, " if self._among else ""
                text += f"; {finished}{self._rate()}"
            stderr().print(text, soft_wrap=True)

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-9)
        done, total = sum(self._done.values()), sum(self._totals.values())
        rate = (done - self._stored) / seconds
        remaining = f", {duration_text((total - done) / rate)} left" if rate else ""
        return f"{rate:.3g} responses/s{remaining}"


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
