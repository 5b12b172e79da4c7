"""Notes below the tables: guesses, missing answers, official scores."""

from __future__ import annotations

from dataclasses import replace

from eval.records import Condition, Metric
from eval.sweep.results import make_results
from surgery.report.scores.terminal import notes
from tests.eval.made import record

NONE = {"against": None, "base": None, "donor": None, "variants": []}


def test_guesses_and_missing_answers_are_counted() -> None:
    records = [
        record("in", "a", True, guessed=True), record("in", "b", False, answer=None),
        record("in", "c", False, answer=None), record("in", "d", True), record("in", "e", None),
    ]  # fmt: skip
    text = "\n".join(notes(make_results(records, NONE)))
    assert "1 answers are guesses, because the response marks none." in text
    assert "2 responses give no answer, which counts as wrong." in text
    assert "give no answer" not in "\n".join(notes(make_results(records[:1], NONE)))


def test_official_scores_stand_in_one_line_with_all_variants() -> None:
    records = [
        replace(
            record(name, f"{kind}{n}", n < right, metric=Metric.ACCURACY,
                   condition=Condition.IMAGE),
            suite="blink", task="blink", categories={"kind": kind},
        )
        for name, right in (("in", 1), ("rl", 2))
        for kind, count in (("Jigsaw", 2), ("Counting", 4))
        for n in range(count)
    ]  # fmt: skip
    (line,) = [text for text in notes(make_results(records, NONE)) if "official" in text]
    assert line.startswith("blink official: in 37.5 (")
    assert ", rl 75.0 (" in line
