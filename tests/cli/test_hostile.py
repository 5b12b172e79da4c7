"""Foreign text reaches the terminal as text, and the run folder as readable text."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from tests.eval.scripted import Script, said, serving
from tests.test_text import SECRET, obeyed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    Surgery = Callable[..., CompletedProcess[str]]

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eevil\ud800 [/red]$\\frac{$ <b>|`"


def check(done: CompletedProcess[str]) -> str:
    """Return both streams, after a check that they cannot control a terminal."""
    printed = done.stdout + done.stderr
    assert not obeyed(printed), printed
    return printed


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", f"no/such{EVIL}"),
        ("inspect", "a", f"b{EVIL}"),
        (f"command{EVIL}",),
        ("inspect", "a", f"--option{EVIL}"),
        ("merge", f"recipe{EVIL}", "out"),
        ("plan", "evil.yaml"),
        ("recipe", "show", "evil.yaml"),
        ("recipe", "from-mergekit", "evil.yaml"),
        ("verify", f"folder{EVIL}"),
        ("compare", f"run{EVIL}"),
        ("sweep", "evil.yaml", "--out", "run"),
        ("train", "sft", "evil.yaml", "--out", "run"),
        ("eval", f"model{EVIL}", "--suite", "mine.yaml", "--out", "run"),
        ("eval", "specimen:in", "--suite", f"suite{EVIL}", "--out", "run"),
        ("eval", "specimen:in", "--suite", "mine.yaml", "--out", f"run{EVIL}/a\x00b"),
        ("freeze", "specimen:in", f"language[{EVIL}]"),
    ],
    ids=lambda command: " ".join(command).partition("\x1b")[0],
)
def test_no_error_carries_a_command_to_the_terminal(
    surgery: Surgery, sums: Path, command: tuple[str, ...]
) -> None:
    text = f"name: a{EVIL}\nmodels: {{in: x}}\n"
    (sums.parent / "evil.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    done = surgery(*command)
    assert done.returncode == 2
    assert check(done)


def test_a_server_is_quoted_and_its_answers_are_kept(surgery: Surgery, sums: Path) -> None:
    """Errors and answers of a server, then the same folder again, compared and as JSON."""

    def reply(number: int, _: object) -> tuple[int, dict[str, str], object]:
        return (400, {}, {"error": EVIL}) if number % 2 else (200, {}, said(f"{EVIL} 7"))

    with serving(Script(reply)) as script:
        command = ("eval", f"a{EVIL[:-12]}=m", "--suite", sums, "--out", "run", "--concurrency", 1,
                   "--server", script.url.replace("//", f"//me:{SECRET}@"))  # fmt: skip
        for more in ([], ["--json"]):
            done = surgery(*command, *more)
            assert done.returncode == 0, done.stderr
            assert "evil" in check(done)
        names = {row["variant"] for row in json.loads(done.stdout)}
        assert len(names) == 1
    done = surgery("compare", "run")
    assert done.returncode == 0, done.stderr
    assert "evil" in check(done)
    for path in (sums.parent / "run").iterdir():
        assert SECRET.encode() not in path.read_bytes(), path
    for line in (sums.parent / "run" / "records.jsonl").read_text(encoding="utf-8").splitlines():
        assert "\ud800" not in json.loads(line)["text"]


def test_half_a_pair_that_an_earlier_version_kept_stops_no_run(
    surgery: Surgery, sums: Path
) -> None:
    with serving(Script(lambda *_: (200, {}, said("7")))) as script:
        command = ("eval", "m", "--suite", sums, "--out", "run", "--server", script.url)
        assert surgery(*command).returncode == 0
        path = sums.parent / "run" / "responses.jsonl"
        path.write_text(path.read_text().replace('"text": "7"', '"text": "7\\ud800"'))
        for again in (command, ("compare", "run")):
            done = surgery(*again)
            assert done.returncode == 0, done.stderr
    assert "7\ufffd" in (sums.parent / "run" / "records.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "url",
    [f"http://me:{SECRET}@127.0.0.1:9/v1", f"http://127.0.0.1:9/v1?api_key={SECRET}",
     f"http://{SECRET}@127.0.0.1:9", f"http://127.0.0.1:9/v1#{SECRET}"],
)  # fmt: skip
@pytest.mark.parametrize("option", ["--server", "--judge", "--describe"])
def test_no_secret_of_a_url_is_printed_or_kept(
    surgery: Surgery, sums: Path, url: str, option: str
) -> None:
    place = url if option == "--server" else f"m@{url}"
    model = "m" if option == "--server" else "specimen:in"
    done = surgery("eval", model, "--suite", sums, "--samples", 1, "--out", "run", option, place,
                   "--key-variable", "NO_SUCH_KEY")  # fmt: skip
    assert SECRET not in check(done)
    wrong = surgery("eval", model, "--suite", sums, "--out", "run", "--judge", url)
    assert wrong.returncode == 2
    assert SECRET not in check(wrong)
    for path in (sums.parent / "run").glob("*"):
        assert SECRET.encode() not in path.read_bytes(), path


def test_a_bug_and_a_log_line_are_text_too(
    monkeypatch: pytest.MonkeyPatch, surgery: Surgery, capsys: pytest.CaptureFixture[str]
) -> None:
    assert surgery("recipe", "list").returncode == 0
    output = ("a", logging.INFO, "p", 1, f"%s said http://u:{SECRET}@h", (EVIL,), None)
    record = logging.getLogRecordFactory()(*output)
    assert not obeyed(record.getMessage())
    assert SECRET not in record.getMessage()
    try:
        raise ValueError(f"{EVIL} http://me:{SECRET}@host")
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    printed = capsys.readouterr().err
    assert "This is a bug in vlm-surgery" in printed
    assert not obeyed(printed)
    assert SECRET not in printed


WRONG = [None, True, 3, -1, 1.5, 10**400, float("nan"), [], {}, ["a"], {"a": 1}, "\ud800"]


def test_wrong_types_in_a_run_are_named_by_file_and_line(surgery: Surgery, sums: Path) -> None:
    """Every field of a record and of the summary, with every wrong value: refused or harmless."""
    from eval.sweep.results import load_results
    from surgery.errors import SurgeryError

    run = sums.parent / "run"
    with serving(Script(lambda *_: (200, {}, said("7")))) as script:
        command = ("eval", "a=m", "b=m", "--suite", sums, "--out", run, "--server", script.url)
        assert surgery(*command).returncode == 0
    records, summary = (run / "records.jsonl").read_text(), (run / "run.json").read_text()
    first, rest = records.split("\n", 1)
    refused = 0
    for field in (record := json.loads(first)):
        for value in WRONG:
            (run / "records.jsonl").write_text(json.dumps(record | {field: value}) + f"\n{rest}")
            try:
                load_results(run)
            except SurgeryError as error:
                refused += 1
                assert f"{run / 'records.jsonl'}" in str(error)
    assert refused > 9 * len(record)
    (run / "records.jsonl").write_text(records)
    data = json.loads(summary)
    for field in ("variants", "against", "base", "donor", None):
        for value in WRONG:
            (run / "run.json").write_text(json.dumps(data | {field: value} if field else value))
            if (value is not None or field in ("variants", None)) and value != []:
                with pytest.raises(SurgeryError):
                    load_results(run)
    done = surgery("compare", run)
    assert done.returncode == 2
    assert "run.json cannot be read" in " ".join(done.stderr.split())
