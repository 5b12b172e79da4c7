"""`surgery eval`, `sweep` and `compare` as people meet them, on the specimen."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import environment
from tests.eval.samples import picture
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Surgery = Callable[..., subprocess.CompletedProcess[str]]

SWEEP = """models:
  in: specimen:in
  rl: specimen:rl
base: in
donor: rl
variants: {layers: [language], recipes: [specimen/in-rl-in]}
suites: [mine.yaml]
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Eight sums as text; a small custom suite."""
    rows = [{"prompt": f"{a}+{b}=?", "answer": str(a + b), "size": "ab"[a > 2], "id": f"{a}{b}"}
            for a in (1, 2, 3, 4) for b in (1, 5)]  # fmt: skip
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text(
        "name: sums\nrows: sums.jsonl\nmetric: m_rea\nkind: number\n"
        "categories: [size]\nmax_new_tokens: 24\n"
    )
    return tmp_path / "mine.yaml"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


EVAL = ("eval", "specimen:in", "specimen:rl", "specimen/in-rl-in", "--suite", "mine.yaml",
        "--out", "run", "--processes", "1", "--base", "in", "--donor", "rl")  # fmt: skip


def test_eval_scores_and_goes_on(surgery: Surgery, suite: Path, tmp_path: Path) -> None:
    done = surgery(*EVAL)
    assert done.returncode == 0, done.stderr
    assert "in: 8 responses; 1 of 3 variants, " in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["sums"]
    assert lines[1].split() == ["variant", "m_rea"]
    assert [line.split()[0] for line in lines[2:5]] == ["in", "rl", "specimen/in-rl-in"]
    assert "all variants got the same questions" in done.stdout
    assert "Power (80%, two-sided 5%), sums: n = 8" in done.stdout
    run = tmp_path / "run"
    assert {s["variant"] for s in rows(run / "scores.csv")} == {"in", "rl", "specimen/in-rl-in"}
    assert {p["against"] for p in rows(run / "pairs.csv")} == {"in"}
    assert {p["variant"] for p in rows(run / "recovery.csv")} == {"specimen/in-rl-in"}
    assert (run / "scores.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((run / "run.json").read_text())
    assert record["versions"]["torch"]
    assert record["seed"] == 123
    assert record["suites"][0]["tasks"][0]["samples"] == 8
    assert all(len(variant["fingerprint"]) == 64 for variant in record["variants"])
    splits = {s["split"] for s in rows(run / "scores.csv") if s["measure"] == "m_rea"}
    assert splits == {"", "size=a", "size=b"}

    again = surgery(*EVAL)
    assert "rl: 8 responses, all from the earlier run" in again.stderr
    assert again.stdout == done.stdout


def test_eval_json_is_json(surgery: Surgery, suite: Path) -> None:
    done = surgery(*EVAL, "--json")
    scores = json.loads(done.stdout)
    result = next(s for s in scores if s["measure"] == "m_rea" and not s["split"])
    assert result["n"] == 8
    assert 0 <= result["low"] <= result["value"] <= result["high"] <= 1
    assert done.stderr == ""


def test_compare_reads_the_run_alone(surgery: Surgery, suite: Path, tmp_path: Path) -> None:
    assert surgery(*EVAL, "--quiet").returncode == 0
    suite.unlink()  # the records are enough
    done = surgery("compare", "run")
    assert done.returncode == 0, done.stderr
    assert "against in, in percentage points" in done.stdout
    assert "p (Holm)" in done.stdout
    record = json.loads(surgery("compare", "run", "--against", "rl", "--json").stdout)
    assert record["against"] == "rl"
    assert {pair["variant"] for pair in record["pairs"]} == {"in", "specimen/in-rl-in"}
    assert record["power"][0]["n"] == 8
    wrong = surgery("compare", "run", "--against", "lr")
    assert wrong.returncode == 2
    assert "no variant 'lr'. Expected one of: in, rl, specimen/in-rl-in." in wrong.stderr
    assert surgery("compare", "elsewhere").returncode == 2
    wrong = surgery("compare", "run", "--measure", "exact_match")
    assert wrong.returncode == 2
    assert "--measure: applies to logs" in wrong.stderr


def test_sweep(surgery: Surgery, suite: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    done = surgery("sweep", "sweep.yaml", "--out", "run", "--processes", "1")
    assert done.returncode == 0, done.stderr
    assert "of 12 variants" in done.stderr
    run = tmp_path / "run"
    names = list(dict.fromkeys(s["variant"] for s in rows(run / "scores.csv")))
    assert names == ["in", "rl", *(f"rl@language.{i}" for i in range(9)), "specimen/in-rl-in"]
    for name in ("scores.png", "layers.png", "records.jsonl", "pairs.csv", "run.json"):
        assert (run / name).is_file()
    assert len((run / "responses.jsonl").read_text().splitlines()) == 12 * 8


def test_ctrl_c_ends_the_processes_at_once(tmp_path: Path) -> None:
    """Responses are kept, and no process continues to answer."""
    code = "from surgery.cli.main import main; main()"
    command = ["eval", "specimen:in", "specimen:rl", "--suite", "specimen", "--samples", "40"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *command, "--out", "run", "--processes", "2"],
        cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            until((tmp_path / "run" / "responses.jsonl").exists, process)
            os.killpg(process.pid, signal.SIGINT)
            _, text = process.communicate(timeout=PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert text.strip().splitlines()[-1] == "interrupted"
    stored = len((tmp_path / "run" / "responses.jsonl").read_text().splitlines())
    assert 0 < stored < 2 * 40 * 13


def test_power_answers_before_anything_is_run(surgery: Surgery) -> None:
    done = surgery("eval", "--power", "0.03")
    assert done.returncode == 0, done.stderr
    assert "Samples per task that show a difference of 3 points" in done.stdout
    assert "920  if the two differ on 10% of the questions" in done.stdout
    table = json.loads(surgery("eval", "--power", "0.03", "--json").stdout)
    assert {"discordant": 0.1, "samples": 920} in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "MODEL_OR_RECIPE"),
        (("specimen:in", "--out", "r"), "--suite"),
        (("specimen:in", "--suite", "specimen"), "--out"),
        (("specimen:in", "--suite", "specimn", "--out", "r"), "Did you mean 'specimen'?"),
        (("specimen:im", "--suite", "specimen", "--out", "r"), "Expected one of: base, in, rl"),
        (("specimen:in", "--suite", "specimen", "--out", "r", "--grader", "papr"), "'paper'"),
        (("specimen:in", "--suite", "specimen", "--out", "r", "--style", "plane"), "'plain'"),
        (("specimen:in", "--suite", "specimen", "--out", "r", "--against", "rl"), "no 'rl'"),
        (("specimen:in", "in=specimen:rl", "--suite", "specimen", "--out", "r"), "two variants"),
        (("x", "--suite", "specimen", "--out", "r", "--judge", "m"), "is not MODEL@URL"),
        (("x", "--suite", "specimen", "--out", "r", "--device", "gpu"), "no device 'gpu'"),
        (("x", "--suite", "specimen", "--out", "r", "--dtype", "bf16"), "no dtype 'bf16'"),
        (
            ("specimen:in", "--suite", "specimen", "--out", "r", "--device", "cuda"),
            "no CUDA device",
        ),
    ],
)
def test_faults_cost_one_paragraph_and_leave_nothing(
    surgery: Surgery, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = surgery("eval", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()


def test_cuda_that_is_not_there(surgery: Surgery, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = surgery("eval", "specimen:in", "--suite", "specimen", "--out", "r", "--device", "cuda")
    assert done.returncode == 2
    assert "no CUDA device" in done.stderr
    assert not (tmp_path / "r").exists()


def test_missing_descriptions_are_told_and_not_counted_wrong(
    surgery: Surgery, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture("red").data)
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"prompt": "?", "answer": "1", "image": "a.png"}) + "\n"
    )
    (tmp_path / "v2r.yaml").write_text(
        "name: v2r\nrows: rows.jsonl\nmetric: m_v2r\nkind: number\nmax_new_tokens: 4\n"
    )
    run = ("eval", "specimen:in", "--suite", "v2r.yaml", "--out", "run", "--processes", "1")
    done = surgery(*run)
    assert done.returncode == 0, done.stderr
    assert "1 samples need a description" in done.stderr
    assert "missing" in done.stdout
    assert "1 responses: the sample has no description" in done.stdout
    (tmp_path / "d.jsonl").write_text('{"id": "0", "description": "all red"}\n')
    done = surgery(*run, "--descriptions", "d.jsonl")
    assert "missing" not in done.stdout


def test_a_style_of_ones_own(
    surgery: Surgery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "eval.api.evaluation._results",
        lambda _, __, settings, *___, **____: calls.append(settings.header()),
    )
    monkeypatch.setattr("surgery.cli.evaluate.print_scores", lambda *_, **__: None)
    (tmp_path / "terse.yaml").write_text("system: Be terse.\n")
    arguments = ("--suite", "specimen", "--samples", "1", "--out", "r", "--style")
    done = surgery("eval", "specimen:in", *arguments, "terse.yaml")
    assert done.returncode == 0, done.stderr
    assert (calls[0]["style"], calls[0]["prompt"]["system"]) == ("terse", "Be terse.")
    (tmp_path / "terse.yaml").write_text("sytem: Be terse.\n")
    done = surgery("eval", "specimen:in", *arguments, "terse.yaml")
    assert done.returncode == 2
    assert "terse.yaml:1:1: unknown key 'sytem' in the style." in done.stderr
    assert "Did you mean 'system'?" in done.stderr
    assert len(calls) == 1
