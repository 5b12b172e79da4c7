from __future__ import annotations

import pytest

from surgery.errors import PlanError
from surgery.stats.options import CheckpointPair, choose_pairs, compared


def pair_texts(models: list[str], selection: list[str] | None = None) -> list[str]:
    return [str(pair) for pair in choose_pairs(models, selection or [])]


def test_neighbours_then_ends() -> None:
    assert pair_texts(["base", "in", "rl"]) == ["base..in", "in..rl", "base..rl"]
    assert pair_texts(["a", "b"]) == ["a..b"]


def test_chosen_pairs_keep_their_order_and_come_once() -> None:
    assert pair_texts(["a", "b", "c"], ["b..c", "a..c", "b..c"]) == ["b..c", "a..c"]
    assert pair_texts(["in", "rl"], [" rl .. in "]) == ["rl..in"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("in-rl", "'in-rl' is not BEFORE..AFTER, such as base..rl"),
        ("..rl", "is not BEFORE..AFTER"),
        ("bse..rl", "names 'bse', which is not a model. Did you mean 'base'?"),
        ("in..in", "compares 'in' with itself"),
    ],
)
def test_wrong_pairs_are_explained(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=r"pair") as error:
        choose_pairs(["base", "in", "rl"], [text])
    assert message in str(error.value)


@pytest.mark.parametrize("models", [[], ["a"], ["a", "b", "c", "d"]])
def test_two_or_three_models(models: list[str]) -> None:
    with pytest.raises(PlanError, match="two or three checkpoints can be compared, found"):
        choose_pairs(models)


@pytest.mark.parametrize("name", ["$x_", "a..b", "a/b", "-x", "\x1b[31m", "", "n\udcff"])
def test_names_that_tables_and_figures_can_hold(name: str) -> None:
    with pytest.raises(PlanError, match="cannot be a model name here"):
        choose_pairs(["in", name])
    assert pair_texts(["sft-v2", "rl_step.200"]) == ["sft-v2..rl_step.200"]


def test_the_first_two_updates_are_compared() -> None:
    chain = choose_pairs(["base", "in", "rl"])
    assert compared(chain) == (0, 1)
    assert compared(chain[:1]) is None
    assert compared([CheckpointPair("a", "b"), CheckpointPair("b", "a")]) is None
    assert compared([CheckpointPair("a", "b"), CheckpointPair("a", "c")]) == (0, 1)
