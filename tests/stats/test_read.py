"""Windows of stored tensors: the right elements, bounded memory, no reading past the end."""

from __future__ import annotations

import os
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from surgery.checkpoint.dtype import DType
from surgery.checkpoint.local import LocalCheckpoint
from surgery.errors import CheckpointError
from surgery.stats.elementwise import measure
from surgery.stats.read import TensorView, load, load_delta, widen, working_dtype
from tests.checkpoint.files import entry, raw
from tests.stats.stored import run_python, save

DTYPES = [
    torch.bfloat16, torch.float16, torch.float32, torch.float64,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


def random_tensor(dtype, *shape):
    draw = torch.Generator().manual_seed(7)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)
    return torch.randint(0, 100, shape, generator=draw).to(dtype)


@pytest.fixture
def checkpoint(tmp_path):
    tensors = {str(d).removeprefix("torch."): random_tensor(d, 6, 50, 11) for d in DTYPES}
    with save(tmp_path / "model", tensors) as opened:
        yield opened, tensors


class Formed:
    """A checkpoint whose bytes stand in no file, as an adapter's do not."""

    def __init__(self, checkpoint):
        self.info = checkpoint.info
        self.read_into = checkpoint.read_into

    def file_range(self, _):
        return None


def as_torch(array, dtype):
    return torch.from_numpy(array.copy()).view(dtype)


@pytest.mark.parametrize("formed", [False, True])
def test_a_window_is_what_is_stored(checkpoint, formed):
    opened, tensors = checkpoint
    source = Formed(opened) if formed else opened
    for name, tensor in tensors.items():
        view = TensorView(source, name)
        assert view.shape == tensor.shape
        for start, stop in ((0, tensor.numel()), (0, 1), (1, 1), (17, 2345), (3299, 3300)):
            window = view.window(start, stop)
            assert not window.flags.writeable
            assert window.flags.aligned
            assert torch.equal(as_torch(window, tensor.dtype), tensor.reshape(-1)[start:stop])
        part = view.part(4)
        assert part.shape == (50, 11)
        assert torch.equal(as_torch(part.window(3, 500), tensor.dtype), tensor[4].flatten()[3:500])


@pytest.mark.parametrize("formed", [False, True])
def test_load_and_its_delta(checkpoint, formed):
    opened, tensors = checkpoint
    source = Formed(opened) if formed else opened
    for name, tensor in tensors.items():
        view = TensorView(source, name)
        assert np.array_equal(load(view, np.dtype(np.float32)), tensor.float().numpy())
        exact = load(view)
        assert exact.dtype == working_dtype(view.dtype)
        assert np.array_equal(exact, tensor.to(torch.from_numpy(exact).dtype).numpy())
        assert np.array_equal(load(view.part(2)), exact[2])
        other = TensorView(source, "float16")
        delta = load_delta(view, other)
        work = working_dtype(view.dtype, DType.F16)
        assert delta.dtype == work
        expected = tensors["float16"].double().numpy().astype(work) - load(view, work)
        assert np.array_equal(delta, expected)


def test_working_dtype_holds_every_difference():
    assert working_dtype(DType.BF16, DType.F16, DType.F32, DType.I16) == np.float32
    for wide in (DType.F64, DType.I64, DType.I32):
        assert working_dtype(DType.BF16, wide) == np.float64


def test_every_bf16_is_widened_to_itself():
    stored = np.arange(1 << 16, dtype=np.uint16)
    expected = torch.from_numpy(stored).view(torch.bfloat16)
    for dtype in (np.float32, np.float64):
        out = np.empty(stored.size, dtype)
        widen(stored, DType.BF16, out)
        assert np.array_equal(out, expected.to(torch.from_numpy(out).dtype).numpy(), equal_nan=True)


def test_infinities_subtract_without_a_warning(tmp_path):
    with save(tmp_path, {"w": torch.tensor([torch.inf, 1.0])}) as opened:
        view = TensorView(opened, "w")
        delta = load_delta(view, view)
    assert np.isnan(delta).tolist() == [True, False]


def test_empty_and_scalar(tmp_path):
    with save(tmp_path, {"none": torch.zeros(0, 4), "one": torch.tensor(2.5)}) as opened:
        none, tensor_view = TensorView(opened, "none"), TensorView(opened, "one")
        assert none.window(0, 0).size == 0
        assert load(none).shape == load_delta(none, none).shape == (0, 4)
        assert tensor_view.shape == ()
        assert load(tensor_view).shape == load_delta(tensor_view, tensor_view).shape == ()
        assert load(tensor_view).item() == 2.5


def test_data_at_odd_offsets(tmp_path):
    """Numbers need not stand at multiples of their size in a file."""
    values = np.arange(5000, dtype=np.float32)
    header = {"flag": entry("BOOL", [1], 0, 1), "w": entry("F32", [5000], 1, 20_001)}
    (tmp_path / "model.safetensors").write_bytes(raw(header, b"\1" + values.tobytes()))
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with LocalCheckpoint(tmp_path) as opened:
        view = TensorView(opened, "w")
        assert np.array_equal(view.window(1, 5000), values[1:])
        (result,), _ = measure([view, view], [(0, 1)])
    assert result.before_squares == pytest.approx(np.square(values, dtype=np.float64).sum())


def test_a_file_that_became_shorter(tmp_path):
    with save(tmp_path, {"w": torch.zeros(100_000)}) as opened:
        view = TensorView(opened, "w")
        os.truncate(tmp_path / "model.safetensors", 300_000)
        assert view.window(0, 10_000).size == 10_000
        with pytest.raises(CheckpointError, match=r"found 300000 bytes in the file of 'w'"):
            measure([view, view], [(0, 1)])


def test_refusals(checkpoint):
    opened, _ = checkpoint
    with pytest.raises(CheckpointError, match="has no tensor 'nothing'"):
        TensorView(opened, "nothing")
    view = TensorView(opened, "float32")
    with pytest.raises(IndexError, match=r"float32: no slice 6 in shape \[6, 50, 11\]"):
        view.part(6)
    with pytest.raises(IndexError, match="no elements 0 to 3301 of 3300"):
        view.window(0, 3301)
    with pytest.raises(ValueError, match="shapes"):
        load_delta(view, view.part(1))


def test_a_window_outlives_its_checkpoint(tmp_path):
    with save(tmp_path, {"w": torch.arange(1000.0)}) as opened:
        window = TensorView(opened, "w").window(10, 20)
    assert window.tolist() == list(range(10, 20))


def test_many_threads(checkpoint):
    opened, tensors = checkpoint
    views = [TensorView(opened, "bfloat16"), TensorView(opened, "float32")]
    expected = measure(views, [(0, 1)])
    with ThreadPoolExecutor(8) as pool:
        result = list(pool.map(lambda _: measure(views, [(0, 1)]), range(64)))
    assert all(item == expected for item in result)
    assert expected[0][0].numel == tensors["bfloat16"].numel()


MEMORY = """
import resource, sys, torch
from surgery.checkpoint.local import LocalCheckpoint
from surgery.stats.elementwise import measure
from surgery.stats.read import TensorView
opened = [LocalCheckpoint(__import__("pathlib").Path(f)) for f in sys.argv[1:]]
views = [TensorView(o, "w") for o in opened]
measure(views, [(0, 1), (1, 2)], (0, 1), 0, 5000)  # compiled
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(first, _), _ = measure(views, [(0, 1), (1, 2)], (0, 1))
assert first.numel == views[0].numel
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
"""


@pytest.mark.parametrize(
    ("dtype", "size"), [("BF16", 2), pytest.param("F32", 4, marks=pytest.mark.slow)]
)
def test_memory_does_not_grow_with_the_tensor(tmp_path, dtype, size):
    count = 200 * 2**20 // size
    for name in "abc":
        (tmp_path / name).mkdir()
        head = raw({"w": entry(dtype, [count], 0, count * size)})
        head += b" " * (-len(head) % 8)
        head = struct.pack("<Q", len(head) - 8) + head[8:]
        with (tmp_path / name / "model.safetensors").open("wb") as file:
            file.write(head)
            file.write(np.random.default_rng(0).bytes(1 << 20))
            file.truncate(len(head) + count * size)
        (tmp_path / name / "config.json").write_text('{"model_type": "qwen2"}')
    done = run_python(MEMORY, *(tmp_path / name for name in "abc"))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * 1024, "KiB"
