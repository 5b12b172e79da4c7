"""Rewards of responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.records import AnswerKind, Sample
from eval.rewards import REWARDS, Rewarded

SAMPLE = Sample("1", "sums", "1+1=?", "2", AnswerKind.EXACT)


def worth(name: str, text: str = "", **more: object) -> float:
    known_names = {"tokens": 10, "limit": 100, "chance": 0.2, "form": "answer-tag"} | more
    return REWARDS[name](Rewarded(SAMPLE, text, **known_names))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "correct", "well_formed"),
    [
        ("<think>1 and 1</think><answer>2</answer>", 1, 1),
        ("<think>1 and 1</think><answer>3</answer>", 0, 1),
        ("<answer>2</answer> and more", 1, 0),
        ("the answer is 2", 1, 0),
        ("", 0, 0),
    ],
)
def test_correct_is_the_graders_word_and_format_the_forms(
    text: str, correct: float, well_formed: float
) -> None:
    assert worth("correct", text) == correct
    assert worth("format", text) == well_formed
    assert worth("exact", text) == correct * well_formed


def test_any_form_will_do_where_none_is_asked_for() -> None:
    assert worth("format", "2", form="any") == 1.0


@pytest.mark.parametrize(("tokens", "punished"), [(1, 0.0), (80, 0.0), (90, -0.5), (100, -1.0)])
def test_length_is_dapos_soft_punishment(tokens: int, punished: float) -> None:
    """arXiv 2503.14476, eq. 13, worked out by hand for a limit of 100 and a cache of 20."""
    assert worth("length", tokens=tokens) == pytest.approx(punished)


@given(chance=st.floats(0, 1, exclude_max=True), text=st.text(max_size=20))
def test_a_random_reward_looks_at_nothing(chance: float, text: str) -> None:
    assert worth("random", text, chance=chance) == float(chance < 0.5)
