"""`surgery`: the table of commands, and error handling.

Commands import what they need inside their functions, so that `surgery --help` stays instant.
"""

from __future__ import annotations

import logging
import signal
import sys
import traceback
import warnings
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from surgery.checkpoint.hub import fixed_revisions
from surgery.cli import (
    compare,
    demo,
    evaluate,
    freeze,
    inspect,
    merge,
    plan,
    probe,
    profile,
    publish,
    recipe,
    stats,
    sweep,
    train,
    verify,
)
from surgery.cli.console import INTERRUPTED, show_error, show_warning
from surgery.cli.process import (
    check_endpoint,
    check_folder,
    check_platform,
    find_home,
    open_streams,
    resource_error,
    unwritten,
)
from surgery.errors import SurgeryError
from surgery.text import one_line, printable, without_credentials
from surgery.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import LogRecord
    from types import TracebackType

    from typer import Context

_HELP = """\
Move, measure and score layers between checkpoints of a vision-language model.

MODEL is a folder, a Hub repository org/name@revision, or a bundled tiny model: specimen:base,
specimen:in, specimen:rl, specimen:rl-frozen-mid (-early, -late). RECIPE is a YAML file or the name
of a bundled recipe.
"""
_START = "Start with: surgery demo, or surgery recipe list"


_USAGE_ERROR: Final[Any] = typer.BadParameter.__base__
"""The errors that typer prints itself; the class has no public name."""


class _Commands(TyperGroup):
    """Commands in the order of work."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _USAGE_ERROR as error:
            error.message = one_line(without_credentials(error.message))
            raise

    def list_commands(self, ctx: Context) -> list[str]:  # type: ignore[override]
        return list(self.commands)


def build() -> typer.Typer:
    """Return the application, built from an explicit table of commands."""
    # Without markup typer loads no rich for its help, which halves the time it takes.
    app = typer.Typer(
        name="surgery",
        cls=_Commands,
        help=_HELP,
        epilog=_START,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    app.command("inspect")(inspect.command)
    app.command("plan")(plan.command)
    app.command("merge")(merge.command)
    app.command("verify")(verify.command)
    app.command("stats")(stats.command)
    app.command("eval")(evaluate.command)
    app.command("sweep")(sweep.command)
    app.command("compare")(compare.command)
    app.add_typer(probe.app, name="probe")
    app.command("profile")(profile.command)
    app.command("freeze")(freeze.command)
    app.add_typer(train.app, name="train")
    app.add_typer(recipe.app, name="recipe")
    app.command("publish")(publish.command)
    app.command("demo")(demo.command)
    return app


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"surgery {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main(early: Callable[..., NoReturn] | None = None) -> None:
    """Run the console script.

    Args:
        early: The handler of interrupts that was set while this module was being imported; while
            a command runs, an interrupt is a KeyboardInterrupt.

    Exits with 0 when done, 2 for an error in the input, 1 with a traceback for a bug, and
    130 when interrupted.
    """
    sys.excepthook = _report_bug
    open_streams()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = show_warning
            _run(early)
    except SurgeryError as error:
        _refuse(error)
    except (MemoryError, OSError, RuntimeError, ImportError) as error:
        report = resource_error(error)
        if report is None:
            raise
        # Without colours, because rich needs memory.
        print(f"error: {one_line(without_credentials(str(report)))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        _leave(INTERRUPTED)
    except SystemExit as done:
        if done.code == INTERRUPTED:
            _leave(INTERRUPTED)
        loss = unwritten() if not done.code else None
        if loss is not None:
            _refuse(loss)
        raise


@fixed_revisions()
def _run(early: Callable[..., NoReturn] | None) -> None:
    """Run the command of `sys.argv`."""
    check_platform()
    check_folder()
    check_endpoint()
    warning = find_home()
    if warning is not None:
        show_warning(warning)
    quiet = early is not None and signal.getsignal(signal.SIGINT) is early
    if quiet:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    make = logging.getLogRecordFactory()
    if not isinstance(make, partial):
        logging.setLogRecordFactory(partial(_plain_record, make))
    try:
        # Called as a command, because an app would replace our excepthook.
        get_command(build())(prog_name="surgery")
    finally:
        if quiet:  # no traceback if Ctrl-C comes while the interpreter exits
            signal.signal(signal.SIGINT, early)


def _plain_record(make: Callable[..., LogRecord], *arguments: Any, **keywords: Any) -> LogRecord:
    """Return what a library logs, as text that no terminal obeys."""
    record = make(*arguments, **keywords)
    record.msg, record.args = one_line(without_credentials(record.getMessage())), None
    return record


def _refuse(error: SurgeryError) -> NoReturn:
    show_error(error)
    sys.exit(2)


def _leave(code: int) -> NoReturn:
    print("interrupted", file=sys.stderr)
    sys.exit(code)


def _report_bug(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an uncaught exception; the interpreter calls this before it exits with 1."""
    lines = "".join(traceback.format_exception(kind, error, trace))
    print(printable(without_credentials(lines)), file=sys.stderr)
    print("\nThis is a bug in vlm-surgery. Please report it with the lines above.", file=sys.stderr)


if __name__ == "__main__":
    main()
