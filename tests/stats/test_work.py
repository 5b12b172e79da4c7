from __future__ import annotations

from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.stats.study import SLACK, Budget, share_out


@given(
    st.integers(1, 128),
    st.lists(st.integers(1, 1 << 34), max_size=20),
    st.none() | st.integers(1, 1 << 36),
)
def test_never_more_threads_than_processors(
    processors: int, needs: list[int], memory: int | None
) -> None:
    crew = share_out(processors, needs, memory)
    assert crew.workers >= 1
    assert crew.blas >= 1
    assert crew.workers * crew.blas <= processors


def test_memory_decides_how_many_at_once() -> None:
    gigabyte = 1 << 30
    roomy = share_out(8, [gigabyte] * 9, 100 * gigabyte)
    assert (roomy.workers, roomy.blas) == (8, 1)
    tight = share_out(8, [gigabyte] * 9, None)
    assert (tight.workers, tight.blas, tight.memory) == (1, 8, gigabyte + SLACK)
    half = share_out(8, [gigabyte] * 9, 4 * gigabyte)
    assert (half.workers, half.blas) == (4, 2)


def test_small_matrices_run_side_by_side_by_default() -> None:
    assert share_out(4, [1 << 20] * 9, None).workers == 4


@pytest.mark.parametrize(("need", "most"), [(60, 1), (50, 2), (10, 8), (1000, 1)])
def test_a_budget_is_kept(need: int, most: int) -> None:
    budget = Budget(100)
    together = Barrier(most)  # nobody goes on before as many as there is room for are in
    inside = peak = 0

    def work() -> None:
        nonlocal inside, peak
        with budget.hold(need):
            inside += 1
            peak = max(peak, inside)
            together.wait(10)
            inside -= 1

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not together.broken
    assert inside == 0
    assert peak <= most


def test_a_failure_gives_its_room_back() -> None:
    budget = Budget(10)
    with pytest.raises(RuntimeError), budget.hold(10):
        raise RuntimeError
    with budget.hold(10):
        pass
