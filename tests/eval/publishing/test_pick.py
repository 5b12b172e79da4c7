"""Picks: their grammar, what they choose, and what they say when they cannot."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.publishing.pick import Pick, parse_pick, picked
from eval.records import Metric
from eval.sweep.results import make_results
from eval.sweep.variants import Pairing, thirds
from eval.variants import plain
from surgery.errors import SurgeryError
from surgery.recipe.dump import to_yaml
from tests.eval.made import paired, texts

READ = {"in": 20, "rl": 30, "a": 24, "b": 20, "c": 16}
COUNT = {"in": 10, "rl": 10, "a": 5, "b": 12, "c": 40}
TEXT = {"in": 20, "rl": 36, "a": 20, "b": 21, "c": 40}


def records(suite: str = "s") -> list:
    """40 samples per task; so many of them right."""
    results = []
    for name in READ:
        for task, right in (("read", READ), ("count", COUNT)):
            cells = {(True, False): right[name], (False, False): 40 - right[name]}
            results += paired(name, Metric.VISION, cells, suite=suite, task=task)
        right = [i < TEXT[name] for i in range(40)]
        results += texts(name, right, suite=suite, task="add", tokens=TEXT[name])
    return results


def summary() -> dict:
    recipe = next(iter(thirds(Pairing({"in": "a", "rl": "b"}, "in", "rl")))).recipe
    recipes = {name: plain(name, f"specimen:{name}").recipe for name in ("in", "rl")}
    return {
        "against": None,
        "variants": [
            {"name": name, "traits": {}, "recipe": to_yaml(recipes.get(name, recipe))}
            for name in READ
        ],
    }


INCOMPLETE = (
    "is not complete; expected a metric or a task on its left and a number or a variant on its "
    "right, for example 'M_v2r >= in', 'M_vis > 85%' or 'paper/geometry >= in - 2%'."
)
RECORDS = records()
RESULTS = make_results(RECORDS, summary())


def choose_variants(*picks: str, by_key: list | None = None) -> list[str]:
    value = RECORDS if by_key is None else by_key
    results = RESULTS if by_key is None else make_results(by_key, summary())
    result = picked(results, value, [parse_pick(text) for text in picks])
    assert not result.left_out
    return list(result.names)


def refused(text: str, message: str, by_key: list | None = None) -> None:
    with pytest.raises(SurgeryError, match=f"^{re.escape(message)}$"):
        choose_variants(text, by_key=by_key)


@pytest.mark.parametrize(
    ("text", "suite", "name", "op", "variant", "number"),
    [
        ("M_v2r >= in", "", "m_v2r", ">=", "in", 0.0),
        ("m_V2R>=in", "", "m_v2r", ">=", "in", 0.0),
        (" M_vis  <  85 % ", "", "m_vis", "<", "", 0.85),
        ("accuracy > .5", "", "accuracy", ">", "", 0.5),
        ("paper/M_rea <= 1", "paper", "m_rea", "<=", "", 1.0),
        ("my/own/M_rea <= 0", "my/own", "m_rea", "<=", "", 0.0),
        ("count >= in + 2%", "", "count", ">=", "in", 0.02),
        ("count >= in+7%", "", "count", ">=", "in", 0.07),
        ("count >= in - 10%", "", "count", ">=", "in", -0.1),
        ("count >= in-0.1", "", "count", ">=", "in-0.1", 0.0),
        ("count >= in-in-rl - 0.5%", "", "count", ">=", "in-in-rl", -0.005),
        ("s/t > rl@mid.all.linear.0.5", "s", "t", ">", "rl@mid.all.linear.0.5", 0.0),
        ("t > org/model", "", "t", ">", "org/model", 0.0),
    ],
)
def test_grammar(text: str, suite: str, name: str, op: str, variant: str, number: float) -> None:
    assert parse_pick(text) == Pick(text, suite, name, op, variant, number)


@given(st.text(max_size=30))
def test_any_text_is_a_pick_or_one_error(text: str) -> None:
    try:
        pick = parse_pick(text)
    except SurgeryError as error:
        assert repr(text) in str(error)
    else:
        assert pick.operator in (">=", ">", "<=", "<")


@given(st.integers(0, 100))
def test_a_percentage_is_the_nearest_share(number: int) -> None:
    assert parse_pick(f"M_vis > {number}%").number == number / 100
    assert parse_pick(f"M_vis > {number}.5%" if number < 100 else "M_vis > 1").number <= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("M_v2r in", "compares nothing; expected a metric, one of >=, >, <=, <, and a number or a "
         "variant, for example 'M_v2r >= in', 'M_vis > 85%' or 'paper/geometry >= in - 2%'."),
        ("M_v2r => in", "compares with '=>'. Did you mean '>='?"),
        ("M_v2r =< in", "compares with '=<'. Did you mean '<='?"),
        ("M_v2r ≥ in", "compares with '≥'. Did you mean '>='?"),
        ("M_v2r == in", "compares with '=='. Expected one of: >=, >, <=, <."),
        (">= in", INCOMPLETE),
        ("M_v2r >=", INCOMPLETE),
        ("paper/ > in", INCOMPLETE),
    ],
)  # fmt: skip
def test_texts_that_are_no_picks(text: str, message: str) -> None:
    refused(text, f"the pick {text!r} {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("M_v2r >= 85", "85 is greater than 1. Write 85% for percent."),
        ("M_v2r >= 850%", "850% is greater than 1."),
        ("M_v2r >= in + 200%", "200% is greater than 1."),
        ("M_v2r >= in + 1.2.3%", "'1.2.3%' is not a number."),
    ],
)  # fmt: skip
def test_parts_that_say_nothing(text: str, message: str) -> None:
    refused(text, f"the pick {text!r}: {message}")


def test_picks_by_hand() -> None:
    assert choose_variants() == ["a", "b", "c"]  # models as they are, are never among them
    assert choose_variants("read >= in") == ["a", "b"]
    assert choose_variants("read > in") == ["a"]
    assert choose_variants("read <= in") == ["b", "c"]
    assert choose_variants("read < in") == ["c"]
    assert choose_variants("read >= in + 10%") == ["a"]
    assert choose_variants("read >= in + 10.1%") == []
    assert choose_variants("read >= in - 10%") == ["a", "b", "c"]
    assert choose_variants("read >= 60%") == ["a"]
    assert choose_variants("read > 0.6") == []
    assert choose_variants("read >= b") == ["a", "b"]  # b itself, too
    assert choose_variants("M_rea >= in", "read >= in") == ["a", "b"]
    assert choose_variants("M_rea > in", "s/read >= in") == ["b"]
    assert choose_variants("M_rea >= rl + 10%") == ["c"]


def test_a_metric_is_that_of_the_suite() -> None:
    together = {name: (READ[name] + COUNT[name]) / 80 for name in READ}
    table = RESULTS.table("scores")
    rows = table[(table["task"] == "all m_vis") & (table["measure"] == "m_vis")]
    assert dict(zip(rows["variant"], rows["value"], strict=True)) == pytest.approx(together)
    assert choose_variants("M_vis >= in") == ["b", "c"]
    assert choose_variants("M_vis >= 0.36") == ["a", "b", "c"]
    assert choose_variants("M_vis > 69.9%") == ["c"]
    assert choose_variants("M_vis >= 0.4") == ["b", "c"]
    assert choose_variants("s/m_vis >= rl") == ["c"]


def test_forms_that_are_no_longer_supported_show_the_new_ones() -> None:
    refused(
        "read:tf >= 0.5",
        "the pick 'read:tf >= 0.5': the run has no metric and no task 'read:tf'. A pick compares a "
        "task's metric alone: write 'read'.",
    )
    refused(
        "read >= in - 0.1",
        "the pick 'read >= in - 0.1': 'in - 0.1' is no number, and no variant of the run. Expected "
        "one of: in, rl, a, b, c. A margin is a percentage: 'in + 2%'.",
    )


def lost(name: str, samples: range, task: str = "read") -> list:
    removed = {f"q{i}" for i in samples}
    return [
        replace(r, correct=None, failure="timeout")
        if r.variant == name and r.sample in removed and r.task == task
        else r
        for r in RECORDS
    ]


def test_compared_on_the_samples_that_both_answered() -> None:
    # b and in are both right on q0..q19; b's share alone falls to 10 of 30.
    some = lost("b", range(10))
    assert make_results(some, summary()).table("scores").query(
        "variant == 'b' and task == 'read' and measure == 'm_vis'"
    )["value"].item() == pytest.approx(10 / 30)
    assert choose_variants("read >= in", by_key=some) == ["a", "b"]
    assert choose_variants("read >= 0.5", by_key=some) == ["a"]


def test_what_cannot_be_decided_is_left_out_by_name() -> None:
    none = lost("b", range(40))
    results = make_results(none, summary())
    pick = parse_pick("read >= in")
    result = picked(results, none, [pick])
    assert result.names == ("a",)
    (item,) = result.left_out
    assert item.variant == "b"
    assert item.reason == "no sample was answered by both it and in"
    (item,) = picked(results, none, [parse_pick("read >= 10%")]).left_out
    assert (item.variant, item.reason) == ("b", "none of its samples was answered")
    # What another pick refuses anyway is not left out: it is not picked.
    assert picked(results, none, [pick, parse_pick("M_rea > rl")]).left_out == ()


def test_the_other_variant_needs_a_number() -> None:
    refused(
        "read >= in",
        "the pick 'read >= in': 'in' has no number to compare with: none of its samples was "
        "answered.",
        by_key=lost("in", range(40)),
    )


def test_unknown_variants() -> None:
    refused(
        "read >= inn + 2%",
        "the pick 'read >= inn + 2%': 'inn' is no number, and no variant of the run. Did you mean "
        "'in'? A margin is a percentage: 'in + 2%'.",
    )


def test_unknown_tasks_and_suites() -> None:
    refused(
        "raed > in",
        "the pick 'raed > in': the run has no metric and no task 'raed'. Did you mean 'read'?",
    )
    refused(
        "s/M_viss > in",
        "the pick 's/M_viss > in': suite 's' has no metric and no task 'M_viss'. Did you mean "
        "'M_vis'?",
    )
    refused(
        "xyz > in",
        "the pick 'xyz > in': the run has no metric and no task 'xyz'. Expected one of: M_vis, "
        "M_rea, read, count, add.",
    )
    refused(
        "paper/read > in",
        "the pick 'paper/read > in': the run has no suite 'paper'. Expected one of: s.",
    )
    refused(
        "M_v2r > in",
        "the pick 'M_v2r > in': the run has no metric and no task 'm_v2r'. Expected one of: "
        "M_vis, M_rea, read, count, add.",
    )


def test_several_suites() -> None:
    both = [*RECORDS, *records("other")]
    refused("M_vis >= in",
            "the pick 'M_vis >= in' could mean several suites: write s/M_vis or other/M_vis.",
            by_key=both)  # fmt: skip
    refused("read >= in",
            "the pick 'read >= in' could mean several suites: write s/read or other/read.",
            by_key=both)  # fmt: skip
    assert choose_variants("other/M_vis >= in", "s/read > in - 15%", by_key=both) == ["b", "c"]
