"""LLM judge: asked once, cached, reported next to the rule-based grade."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.endpoint import Endpoint
from eval.grading.judge import Judge
from tests.eval.grading.corpus import NUMBERS, number, option
from tests.eval.scripted import Script, last_text, said, serving

if TYPE_CHECKING:
    from pathlib import Path


def reply(_: int, body: dict) -> tuple:
    text = last_text(body)
    if "hm" in text:
        return 200, {}, said("I cannot tell")
    if "broken" in text:
        return 400, {}, {"error": "no"}
    right = "forty-two" in text
    return 200, {}, said(f"VERDICT: INCORRECT?\n**VERDICT: {'' if right else 'IN'}CORRECT**")


def test_verdicts_are_cached_and_none_where_there_is_none(tmp_path: Path) -> None:
    selected = [(number("42"), text) for text in ("forty-two", "41", "hm", "broken", "forty-two")]
    script = Script(reply)
    with serving(script):
        judge = Judge(Endpoint(script.url, "m"), tmp_path / "judge.jsonl")
        assert judge.verdicts(selected) == [True, False, None, None, True]
        assert len(script.requests) == 4
        assert judge.verdicts(selected[:2]) == [True, False]
        assert len(script.requests) == 4
        other = Judge(Endpoint(script.url, "n"), tmp_path / "judge.jsonl")
        other.verdicts(selected[:1])
        assert len(script.requests) == 5


def test_it_is_told_the_right_options_text(tmp_path: Path) -> None:
    script = Script(reply)
    with serving(script):
        Judge(Endpoint(script.url, "m"), tmp_path / "j").verdicts([(option("B", *NUMBERS), "hm")])
    assert "Right answer:\nB. 14" in last_text(script.requests[0][0])
