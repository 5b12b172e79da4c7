"""A slice of the damaged inputs, the same every time; `python -m tests.fuzz` runs more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.cases import Report, run_case
from tests.fuzz.kinds import KINDS, LIGHT
from tests.fuzz.room import build_room
from tests.fuzz.servers import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fuzz.servers import Servers

CASES = {"hub": 3, "config": 5, "answers": 5}
"""Of kinds whose cases take longer; 8 of all others."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Servers]]:
    folder = tmp_path_factory.mktemp("fuzz")
    with servers(folder) as both:
        build_room(folder / "clean", both.url)
        yield folder, both


@pytest.mark.parametrize("kind", LIGHT)
def test_nothing_escapes(kind: str, place: tuple[Path, Servers]) -> None:
    folder, both = place
    report = Report()
    count = CASES.get(kind, 8)
    for seed in range(count):
        run_case(kind, seed, folder / "clean", folder / "room", both, report)
    assert report.buckets == {}
    assert kind == "answers" or report.count["refused"] > 0  # else nothing is damaged


def test_kinds_without_a_model_are_light() -> None:
    assert set(LIGHT) == KINDS.keys() - {
        "companion",
        "template",
        "sweep",
        "training",
        "pairs",
        "others",
    }
