"""Early, mid and late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.arch import Region, regions
from surgery.errors import RecipeError


def test_thirds_of_the_published_models() -> None:
    assert regions(28) == {"early": range(9), "mid": range(9, 18), "late": range(18, 28)}
    assert regions(36) == {"early": range(12), "mid": range(12, 24), "late": range(24, 36)}


def test_cuts() -> None:
    assert [len(r) for r in regions(28, (8, 20)).values()] == [8, 12, 8]
    assert regions(3, (1, 2))[Region.MID] == range(1, 2)


@given(st.integers(0, 500))
def test_regions_cover_every_layer_once(n: int) -> None:
    assert [layer for region in regions(n).values() for layer in region] == list(range(n))


@given(st.integers(1, 50), st.integers(-60, 60), st.integers(-60, 60))
def test_cuts_cover_every_layer_once_or_are_refused(n: int, a: int, b: int) -> None:
    if 0 < a < b < n:
        parts = regions(n, (a, b))
        assert all(parts.values())
        assert [layer for region in parts.values() for layer in region] == list(range(n))
    else:
        with pytest.raises(RecipeError):
            regions(n, (a, b))


def test_bad_cuts_are_explained() -> None:
    with pytest.raises(RecipeError, match=r"cuts \[20, 8\] do not cut 28 layers .* from 1 to 27"):
        regions(28, (20, 8))
