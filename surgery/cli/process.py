"""The process around a command: platform, working directory, home, standard streams, memory.

What the operating system withholds is looked for once, before a command starts, because libraries
meet it in the middle of theirs.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, TextIO

from surgery.errors import ExecutionError, first_line, says_shortage, shortage
from surgery.text import is_address, one_line, without_credentials

_PIPE_CLOSED: Final = 141  # what a shell reports for a program that SIGPIPE ended
_REQUIRED: Final = ("pread", "preadv", "pwrite")  # of os


def check_platform() -> None:
    """Refuse a platform without ranged reading and file locks.

    Raises:
        ExecutionError: If it is one, such as Windows.
    """
    try:
        import fcntl  # noqa: F401
    except ImportError:
        missing = ["fcntl"]
    else:
        missing = [f"os.{name}" for name in _REQUIRED if not hasattr(os, name)]
    if missing:
        raise ExecutionError(
            f"this platform ({sys.platform}) is not supported: its Python has no "
            f"{' and no '.join(missing)}. Use Linux or macOS; on Windows, WSL 2."
        )


def check_folder() -> None:
    """Refuse a working directory that was removed.

    Raises:
        ExecutionError: If there is none.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise ExecutionError(
            f"the working directory cannot be used: {error.strerror}. It was removed or renamed "
            "by another program; change to a folder that exists (cd), and run the command again."
        ) from None


def check_endpoint() -> None:
    """Refuse a HF_ENDPOINT that is no address; the Hub's client fails on it in many ways.

    Raises:
        ExecutionError: If it is none.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "")
    if endpoint and not is_address(endpoint):
        raise ExecutionError(
            f"HF_ENDPOINT is {one_line(without_credentials(endpoint))!r}, which is not a server "
            f"address. Unset it, or set it to an address such as https://huggingface.co."
        )


def find_home() -> str | None:
    """Set a home folder for a user without one; libraries put their caches there.

    Returns:
        A sentence about it, or None where there is a home already.
    """
    try:
        Path.home()
    except RuntimeError:
        home = tempfile.mkdtemp(prefix="vlm-surgery-home-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        os.environ["HOME"] = home
        os.environ.setdefault("LOGNAME", str(os.getuid()))
        return (
            f"HOME is not set and user {os.getuid()} has no home folder, so caches last for this "
            "run only. Set HOME to a folder to keep them."
        )
    return None


class Stream(io.FileIO):
    """Standard output or standard error; a failure is remembered and costs no result.

    Attributes:
        failure: Why something could not be written.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes; only a reader of standard output who has gone ends the command."""
        try:
            while (count := super().write(data)) is None:  # a pipe that does not block is full
                select.select([], [self], [])
        except OSError as error:
            if isinstance(error, BrokenPipeError) and self.fileno() == 1:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at the end
                sys.exit(_PIPE_CLOSED)
            self.failure = error
            return len(data)
        return count


def open_streams() -> None:
    """Make the standard streams open, and able to print any text in any locale."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # C libraries print to this number, so no file of the user's may get it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _open(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _open(sys.stderr, sys.__stderr__, 2)


def _open(stream: TextIO | None, original: TextIO | None, number: int) -> TextIO:
    if stream is not None and stream is not original:
        return stream  # set by a program that called this one
    encoding = stream.encoding if stream is not None else "utf-8"
    raw = Stream(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=True
    )


def quiet_libraries() -> None:
    """Keep transformers from logging and drawing bars between the command's own lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def unwritten() -> ExecutionError | None:
    """Return the error about results that standard output did not take."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, Stream) or raw.failure is None:
        return None
    return ExecutionError(
        f"standard output could not be written: {raw.failure.strerror}. What the command writes "
        "to files is complete; send its output to a disk with free space."
    )


def resource_error(error: BaseException) -> ExecutionError | None:
    """Return the error about what the system withheld, if that is what a library's error says."""
    from surgery.checkpoint.failure import is_systems, reason

    cause = shortage(error)
    if cause is not None:
        return ExecutionError(
            f"memory ran out ({_words(cause)[:200]}). Give the process more (see `ulimit -v` "
            "and the container's limit), or ask for less: fewer workers or processes, a smaller "
            "batch."
        )
    if isinstance(error, OSError) and error.filename is not None and is_systems(error):
        return ExecutionError(f"{str(error.filename)[:200]}: {reason(error)}.")
    return None


def _words(error: BaseException) -> str:
    """Return the line of an error that says what was short; its first where none does."""
    lines = str(error).splitlines()
    return next(filter(says_shortage, lines), first_line(error)).strip()
