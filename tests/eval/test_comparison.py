"""Variants against one another, on identical samples only."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from scipy import stats

from eval.comparison import pairs, power, shares
from eval.statistics.power import detectable_difference
from eval.statistics.significance import holm
from surgery.errors import SurgeryError
from tests.eval.made import record, texts

GENERATOR = np.random.default_rng(8)
IN = texts("in", list(GENERATOR.random(60) < 0.3))
RL = texts("rl", list(GENERATOR.random(60) < 0.9))
MID = texts("mid", list(GENERATOR.random(60) < 0.6))
RUN = [*IN, *RL, *MID]


def values(records) -> np.ndarray:
    return np.array([float(record.correct) for record in records])


def test_pairs_by_hand() -> None:
    result = {pair.variant: pair for pair in pairs(RUN, "in")}
    assert list(result) == ["rl", "mid"]
    for name, records in (("rl", RL), ("mid", MID)):
        pair, d = result[name], values(records) - values(IN)
        assert pair.difference == pytest.approx(d.mean())
        assert (pair.better, pair.worse, pair.n) == ((d > 0).sum(), (d < 0).sum(), 60)
        assert pair.p == pytest.approx(
            stats.binomtest(pair.better, pair.better + pair.worse).pvalue
        )
        assert pair.low < pair.difference < pair.high
    assert [p.p_holm for p in result.values()] == holm([p.p for p in result.values()])


def test_only_samples_that_both_answered() -> None:
    lost = [record("rl", "q0", None), record("rl", "q1", None), *RL[2:]]
    (pair,) = pairs([*IN, *lost], "in")
    assert (pair.n, pair.dropped) == (58, 2)
    assert pair.difference == pytest.approx((values(RL[2:]) - values(IN[2:])).mean())
    shuffled = [*IN, *reversed(RL)]
    assert pairs(shuffled, "in")[0] == pairs([*IN, *RL], "in")[0]


def test_nothing_in_common_is_said() -> None:
    other = [record("rl", f"x{i}", True) for i in range(5)]
    (pair,) = pairs([*IN, *other], "in")
    assert pair.n == 0
    assert isnan(pair.difference)


def test_tasks_taken_together_do_not_count_twice_in_the_correction() -> None:
    other = [
        record(variant, f"u{i}", i % 3 > 0, task="u")
        for variant in ("in", "rl", "mid")
        for i in range(9)
    ]
    result = pairs([*RUN, *other], "in")
    single = [pair for pair in result if not pair.task.startswith("all ")]
    assert len(single) == 4
    assert [pair.p_holm for pair in single] == holm([pair.p for pair in single])
    pooled = [pair for pair in result if pair.task.startswith("all ")]
    assert len(pooled) == 2
    assert all(isnan(pair.p_holm) for pair in pooled)


def test_shares() -> None:
    (share,) = shares(RUN, "in", "rl")
    gain = values(RL).mean() - values(IN).mean()
    assert share.variant == "mid"
    assert share.share == pytest.approx((values(MID).mean() - values(IN).mean()) / gain)
    assert share.low < share.share < share.high
    (none,) = shares([*IN, *texts("rl", [r.correct for r in IN]), *MID], "in", "rl")
    assert isnan(none.share)
    assert "not distinguishable" in none.reason


def test_power_says_what_could_have_shown() -> None:
    (line,) = power(pairs(RUN, "in"), RUN)
    differing = [(pair.better + pair.worse) / pair.n for pair in pairs(RUN, "in")]
    assert line.discordant == pytest.approx(np.median(differing))
    assert line.smallest == pytest.approx(detectable_difference(60, line.discordant))
    (alone,) = power([], IN)
    assert alone.discordant == 0.1


def test_unknown_names() -> None:
    with pytest.raises(SurgeryError, match=r"no variant 'inn'. Did you mean 'in'"):
        pairs(RUN, "inn")
    with pytest.raises(SurgeryError, match="no variant 'sft'"):
        shares(RUN, "sft", "rl")
