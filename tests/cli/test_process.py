"""Missing parts of a process: streams, a folder, a home, memory, a platform, the first second."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from surgery.cli import process
from surgery.errors import ExecutionError
from tests.cli.conftest import environment
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

PLAN = ("plan", "specimen/in-rl-in")


def shell(line: str, folder: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `surgery` is this checkout's."""
    start = f"surgery() {{ '{sys.executable}' -m surgery \"$@\"; }}\n"
    return subprocess.run(
        ["bash", "-c", start + line], cwd=folder, env=environment(**extra), capture_output=True,
        text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("streams", "code"), [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("2>/dev/full", 0),
                          (">/dev/full", 2)],
)  # fmt: skip
def test_a_merge_is_made_whatever_becomes_of_its_words(
    tmp_path: Path, streams: str, code: int
) -> None:
    done = shell(f"surgery merge specimen/in-rl-in out {streams}", tmp_path)
    assert done.returncode == code
    assert (tmp_path / "out" / "surgery.json").is_file()
    assert "Traceback" not in done.stderr
    if code:
        assert done.stderr.splitlines()[-1].startswith(
            "error: standard output could not be written: No space left on device. What the command"
        )


def test_a_closed_stream_is_no_file_of_the_users(tmp_path: Path) -> None:
    code = "import os; from surgery.cli.process import open_streams; open_streams();"
    code += "raise SystemExit(os.open('x', os.O_CREAT | os.O_RDWR) < 3)"
    line = f"exec <&- >&- 2>&-; '{sys.executable}' -c \"{code}\""
    assert shell(line, tmp_path).returncode == 0


def test_a_full_disk_behind_stdout_is_one_sentence(tmp_path: Path) -> None:
    done = shell("surgery --version >/dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output could not be written")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_left_before_the_end_is_quiet(tmp_path: Path) -> None:
    done = shell("set -o pipefail; surgery --version | true", tmp_path)
    assert done.returncode in (0, 141)
    assert done.stderr == ""


def test_a_removed_working_directory(tmp_path: Path) -> None:
    done = shell("mkdir gone && cd gone && rmdir ../gone && surgery plan x", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: the working directory cannot be used: No such file")
    assert done.stderr.count("\n") == 1


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise KeyError("uid")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    warning = process.find_home()
    assert warning is not None and "Set HOME" in warning
    assert os.stat(os.environ["HOME"]).st_mode & 0o077 == 0  # noqa: PTH116
    assert process.find_home() is None


@pytest.mark.parametrize("name", ["pread", "preadv", "pwrite"])
def test_another_platform_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    process.check_platform()
    monkeypatch.delattr(os, name)
    with pytest.raises(ExecutionError, match=f"no os.{name}. Use Linux or macOS; on Windows, WSL"):
        process.check_platform()


def test_the_first_command_names_another_platform(tmp_path: Path) -> None:
    code = "import os, sys; sys.modules['fcntl'] = None;"
    code += "vars(os).pop('pread'), vars(os).pop('preadv'), vars(os).pop('pwrite');"
    code += "from surgery.__main__ import main; sys.argv = ['surgery', 'inspect', 'x']; main()"
    done = shell(f"'{sys.executable}' -c \"{code}\"", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: this platform (linux) is not supported")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_little_memory_is_one_sentence(error: Exception) -> None:
    wrapped = RuntimeError("while loading")
    wrapped.__cause__ = error
    for item in (error, wrapped):
        text = process.resource_error(item)
        assert isinstance(text, ExecutionError)
        assert "memory ran out" in str(text) and "fewer workers" in str(text)


def test_other_errors_are_no_shortage() -> None:
    assert process.resource_error(RuntimeError("shape mismatch")) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_imports_is_quiet(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "typer.py").write_text(
        f"import os, signal, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "surgery", "--help"], capture_output=True, text=True, check=False,
        env=environment(PYTHONPATH=f"{tmp_path}:{environment()['PYTHONPATH']}"), timeout=PATIENCE,
    )  # fmt: skip
    text = (130, "interrupted\n") if number == signal.SIGINT else (-number, "")
    assert (done.returncode, done.stderr) == text


def test_any_terminal(tmp_path: Path) -> None:
    (tmp_path / "é.yaml").write_text("name: é\nbase: in\nmodels: {in: 'specimen:in'}\nsteps: []\n")
    done = shell(
        "surgery plan *.yaml && surgery plan *.yaml --json", tmp_path, LC_ALL="C", COLUMNS="1",
        PYTHONIOENCODING="ascii", PYTHONUTF8="0", PYTHONOPTIMIZE="2",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout[done.stdout.index("{") :])["recipe"]


def test_what_the_system_says_of_a_file_is_no_bug() -> None:
    long = OSError(errno.ENAMETOOLONG, "File name too long", "x" * 9999)
    text = str(process.resource_error(long))
    assert text.endswith("x: the name is too long; choose a shorter one.") and len(text) < 300
    assert process.resource_error(OSError(errno.ENOENT, "No such file", "x")) is None


def test_an_endpoint_that_is_none_is_refused_before_the_client_meets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://name:secret@h:99999")
    with pytest.raises(ExecutionError, match="'http://h:99999', which is not a server address"):
        process.check_endpoint()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8000")
    process.check_endpoint()
