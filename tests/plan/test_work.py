"""Work grows with the number of tensors, not with its square: counted, not timed."""

from __future__ import annotations

import sys
import warnings
from collections import Counter

from rich.console import Console

import surgery.recipe.select
from surgery.arch.resolve import ArchitectureWarning
from surgery.checkpoint.local import LocalCheckpoint
from surgery.plan import make_plan
from surgery.recipe import parse_recipe
from surgery.report.overview import overview
from tests.bench.build import experts, hollow_of

_RECIPE = """\
name: test
models: {in: a, rl: b}
base: in
steps:
  - transplant: "language[mid], !language[:].norm"
    from: rl
  - interpolate: language[late].mlp
    from: rl
    t: [0.2, 0.8]
"""


class CountingSet(set):
    """A set that counts the elements which its operators go through."""

    visited = 0

    def __sub__(self, other):
        CountingSet.visited += len(self)
        return CountingSet(set(self) - set(other))

    def __isub__(self, other):
        CountingSet.visited += len(other)
        self.difference_update(other)
        return self

    def update(self, *rest):
        for other in rest:
            CountingSet.visited += len(other)
            super().update(other)


def plan_and_draw(folder):
    with LocalCheckpoint(folder) as model:
        plan = make_plan(parse_recipe(_RECIPE), {"in": model.info, "rl": model.info})
    Console(quiet=True).print(overview(plan, 0, {}))
    return plan


def test_matching_visits_every_site_a_few_times(tmp_path, monkeypatch):
    monkeypatch.setattr(surgery.recipe.select, "set", CountingSet, raising=False)
    monkeypatch.setattr(CountingSet, "visited", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ArchitectureWarning)
        plan = plan_and_draw(hollow_of(tmp_path / "a", *experts(6, 16), 2))
    assert 0 < CountingSet.visited < 5 * len(plan.ops)


def test_twice_the_experts_take_twice_the_calls(tmp_path):
    calls: list[Counter] = []
    for count in (8, 16, 24):
        folder = hollow_of(tmp_path / str(count), *experts(6, count), 2)
        counter = Counter()

        def count_calls(frame, event, argument, counter=counter):
            if event == "call":
                counter[frame.f_code.co_qualname] += 1
            elif event == "c_call":
                counter[argument.__qualname__] += 1

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ArchitectureWarning)
            sys.setprofile(count_calls)
            try:
                plan_and_draw(folder)
            finally:
                sys.setprofile(None)
        calls.append(counter)
    first, second = (calls[i + 1].total() - calls[i].total() for i in (0, 1))
    assert second < 1.2 * first, (calls[2] - calls[1] - calls[1] + calls[0]).most_common(5)
