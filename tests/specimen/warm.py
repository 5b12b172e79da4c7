"""`python -m surgery.specimen.train` whose jobs are forked from one process that has imported all.

Fifteen jobs would each load torch, transformers and TRL, for longer than they train and answer.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import traceback
from typing import IO, Any

from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: F401
from trl import GRPOTrainer, SFTTrainer  # noqa: F401

from surgery.specimen import build, train  # noqa: F401


def run(command: list[str], *, stdout: IO[str], env: dict[str, str], **_: Any) -> Any:
    """Do what `subprocess.run` does for `python -m module ...` and no input."""
    child = os.fork()
    if not child:
        code: Any = 1
        try:
            for stream in (1, 2):
                os.dup2(stdout.fileno(), stream)
            os.environ.update(env)
            sys.argv = command[2:]
            runpy.run_module(command[2], run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as done:
            code = done.code or 0
        finally:
            if sys.exc_info()[1] is not None:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    train.subprocess.run = run
    raise SystemExit(train.main())
