"""A run's files, and the same results from them again."""

from __future__ import annotations

import json
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING

import pandas
import pytest

from eval.comparison import PairedDifference
from eval.metrics import Score
from eval.sweep.results import load_results, make_results, rows_of, write_results
from surgery.errors import ExecutionError, SurgeryError
from surgery.runs import hardware, versions
from tests.eval.made import texts

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = [
    *texts("in", [True, False] * 20),
    *texts("rl", [True] * 36 + [False] * 4),
    *texts("mid", [True] * 28 + [False] * 12),
]
SUMMARY = {
    "against": "in", "base": "in", "donor": "rl",
    "variants": [{"name": name, "traits": {}} for name in ("in", "rl", "mid")],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(make_results(RECORDS, SUMMARY), tmp_path, RECORDS)
    return tmp_path


def test_files_hold_what_the_tables_hold(folder: Path) -> None:
    results = make_results(RECORDS, SUMMARY)
    for name in ("scores", "pairs", "recovery", "power"):
        read = pandas.read_csv(folder / f"{name}.csv")
        empty = {column: "" for column in ("split", "reason") if column in read}
        read = read.astype(dict.fromkeys(empty, object)).fillna(empty)
        pandas.testing.assert_frame_equal(
            read, results.table(name), check_dtype=False, check_exact=False
        )
    record = json.loads((folder / "run.json").read_text())
    assert record["power"][0]["n"] == 40
    assert record["variants"][2]["name"] == "mid"


def test_the_same_again_from_the_files(folder: Path) -> None:
    first, again = make_results(RECORDS, SUMMARY), load_results(folder)
    for kind in (Score, PairedDifference):
        assert repr(rows_of(again, kind)) == repr(rows_of(first, kind))
    other = load_results(folder, against="rl", base=None, donor=None)
    assert set(other.pairs["against"]) == {"rl"}
    with pytest.raises(SurgeryError, match="no variant 'x'"):
        load_results(folder, against="x")


def test_a_judges_disagreement_is_told() -> None:
    judged = [
        replace(r, judged=r.correct if i % 4 else not r.correct) for i, r in enumerate(RECORDS)
    ]
    results = make_results(judged, SUMMARY)
    judge = results.summary["judge"]
    assert judge["judged"] == 120
    assert judge["disagreement"]["value"] == pytest.approx(0.25)
    assert judge["disagreement"]["low"] < 0.25 < judge["disagreement"]["high"]
    assert make_results(RECORDS, SUMMARY).summary["judge"] is None


def test_without_a_comparison_there_are_scores_alone(tmp_path: Path) -> None:
    plain = {"variants": SUMMARY["variants"], "against": None, "base": None, "donor": None}
    results = make_results(RECORDS, plain)
    assert len(results.scores)
    assert not len(results.pairs)
    assert not len(results.recovery)
    assert not isnan(results.power["discordant"][0])
    write_results(results, tmp_path, RECORDS)
    assert list(pandas.read_csv(tmp_path / "pairs.csv").columns)[:2] == ["variant", "against"]


def test_a_broken_summary_is_one_sentence(folder: Path) -> None:
    (folder / "run.json").write_text("{")
    with pytest.raises(ExecutionError, match=r"run\.json cannot be read"):
        load_results(folder)


def test_the_machine_is_told() -> None:
    assert versions("torch")["torch"]
    assert hardware()["memory_bytes"] > 10**8
    assert hardware()["processor"]
