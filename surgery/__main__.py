"""The console script; it imports little, so that Ctrl-C has a handler from the start."""

from __future__ import annotations

import os
import signal
from typing import NoReturn


def main() -> None:
    """Start the command line; an interrupt while it is being imported ends the process quietly."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)
    from surgery.cli.main import main as run

    run(end)


def end(*_: object) -> NoReturn:
    """Exit immediately; no work has begun, and an interrupted import cannot clean up."""
    os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
