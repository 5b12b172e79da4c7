"""Picks: their grammar, what they choose, and what they say when they cannot."""

from __future__ import annotations

import operator
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.publishing.pick import Bound, Measured, Operator, Pick, parse_pick, picked
from eval.records import Metric
from eval.sweep.results import Results
from eval.sweep.variants import Pairing, plain, thirds
from surgery.errors import SurgeryError
from surgery.recipe.dump import to_yaml
from tests.eval.made import paired, texts

READ = {"in": 20, "rl": 30, "a": 24, "b": 20, "c": 16}
COUNT = {"in": 10, "rl": 10, "a": 5, "b": 12, "c": 40}
TEXT = {"in": 20, "rl": 36, "a": 20, "b": 21, "c": 40}


def records(suite: str = "s") -> list:
    """40 samples per task; so many of them right."""
    found = []
    for name in READ:
        for task, right in (("read", READ), ("count", COUNT)):
            cells = {(True, False): right[name], (False, False): 40 - right[name]}
            found += paired(name, Metric.VISION, cells, suite=suite, task=task)
        right = [i < TEXT[name] for i in range(40)]
        found += texts(name, right, suite=suite, task="add", tokens=TEXT[name])
    return found


def summary() -> dict:
    made = next(iter(thirds(Pairing({"in": "a", "rl": "b"}, "in", "rl")))).recipe
    recipes = {name: plain(name, f"specimen:{name}").recipe for name in ("in", "rl")}
    return {
        "against": None,
        "variants": [
            {"name": name, "traits": {}, "recipe": to_yaml(recipes.get(name, made))}
            for name in READ
        ],
    }


RECORDS = records()
RESULTS = Results.of(RECORDS, summary())


def chosen(*picks: str, of: list | None = None) -> list[str]:
    given = RECORDS if of is None else of
    results = RESULTS if of is None else Results.of(of, summary())
    found = picked(results, given, [parse_pick(text) for text in picks])
    assert not found.left_out
    return list(found.names)


def refused(text: str, message: str, of: list | None = None) -> None:
    with pytest.raises(SurgeryError, match=f"^{re.escape(message)}$"):
        chosen(text, of=of)


@pytest.mark.parametrize(
    ("text", "left", "op", "right"),
    [
        ("M_v2r >= in", Measured("", "", "m_v2r"), ">=", Bound("in")),
        ("m_V2R>=in", Measured("", "", "m_v2r"), ">=", Bound("in")),
        (" M_vis  <  85 % ", Measured("", "", "m_vis"), "<", Bound("", 0.85)),
        ("accuracy > .5", Measured("", "", "accuracy"), ">", Bound("", 0.5)),
        ("paper/M_rea <= 1", Measured("paper", "", "m_rea"), "<=", Bound("", 1.0)),
        ("my/own/M_rea <= 0", Measured("my/own", "", "m_rea"), "<=", Bound("", 0.0)),
        ("count >= in + 2%", Measured("", "count", ""), ">=", Bound("in", 0.02)),
        ("count >= in+7%", Measured("", "count", ""), ">=", Bound("in", 0.07)),
        ("count >= in - 0.1", Measured("", "count", ""), ">=", Bound("in", -0.1)),
        ("count >= in-0.1", Measured("", "count", ""), ">=", Bound("in-0.1")),
        ("count >= in-in-rl - 0", Measured("", "count", ""), ">=", Bound("in-in-rl", 0.0)),
        ("s/t:right[image] > rl@mid.all.linear.0.5", Measured("s", "t", "right[image]"), ">",
         Bound("rl@mid.all.linear.0.5")),
        ("t:M_vis > org/model", Measured("", "t", "m_vis"), ">", Bound("org/model")),
        ("t:tokens[text] <= in + 12.5", Measured("", "t", "tokens[text]"), "<=", Bound("in", 12.5)),
        ("t:tokens[text] <= 200", Measured("", "t", "tokens[text]"), "<=", Bound("", 200.0)),
    ],
)  # fmt: skip
def test_grammar(text: str, left: Measured, op: str, right: Bound) -> None:
    assert parse_pick(text) == Pick(left, Operator(op), right)
    assert parse_pick(str(parse_pick(text))) == parse_pick(text)


NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9@._]*(-[A-Za-z0-9@._+]*[A-Za-z0-9])?", fullmatch=True)
TASK = NAME.filter(lambda name: name.lower() not in [str(metric) for metric in Metric])
SHARE = st.floats(0, 1).map(abs)
MEASURES = st.sampled_from(["", "tt", "right[image]", "m_vis", "format[text]"])
LEFTS = st.one_of(
    st.builds(Measured, st.just("") | NAME, st.just(""), st.sampled_from([str(m) for m in Metric])),
    st.builds(Measured, st.just("") | NAME, TASK, MEASURES),
)
RIGHTS = st.one_of(
    st.builds(Bound, st.just(""), SHARE),
    st.builds(Bound, NAME, st.just(0.0) | SHARE | SHARE.map(operator.neg).map(lambda x: x + 0.0)),
)
PICKS = st.builds(Pick, LEFTS, st.sampled_from(Operator), RIGHTS)


@given(PICKS)
def test_what_is_written_is_read_again(pick: Pick) -> None:
    assert parse_pick(str(pick)) == pick
    assert parse_pick(str(pick).replace(" >= ", ">=").replace(" < ", "  <")) == pick


@given(st.text(max_size=30))
def test_any_text_is_a_pick_or_one_error(text: str) -> None:
    try:
        found = parse_pick(text)
    except SurgeryError as error:
        assert repr(text) in str(error)
    else:
        assert isinstance(found.operator, Operator)


@given(st.integers(0, 100))
def test_a_percentage_is_the_nearest_share(number: int) -> None:
    assert parse_pick(f"M_vis > {number}%").right.number == number / 100
    assert parse_pick(f"M_vis > {number}.5%" if number < 100 else "M_vis > 1").right.number <= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("M_v2r in", "compares nothing; expected a metric, one of >=, >, <=, <, and a number or a "
         "variant, for example 'M_v2r >= in', 'M_vis > 85%' or 'paper/geometry >= in - 2%'."),
        ("M_v2r => in", "compares with '=>'. Did you mean '>='?"),
        ("M_v2r =< in", "compares with '=<'. Did you mean '<='?"),
        ("M_v2r ≥ in", "compares with '≥'. Did you mean '>='?"),
        ("M_v2r == in", "compares with '=='. Expected one of: >=, >, <=, <."),
        (">= in", "has nothing on its left; expected a metric or a task, for example 'M_v2r >= "
         "in', 'M_vis > 85%' or 'paper/geometry >= in - 2%'."),
        ("M_v2r >=", "has nothing on its right; expected a number or a variant, for example "
         "'M_v2r >= in', 'M_vis > 85%' or 'paper/geometry >= in - 2%'."),
    ],
)  # fmt: skip
def test_texts_that_are_no_picks(text: str, message: str) -> None:
    refused(text, f"the pick {text!r} {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("M_v2r >= 85", "85 is more than a whole. Write 85% for percent, or a share from 0 to 1."),
        ("M_v2r >= in + 2",
         "2 is more than a whole. Write 2% for percent, or a share from 0 to 1."),
        ("M_v2r >= 850%", "850% is more than 100%, which is a whole."),
        ("t:tokens[text] < in + 5%",
         "tokens[text] counts tokens, and 5% is a percentage. Write a number of tokens."),
        ("paper/ > in", "'paper/' is not SUITE/TASK:MEASURE; suite and measure may be left out, "
         "the task not."),
        ("t: > in", "'t:' is not SUITE/TASK:MEASURE; suite and measure may be left out, the task "
         "not."),
    ],
)  # fmt: skip
def test_parts_that_say_nothing(text: str, message: str) -> None:
    refused(text, f"the pick {text!r}: {message}")


def test_picks_by_hand() -> None:
    assert chosen() == ["a", "b", "c"]  # models as they are, are never among them
    assert chosen("read >= in") == ["a", "b"]
    assert chosen("read > in") == ["a"]
    assert chosen("read <= in") == ["b", "c"]
    assert chosen("read < in") == ["c"]
    assert chosen("read >= in + 10%") == ["a"]
    assert chosen("read >= in + 10.1%") == []
    assert chosen("read >= in - 10%") == ["a", "b", "c"]
    assert chosen("read >= 60%") == ["a"]
    assert chosen("read > 0.6") == []
    assert chosen("read >= b") == ["a", "b"]  # b itself, too
    assert chosen("M_rea >= in", "read >= in") == ["a", "b"]
    assert chosen("M_rea > in", "s/read >= in") == ["b"]
    assert chosen("M_rea >= rl + 10%") == ["c"]


def test_a_metric_is_that_of_the_suite() -> None:
    together = {name: (READ[name] + COUNT[name]) / 80 for name in READ}
    table = RESULTS.table("scores")
    rows = table[(table["task"] == "all m_vis") & (table["measure"] == "m_vis")]
    assert dict(zip(rows["variant"], rows["value"], strict=True)) == pytest.approx(together)
    assert chosen("M_vis >= in") == ["b", "c"]
    assert chosen("M_vis >= 0.36") == ["a", "b", "c"]
    assert chosen("M_vis > 69.9%") == ["c"]
    assert chosen("M_vis >= 0.4") == ["b", "c"]
    assert chosen("s/m_vis >= rl") == ["c"]


def test_other_measures() -> None:
    assert chosen("read:right[image] > in") == ["a"]
    assert chosen("add:tokens[text] <= in") == ["a"]
    assert chosen("add:tokens[text] <= in + 1") == ["a", "b"]
    assert chosen("add:tokens[text] <= 20.5") == ["a"]
    assert chosen("read:tf >= 0.5") == ["a", "b"]
    assert chosen("s/all m_vis:m_vis >= in") == chosen("M_vis >= in")


def lost(name: str, samples: range, task: str = "read") -> list:
    gone = {f"q{i}" for i in samples}
    return [
        replace(r, correct=None, failure="timeout")
        if r.variant == name and r.sample in gone and r.task == task
        else r
        for r in RECORDS
    ]


def test_compared_on_the_samples_that_both_answered() -> None:
    # b and in are both right on q0..q19; b's share alone falls to 10 of 30.
    some = lost("b", range(10))
    assert Results.of(some, summary()).table("scores").query(
        "variant == 'b' and task == 'read' and measure == 'm_vis'"
    )["value"].item() == pytest.approx(10 / 30)
    assert chosen("read >= in", of=some) == ["a", "b"]
    assert chosen("read >= 0.5", of=some) == ["a"]


def test_what_cannot_be_decided_is_left_out_by_name() -> None:
    none = lost("b", range(40))
    results = Results.of(none, summary())
    pick = parse_pick("read >= in")
    found = picked(results, none, [pick])
    assert found.names == ("a",)
    (one,) = found.left_out
    assert (one.variant, one.pick) == ("b", pick)
    assert one.reason == "no sample was answered by both it and in"
    (one,) = picked(results, none, [parse_pick("read >= 10%")]).left_out
    assert (one.variant, one.reason) == ("b", "none of its samples was answered")
    # What another pick refuses anyway is not left out: it is not picked.
    assert picked(results, none, [pick, parse_pick("M_rea > rl")]).left_out == ()
    some = lost("b", range(10))
    (one,) = picked(Results.of(some, summary()), some, [parse_pick("read:tf >= in")]).left_out
    assert one.reason == ("it or in misses responses, and tf is not compared by sample")
    (one,) = picked(results, none, [parse_pick("read:tf >= in")]).left_out
    assert one.reason == "none of its samples was answered"


def test_the_other_variant_needs_a_number() -> None:
    refused(
        "read >= in",
        "the pick 'read >= in': 'in' has no number to compare with: none of its samples was "
        "answered.",
        of=lost("in", range(40)),
    )


def test_unknown_variants() -> None:
    refused(
        "read >= sft",
        "the pick 'read >= sft': 'sft' is no number, and no variant of the run. Expected one of: "
        "in, rl, a, b, c.",
    )
    refused(
        "read >= inn + 2%",
        "the pick 'read >= inn + 0.02': 'inn' is no number, and no variant of the run. Did you "
        "mean 'in'? The run has in, rl, a, b, c.",
    )


def test_unknown_tasks_suites_and_measures() -> None:
    refused(
        "raed > in",
        "the pick 'raed > in': 'raed' is no metric, and no task of the run. Did you mean 'read'?",
    )
    refused(
        "s/M_viss > in",
        "the pick 's/M_viss > in': 'M_viss' is no metric, and no task of suite 's'. Did you mean "
        "'M_vis'?",
    )
    refused(
        "xyz > in",
        "the pick 'xyz > in': 'xyz' is no metric, and no task of the run. Expected one of: M_vis, "
        "M_rea, read, count, add.",
    )
    refused(
        "paper/read > in",
        "the pick 'paper/read > in': the run has no suite 'paper'. Expected one of: s.",
    )
    refused(
        "M_v2r > in",
        "the pick 'M_v2r > in': no task of the run is scored by M_v2r. Expected one of: M_vis, "
        "M_rea.",
    )
    refused(
        "s/accuracy > in",
        "the pick 's/accuracy > in': no task of suite 's' is scored by accuracy. Expected one of: "
        "M_vis, M_rea.",
    )
    refused(
        "add:right[txt] > in",
        "the pick 'add:right[txt] > in': task 'add' has no measure 'right[txt]'. Did you mean "
        "'right[text]'?",
    )


def test_several_suites() -> None:
    both = [*RECORDS, *records("other")]
    refused("M_vis >= in",
            "the pick 'M_vis >= in' could mean several suites: write s/M_vis or other/M_vis.",
            of=both)  # fmt: skip
    refused("read:tf >= in",
            "the pick 'read:tf >= in' could mean several suites: write s/read:tf or other/read:tf.",
            of=both)  # fmt: skip
    assert chosen("other/M_vis >= in", "s/read > in - 15%", of=both) == ["b", "c"]
