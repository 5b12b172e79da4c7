from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from surgery.errors import ExecutionError
from surgery.stats.parts import PieceResult, PieceStore

if TYPE_CHECKING:
    from pathlib import Path

PART = PieceResult({"pairs": {"in..rl": {"delta": 0.1}}}, {"x/in..rl/delta": np.array([2.0, 1.0])})


def stored(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npz"))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    PieceStore(tmp_path, "in", "key").save("x", PART)
    result = PieceStore(tmp_path, "in", "key").load("x")
    assert result is not None
    assert result.record["pairs"] == PART.record["pairs"]
    assert [*result.arrays] == ["x/in..rl/delta"]
    assert np.array_equal(result.arrays["x/in..rl/delta"], [2.0, 1.0])


def test_another_key_or_name_has_nothing(tmp_path: Path) -> None:
    PieceStore(tmp_path, "in", "key").save("x", PART)
    assert PieceStore(tmp_path, "in", "other").load("x") is None
    assert PieceStore(tmp_path, "in", "key").load("y") is None


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_damaged_part_counts_as_none(tmp_path: Path, size: int) -> None:
    PieceStore(tmp_path, "in", "key").save("x", PART)
    (path,) = stored(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    assert PieceStore(tmp_path, "in", "key").load("x") is None


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    PieceStore(tmp_path, "in", "key").save("x", PART)
    (path,) = stored(tmp_path)
    data = path.read_bytes()
    for i in range(0, len(data), 7):
        path.write_bytes(data[:i] + bytes([data[i] ^ 4]) + data[i + 1 :])
        result = PieceStore(tmp_path, "in", "key").load("x")
        if result is not None:
            assert result.record["pairs"] == PART.record["pairs"]
            assert all(np.array_equal(a, [2.0, 1.0]) for a in result.arrays.values())


def test_no_pickle_is_written_or_read(tmp_path: Path) -> None:
    bad = PieceResult({}, {"x": np.array([object()], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        PieceStore(tmp_path, "in", "key").save("x", bad)
    assert not [*tmp_path.rglob("*.npz"), *tmp_path.rglob("*.tmp")]


def test_a_folder_of_someone_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.csv").write_text("precious")
    with pytest.raises(ExecutionError, match=r"is not empty .* and holds no run"):
        PieceStore(tmp_path, "in", "key")
    with pytest.raises(ExecutionError, match="is a file"):
        PieceStore(tmp_path / "thesis.csv", "in", "key")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    PieceStore(tmp_path, "in", "key").save("x", PART)
    (path,) = stored(tmp_path)
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("in the way")
    with pytest.raises(ExecutionError, match=r"\.parts.*cannot be written"):
        PieceStore(tmp_path, "in", "key").save("x", PART)


def test_other_inputs_are_forgotten_and_other_options_kept(tmp_path: Path) -> None:
    PieceStore(tmp_path, "old", "key").save("x", PART)
    PieceStore(tmp_path, "new", "key").save("x", PART)
    PieceStore(tmp_path, "new", "more").forget_others()
    assert PieceStore(tmp_path, "old", "key").load("x") is None
    assert PieceStore(tmp_path, "new", "key").load("x") is not None
    PieceStore(tmp_path / "absent", "in", "key").forget_others()
