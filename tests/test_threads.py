"""The number of torch's threads belongs to the thread that asked for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
import torch

from surgery.threads import one_thread, torch_threads

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_blocks_nest_and_restore_after_an_exception() -> None:
    with torch_threads(2):
        with pytest.raises(ZeroDivisionError), one_thread():
            assert torch.get_num_threads() == 1
            1 / 0  # noqa: B018
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 4


def test_a_thread_that_starts_meanwhile_has_the_number_from_outside() -> None:
    with one_thread(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 4
        assert torch.get_num_threads() == 1


def test_overlapping_blocks_do_not_change_each_others_number() -> None:
    """The first leaves while the second is inside, in threads old and new."""
    in_both, first_left, second_saw = Barrier(2), Barrier(2), Barrier(2)

    def first() -> int:
        with one_thread():
            in_both.wait(10)
        after = torch.get_num_threads()
        first_left.wait(10)
        second_saw.wait(10)
        return after

    def second() -> tuple[int, int]:
        with one_thread():
            in_both.wait(10)
            first_left.wait(10)
            inside = torch.get_num_threads()
        second_saw.wait(10)
        return inside, torch.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            item, other = pool.submit(first), pool.submit(second)
            assert item.result() == 4
            assert other.result() == (1, 4)
    assert torch.get_num_threads() == 4
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 4
