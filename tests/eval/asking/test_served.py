"""A real server, `transformers serve`, holding the specimen: it says what memory says."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from typer.main import get_command

from eval.asking.run import ask_served, ask_variants
from eval.asking.settings import EvalSettings
from eval.asking.store import Store
from eval.endpoint import Endpoint
from eval.records import Suite
from eval.suites.specimen import load
from eval.sweep.score import Comparison, score
from eval.variants import Variant, plain
from surgery.cli.main import build
from surgery.specimen import path
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = Path(__file__).parents[1] / "serve.py"
MODEL = str(path("rl"))


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, log = _port(), tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, str(SERVER), MODEL, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as out:
        server = subprocess.Popen(
            [*command, "--device", "cpu", "--dtype", "float32"],
            stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip
    try:

        def ready() -> bool:
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=60):
                return True
            return False

        until(ready, server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=PATIENCE)
        finally:
            server.kill()
            server.wait()


SETTINGS = EvalSettings(device="cpu", threads=1)


def suites() -> tuple[Suite]:
    """Tasks on which the model's thinking is in form, so that the server leaves it whole."""
    stored = tuple(t for t in load(3, 5).tasks if t.name in ("read", "arithmetic"))
    return (Suite("specimen", stored, 48),)


def squeezed(text: str) -> str:
    """The server strips the thinking that it separates; unclosed thinking keeps its end token."""
    return "".join(text.split()).removesuffix("<|im_end|>")


def test_it_says_what_memory_says(url: str, tmp_path: Path) -> None:
    actual = ask_variants([plain("rl", "specimen:rl")], suites(), SETTINGS, tmp_path / "memory")
    lines: list[tuple] = []
    reference = ask_served(
        [Variant(MODEL, None)], suites(), SETTINGS, tmp_path / "served",
        lambda name: Endpoint(url, name), concurrency=3, progress=lambda *call: lines.append(call),
    )  # fmt: skip
    memory, served = Store(tmp_path / "memory"), Store(tmp_path / "served")
    for key, other in zip(actual[0].keys, reference[0].keys, strict=True):
        expected, result = memory.responses[key], served.responses[other]
        assert squeezed(result.text) == squeezed(expected.text)
        assert (result.tokens, result.truncated) == (expected.tokens, expected.truncated)
    assert sum(received for _, received, _ in lines) == len(reference[0].keys)

    again = ask_served(
        [Variant(MODEL, None)], suites(), SETTINGS, tmp_path / "served",
        lambda name: Endpoint(url, name),
    )  # fmt: skip
    assert again[0].timing.answered == 0
    values = [
        {(s.task, s.measure): s.value for s in results.scores.itertuples()}
        for results in (
            score(again, suites(), SETTINGS, tmp_path / "served", Comparison()),
            score(actual, suites(), SETTINGS, tmp_path / "memory", Comparison()),
        )
    ]
    assert values[0] == values[1]


def test_from_the_command_line(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The specimen reads, describes and judges; what it cannot say is missing, not wrong."""
    command = [
        "eval", f"rl={MODEL}", "--server", url, "--suite", "specimen", "--samples", "1",
        "--out", str(tmp_path), "--judge", f"{MODEL}@{url}", "--json",
    ]  # fmt: skip
    get_command(build())(command, standalone_mode=False)
    scores = json.loads(capsys.readouterr().out)
    assert {score["variant"] for score in scores} == {"rl"}
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert not [record["failure"] for record in records if record["failure"]]
    assert all(record["judged"] is None for record in records)  # it says no verdict
