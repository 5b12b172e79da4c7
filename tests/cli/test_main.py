from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from surgery import __version__
from surgery.cli.main import build
from tests.cli.conftest import environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Process = Callable[..., subprocess.CompletedProcess[str]]

HEAVY = ("torch", "transformers", "mergekit", "pydantic", "huggingface_hub", "numpy", "PIL", "rich")
COMMANDS = ("inspect", "plan", "merge", "verify", "recipe", "demo")


def _error(done: subprocess.CompletedProcess[str]) -> str:
    """The one paragraph of a user's mistake."""
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").strip()


def test_help_loads_nothing_heavy(process: Process) -> None:
    report = "import atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    done = process("--help", code=report)
    assert done.returncode == 0
    loaded = set(done.stderr.split())
    assert "surgery.cli.main" in loaded
    assert loaded.isdisjoint(HEAVY)
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


def test_help_is_light(process: Process) -> None:
    report = (
        "import atexit, time; atexit.register(lambda: print(time.process_time(), file=sys.stderr))"
    )
    done = process("--help", code=report)
    # 0.2 s of processor time; the bound is for an import of torch or transformers.
    assert float(done.stderr) < 1.0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = CliRunner().invoke(build(), [command, "-h"])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: surgery {command}")
    assert done.stderr == ""


def test_version(process: Process) -> None:
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"surgery {__version__}\n")


def test_no_arguments_show_the_help(process: Process) -> None:
    assert "Start with: surgery demo" in process().stderr


def test_a_mistyped_command_names_the_nearest(process: Process) -> None:
    done = process("mrge")
    assert done.returncode == 2
    assert "No such command 'mrge'. Did you mean 'merge'?" in done.stderr


@pytest.mark.parametrize("text", ["in", "=x", "in=", " = "])
def test_a_malformed_binding_shows_an_example(text: str) -> None:
    done = CliRunner().invoke(build(), ["plan", "specimen/in-rl-in", "--model", text])
    assert done.exit_code == 2
    assert f"{text!r} is not NAME=REF" in done.stderr
    assert "--model rl=OpenMMReasoner/OpenMMReasoner-RL" in done.stderr


def test_a_model_bound_twice_is_refused(process: Process) -> None:
    done = process("plan", "specimen/in-rl-in", "--model", "in=a", "--model", "in=b")
    assert done.returncode == 2
    assert "model 'in' is given twice: 'a' and 'b'" in done.stderr


def test_a_users_mistake_is_one_paragraph(process: Process) -> None:
    assert "Did you mean 'specimen/in-rl-in'?" in _error(process("plan", "specimen/in-rl-i"))


def test_an_unbound_model_says_how_to_bind_it(process: Process) -> None:
    text = _error(process("plan", "splices/in-rl-in", "--model", "in=x"))
    assert "does not say which checkpoint 'rl' is. Add --model rl=REF" in text


def test_a_bug_shows_its_traceback(process: Process) -> None:
    code = "import surgery.checkpoint.open as i\ni.open_checkpoint = lambda *_: 1 // 0"
    done = process("inspect", "x", code=code)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "This is a bug in vlm-surgery" in done.stderr


def test_an_interrupt_is_one_line(process: Process) -> None:
    code = (
        "import surgery.checkpoint.open as i\n"
        "def stop(*_): raise KeyboardInterrupt\n"
        "i.open_checkpoint = stop"
    )
    done = process("inspect", "x", code=code)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("option", ["--json", "--tensors"])
def test_a_closed_pipe_is_quiet(pair: Callable[[str], dict[str, Path]], option: str) -> None:
    command = [sys.executable, "-m", "surgery.cli.main", "inspect", option]
    with subprocess.Popen(
        [*command, str(pair("qwen2_5_vl")["in"])],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        text = process.stderr.read()
    assert (process.returncode, text) == (141, b"")


def test_warnings_are_one_line_each_and_leave_json_alone(
    process: Process, pair: Callable[[str], dict[str, Path]], tmp_path: Path
) -> None:
    folder = tmp_path / "unknown"
    folder.mkdir()
    for file in pair("qwen2_5_vl")["in"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "new_thing", "architectures": ["NewThing"]}
    (folder / "config.json").write_text(json.dumps(config))
    done = process("inspect", folder, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["family"] == "unknown"
    assert done.stderr.startswith("warning: ")
    assert done.stderr.count("\n") == 1
