"""Official composites: figures worked out by hand, laws, and coverage of the interval."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.composites import COMPOSITES, Unit
from eval.metrics import scores
from eval.records import Condition, Metric
from tests.eval.made import record

if TYPE_CHECKING:
    from eval.graded import Graded


def graded(suite: str, sample: str, right: bool, cluster: str = "", **categories: str) -> Graded:
    return replace(
        record("v", sample, right, metric=Metric.ACCURACY, condition=Condition.IMAGE),
        suite=suite, task=suite,
        categories=categories, cluster=cluster or sample,
    )  # fmt: skip


def official(records: list[Graded]) -> dict[str, tuple[float, int]]:
    names = {"official", "aAcc", "fAcc", "qAcc", "accuracy"}
    return {
        s.measure: (s.value, s.n) for s in scores(records) if s.measure in names and not s.split
    }


def test_blink_is_the_mean_of_its_tasks() -> None:
    records = [graded("blink", f"c{n}", n < 1, kind="Counting") for n in range(4)]
    records += [graded("blink", f"j{n}", n < 1, kind="Jigsaw") for n in range(2)]
    assert official(records)["accuracy"] == pytest.approx((2 / 6, 6))
    assert official(records)["official"] == pytest.approx(((1 / 4 + 1 / 2) / 2, 6))


def test_cvbench_weighs_its_sources() -> None:
    records = [graded("cvbench", f"a{n}", n < 3, source="ADE20K") for n in range(4)]
    records += [graded("cvbench", f"c{n}", n < 1, source="COCO") for n in range(2)]
    records += [graded("cvbench", f"o{n}", n < 1, source="Omni3D") for n in range(5)]
    assert official(records)["official"][0] == pytest.approx(((0.75 + 0.5) / 2 + 0.2) / 2)
    assert isnan(official(records[:6])["official"][0])  # without 3D there is no official score


def test_hallusionbench_counts_figures_and_questions() -> None:
    """Two figures of one set, three questions about each: 5 of 6 right."""
    records = [
        graded("hallusionbench", f"VD/chart/0/{figure}/{question}", right, "VD/chart/0")
        for figure in range(2)
        for question in range(3)
        for right in [(figure, question) != (1, 1)]
    ]
    result = official(records)
    assert result["aAcc"] == pytest.approx((5 / 6, 6))
    assert result["fAcc"] == (0.5, 2)  # figure 0
    assert result["qAcc"] == pytest.approx((2 / 3, 3))  # all but question 1


def test_questions_of_other_sets_are_other_questions() -> None:
    ids = ("VD/chart/0/0/0", "VD/chart/1/0/0", "VS/chart/0/0/0")
    records = [graded("hallusionbench", id_, n > 0) for n, id_ in enumerate(ids)]
    assert official(records)["qAcc"] == pytest.approx((2 / 3, 3))
    assert official(records)["fAcc"] == pytest.approx((2 / 3, 3))


UNITS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz"), st.sampled_from([0.0, 1.0])),
    min_size=1, max_size=40,
).map(lambda rows: [Unit(*row) for row in rows])  # fmt: skip


@given(UNITS)
def test_the_interval_holds_the_value(units: list[Unit]) -> None:
    (composite,) = COMPOSITES["blink"]
    interval = composite.interval(units)
    means = [
        np.mean([unit.value for unit in units if unit.part == part])
        for part in {unit.part for unit in units}
    ]
    assert interval.value == pytest.approx(np.mean(means))
    assert 0 <= interval.low <= interval.high <= 1
    assert composite.interval(units) == interval


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """300 samples of 60 clusters of 3 dependent questions in two parts; truth 0.6."""
    (composite,) = COMPOSITES["blink"]
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        levels = rng.beta(6, 4, 60)
        units = [
            Unit(f"{n}", "xy"[n % 2], float(rng.random() < level))
            for n, level in enumerate(levels) for _ in range(3)
        ]  # fmt: skip
        interval = composite.interval(units)
        hits += interval.low <= 0.6 <= interval.high
    assert 0.91 <= hits / 300 <= 0.98


def test_a_failed_response_is_excluded() -> None:
    records = [graded("blink", f"{n}", True, kind="Jigsaw") for n in range(3)]
    records.append(replace(records[0], sample="x", correct=None))
    assert official(records)["official"] == (1.0, 3)
