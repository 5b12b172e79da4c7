"""`python -m surgery.specimen.train` whose jobs are forked from one process that has imported all.

Fifteen jobs would each load torch, transformers and TRL, for longer than they train and answer. And
batches are an eighth of what the files say.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import traceback
from pathlib import Path
from typing import IO, Any

from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: F401
from trl import GRPOTrainer, SFTTrainer  # noqa: F401

from surgery.specimen import build, train  # noqa: F401
from surgery.specimen.arms import ARMS

FILES = {word for arm in ARMS for word in arm.command if word.endswith(".yaml")}


def run(command: list[str], *, stdout: IO[str], env: dict[str, str], **_: Any) -> Any:
    """Do what `subprocess.run` does for `python -m module ...` and no input."""
    command = [_smaller(word, Path(stdout.name)) if word in FILES else word for word in command]
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


def _smaller(file: str, log: Path) -> str:
    """Copy a training file beside the log, with small batches of few samples."""
    text = Path(file).read_text()
    for name, number in (("batch", 16), ("group", 4), ("samples", 200)):
        text = re.sub(rf"\b{name}: \d+", f"{name}: {number}", text)
    copy = log.with_name(Path(file).name)
    copy.write_text(text)
    return str(copy)


if __name__ == "__main__":
    train.subprocess.run = run
    raise SystemExit(train.main())
