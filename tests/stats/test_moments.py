"""Sums over elements: a float64 oracle, laws, and what rounding alone gives."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.stats.elementwise import measure
from surgery.stats.kernel import BLOCK
from surgery.stats.moments import PairMoments, UpdateMoments
from surgery.stats.read import TensorView
from tests.stats.stored import numbers, pair_metrics, save, update_metrics

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
WAYS = {
    "chain": ((0, 1), (1, 2)),
    "fork": ((0, 1), (0, 2)),
    "join": ((0, 2), (1, 2)),
    "back": ((1, 0), (2, 1)),
    "from the last": ((2, 0), (0, 1)),
}


@pytest.fixture
def views(tmp_path):
    """Store tensors, one checkpoint each, and view them; closed at the end."""
    opened = []

    def make(*tensors):
        for tensor in tensors:
            opened.append(save(tmp_path / str(len(opened)), {"w": tensor}))
        return [TensorView(checkpoint, "w") for checkpoint in opened[-len(tensors) :]]

    yield make
    for checkpoint in opened:
        checkpoint.close()


def three(count, dtypes=(torch.float32,) * 3, seed=0, scale=0.02):
    """Weights and two sparse updates of them, as stored."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, generator=draw, dtype=torch.float64) * scale
    tensors = [x]
    for size in (0.3, 0.1):
        step = torch.randn(count, generator=draw, dtype=torch.float64) * scale * size
        step *= torch.rand(count, generator=draw) < 0.4
        tensors.append(tensors[-1] + step)
    return [t.to(d) for t, d in zip(tensors, dtypes, strict=True)]


def agree(result, expected, rel=2e-6):
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        # A cosine near 0 is a difference of sums, each with float32's digits.
        slack = {"mean_delta": 1e-9, "cosine": 1e-7}.get(name, 1e-12)
        assert result[name] == pytest.approx(value, rel=rel, abs=slack, nan_ok=True), name


@pytest.mark.parametrize("count", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 30_011])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_measure_of_a_pair_matches_float64(views, dtype, count):
    x, y, _ = three(count, (dtype,) * 3, seed=3)
    if count <= 2:
        y = x * 1.5
    (result,), update = measure(views(x, y), [(0, 1)])
    metrics, expected = result.metrics(), pair_metrics(x, y)
    if count <= 2:  # angle and deviation are all but zero: differences of equal numbers
        assert metrics.pop("angle") == pytest.approx(expected.pop("angle"), abs=0.05)
        slack = 1e-3 * abs(expected["mean_delta"])
        assert metrics.pop("std_delta") == pytest.approx(expected.pop("std_delta"), abs=slack)
    agree(metrics, expected)
    assert update is None
    assert result.numel == count
    json.dumps(asdict(result), allow_nan=False)


@pytest.mark.parametrize(
    ("first", "second", "way"),
    [(a, b, "fork") for a in DTYPES for b in DTYPES]
    + [(a, torch.bfloat16, way) for a in (torch.bfloat16, torch.float64) for way in WAYS],
)
def test_three_tensors_of_any_types_in_any_order(views, first, second, way):
    tensors = three(5001, (first, second, first), seed=5)
    pairs = [*WAYS[way], (0, 2)]
    result, update = measure(views(*tensors), pairs, compare=(0, 1))
    for (i, j), moments in zip(pairs, result, strict=True):
        agree(moments.metrics(), pair_metrics(tensors[i], tensors[j]))
    deltas = [numbers(tensors[j]) - numbers(tensors[i]) for i, j in WAYS[way]]
    (a, b), (c, d) = WAYS[way]
    (shared,) = {a, b} & {c, d}
    sign = -1 if (b == shared) == (c == shared) else 1  # at the end of one, the start of the other
    agree(update.metrics(), update_metrics(*deltas, numbers(tensors[shared]), sign))
    json.dumps(asdict(update), allow_nan=False)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.int8, torch.bool])
def test_whole_numbers(views, dtype):
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randint(0, 90, (5000,), generator=draw).to(dtype) for _ in range(2))
    (result,), _ = measure(views(x, y), [(0, 1)])
    agree(result.metrics(), pair_metrics(x, y))


def test_a_cut_stack_and_a_scalar(views):
    stack = [t.reshape(3, 5, 20) for t in three(300)]
    whole = views(*stack)
    for expert in range(3):
        (result,), _ = measure([v.part(expert) for v in whole[:2]], [(0, 1)])
        agree(result.metrics(), pair_metrics(stack[0][expert], stack[1][expert]))
    x, y = torch.tensor(3.0), torch.tensor(4.0)
    (result,), _ = measure(views(x, y), [(0, 1)])
    agree(result.metrics(), pair_metrics(x, y))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_changed(views, dtype):
    x = three(5000, (dtype,) * 3)[0]
    result, update = measure(views(x, x, x), [(0, 1), (1, 2)], (0, 1))
    metrics = result[0].metrics()
    for name in ("delta_norm", "relative_delta", "angle", "max_abs_delta", "mean_delta",
                 "std_delta", "changed", "changed_1e5", "changed_bf16"):  # fmt: skip
        assert metrics[name] == 0
    assert metrics["cosine"] == 1
    assert metrics["rounding_ratio"] == 0
    result = update.metrics()
    for name in ("cosine", "sign_agreement", "overlap", "overlap_ratio", "overlap_chance"):
        assert math.isnan(result[name]), name
    assert result["changed_both"] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_and_to_zero(views, dtype):
    x = three(5000, (dtype,) * 3)[0]
    zero = torch.zeros_like(x)
    zero[::2] *= -1  # minus zero is zero
    result, _ = measure(views(x, zero), [(0, 1), (1, 0)])
    removed, output = (moments.metrics() for moments in result)
    assert removed["relative_delta"] == pytest.approx(1, rel=1e-12)
    assert output["relative_delta"] == math.inf
    assert removed["norm_after"] == output["norm_before"] == 0
    assert removed["norm_before"] == pytest.approx(np.linalg.norm(numbers(x)), rel=2e-6)
    assert math.isnan(removed["cosine"])
    assert math.isnan(output["angle"])
    (nothing,), _ = measure(views(zero, zero), [(0, 1)])
    assert math.isnan(nothing.metrics()["relative_delta"])
    assert math.isnan(nothing.metrics()["rounding_ratio"])


def test_empty(views):
    x = torch.zeros(0, 4)
    result, update = measure(views(x, x, x), [(0, 1), (1, 2)], (0, 1))
    assert result == [PairMoments(), PairMoments()]
    assert update == UpdateMoments()
    assert math.isnan(result[0].metrics()["mean_delta"])
    assert math.isnan(update.metrics()["cosine_chance"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_spoils_only_its_own_pairs(views, dtype, bad, value):
    tensors = three(20_000, (dtype,) * 3, seed=8)
    tensors[bad][[5, 17, 9000]] = value
    pairs = [(0, 1), (1, 2), (0, 2)]
    result, update = measure(views(*tensors), pairs, (0, 1))
    for (i, j), moments in zip(pairs, result, strict=True):
        metrics = moments.metrics()
        assert metrics["nonfinite_before"] == (3 if i == bad else 0)
        assert metrics["nonfinite_after"] == (3 if j == bad else 0)
        assert moments.finite == (bad not in (i, j))
        json.dumps(asdict(moments), allow_nan=False)
        if moments.finite:
            agree(metrics, pair_metrics(tensors[i], tensors[j]))
        else:
            assert all(math.isnan(v) for k, v in metrics.items() if "nonfinite" not in k)
    assert update.nonfinite == 3
    assert not update.finite
    assert all(map(math.isnan, update.metrics().values()))
    good = torch.isfinite(tensors[bad])
    rest = measure(views(*[t[good] for t in tensors]), pairs, (0, 1))[1]
    assert update.dot == pytest.approx(rest.dot, rel=1e-5)
    assert update.agreeing == rest.agreeing


@pytest.mark.parametrize("scale", [1e-40, 1e-39, 1e-30, 1e-22, 1e-16, 1e10, 1e25, 1e37])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_tiny_and_huge_numbers(views, dtype, scale):
    tensors = three(10_000, (dtype,) * 3, scale=scale, seed=2)
    pairs = [(0, 1), (1, 2), (0, 2)]
    result, update = measure(views(*tensors), pairs, (0, 1))
    for (i, j), moments in zip(pairs, result, strict=True):
        expected = pair_metrics(tensors[i], tensors[j])
        metrics = moments.metrics()
        for name, value in expected.items():
            slack = 1e-5 * expected["std_delta"] if name == "mean_delta" else 0
            assert metrics[name] == pytest.approx(value, rel=2e-6, abs=slack), name
    x, y, z = map(numbers, tensors)
    agree(update.metrics(), update_metrics(y - x, z - y, y))


def test_signs_of_tiny_changes_among_large_ones(views):
    x, y, z = three(8192, (torch.bfloat16,) * 3)
    x[::3], y[::3], z[::3] = 1e-30, 2e-30, 3e-30  # the product of the changes is 0 in float32
    _, update = measure(views(x, y, z), [(0, 1), (1, 2)], (0, 1))
    item, two = numbers(y) - numbers(x), numbers(z) - numbers(y)
    agree(update.metrics(), update_metrics(item, two, numbers(y)))


@pytest.mark.parametrize("relative", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_angle_of_nearly_equal_tensors(views, dtype, relative):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(50_000, generator=draw, dtype=torch.float64)
    y = x + relative * torch.randn(50_000, generator=draw, dtype=torch.float64)
    x, y = x.to(dtype), y.to(dtype)
    (result,), _ = measure(views(x, y), [(0, 1)])
    expected = pair_metrics(x, y)
    assert expected["angle"] > 0
    assert result.metrics()["angle"] == pytest.approx(expected["angle"], rel=1e-4)
    # Sums of float32 tensors are made in float32 lanes, as many as the processor has; a cosine
    # near 1 is told to half a unit in the last place of 1.
    versed = 2 * math.sin(math.radians(expected["angle"]) / 2) ** 2
    assert 1 - result.metrics()["cosine"] == pytest.approx(versed, rel=2e-6, abs=2e-16)


def test_opposite_and_orthogonal(views):
    x = torch.zeros(6000)
    y = torch.zeros(6000)
    x[:3000], y[3000:] = 2.0, 2.0
    result, _ = measure(views(x, y, -x), [(0, 1), (0, 2)])
    assert result[0].metrics()["angle"] == pytest.approx(90, abs=1e-4)
    assert result[0].metrics()["cosine"] == pytest.approx(0, abs=1e-6)
    assert result[1].metrics()["angle"] == pytest.approx(180, abs=0.05)
    assert result[1].metrics()["cosine"] == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_rounding_norm_is_what_rounding_gives(views, dtype):
    """Training starts from stored weights and moves them by a few spacings; the end is rounded."""
    draw = torch.Generator().manual_seed(4)
    start = torch.randn(400_000, generator=draw, dtype=torch.float64).bfloat16().double()
    power = torch.exp2(torch.floor(torch.log2(start.abs())))
    end = start + power / 128 * 4 * (torch.rand(400_000, generator=draw).double() - 0.5)
    error = end.bfloat16().double() - end
    (result,), _ = measure(views(start.to(dtype), end.bfloat16().to(dtype)), [(0, 1)])
    assert result.metrics()["rounding_norm"] == pytest.approx(float(error.norm()), rel=5e-3)


@pytest.mark.parametrize(("pairs", "sign"), [([(0, 1), (1, 2)], -1), ([(1, 0), (1, 2)], 1)])
def test_what_rounding_the_shared_tensor_does_to_the_cosine(views, pairs, sign):
    """Two independent updates, the second from unrounded weights; all three stored in bf16."""
    draw = torch.Generator().manual_seed(9)
    x = torch.randn(400_000, generator=draw, dtype=torch.float64)
    power = torch.exp2(torch.floor(torch.log2(x.abs())))
    steps = [
        power / 128 * torch.randn(400_000, generator=draw, dtype=torch.float64) for _ in range(2)
    ]
    y = x + steps[0]
    stored = [t.bfloat16() for t in (x, y, y + steps[1])]
    _, update = measure(views(*stored), pairs, (0, 1))
    result = update.metrics()
    assert result["cosine_rounding"] == pytest.approx(sign * 0.07, abs=0.02)  # clearly not chance
    assert result["cosine"] == pytest.approx(
        result["cosine_rounding"], abs=4 * result["cosine_chance"]
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Three tensors with something infinite, something tiny and a good deal unchanged."""
    root = tmp_path_factory.mktemp("stored")
    output = {}
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        tensors = three(25_000, (dtype,) * 3, seed=11)
        tensors[2][20_000] = math.inf
        for tensor in tensors:
            tensor[8192:13_000] *= 1e-25
        folder = root / str(dtype)
        opened = [save(folder / str(i), {"w": t}) for i, t in enumerate(tensors)]
        output[dtype] = [TensorView(checkpoint, "w") for checkpoint in opened]
    yield output
    for item in output.values():
        for view in item:
            view.checkpoint.close()


def total(views, cuts):
    edges = [0, *sorted(cuts), views[0].numel]
    pairs, update = [PairMoments()] * 3, UpdateMoments()
    for start, stop in pairwise(edges):
        result, more = measure(views, [(0, 1), (1, 2), (2, 0)], (0, 1), start, stop)
        pairs = [a + b for a, b in zip(pairs, result, strict=True)]
        update += more
    return [*pairs, update]


def assert_equal_sums(result, expected, rel):
    for a, b in zip(result, expected, strict=True):
        scale = math.sqrt(sum(v * v for v in asdict(b).values()))
        for name, value in asdict(b).items():
            if isinstance(value, int):
                assert asdict(a)[name] == value, name
            else:
                assert asdict(a)[name] == pytest.approx(value, rel=rel, abs=rel * 1e-3 * scale)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([torch.bfloat16, torch.float32, torch.float64]),
    st.lists(st.integers(0, 25_000), max_size=4),
)
def test_any_cut_gives_the_same_sums(stored, dtype, cuts):
    assert_equal_sums(total(stored[dtype], cuts), total(stored[dtype], []), 3e-6)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([torch.bfloat16, torch.float32]),
    st.lists(st.integers(0, 25_000 // BLOCK).map(lambda n: n * BLOCK), max_size=4),
)
def test_cuts_between_blocks_change_nothing_but_float64(stored, dtype, cuts):
    assert_equal_sums(total(stored[dtype], cuts), total(stored[dtype], []), 1e-13)


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(-60, 60))
def test_order_and_scale_do_not_matter(tmp_path_factory, random, exponent):
    x, y, z = three(6000, seed=random.randint(0, 9999))
    order = torch.randperm(6000, generator=torch.Generator().manual_seed(random.randint(0, 99)))
    root = tmp_path_factory.mktemp("laws")
    results = []
    for name, change in (("a", lambda t: t), ("b", lambda t: t[order] * 2.0**exponent)):
        opened = [save(root / name / str(i), {"w": change(t)}) for i, t in enumerate((x, y, z))]
        results.append(measure([TensorView(o, "w") for o in opened], [(0, 1), (1, 2)], (0, 1)))
        for checkpoint in opened:
            checkpoint.close()
    (plain, update), (moved, update_moved) = results
    agree(update_moved.metrics(), update.metrics(), rel=1e-5)
    factor = 2.0**exponent
    for item, two in zip(plain, moved, strict=True):
        a, b = item.metrics(), two.metrics()
        for name in ("relative_delta", "cosine", "angle", "changed", "changed_bf16",
                     "rounding_ratio"):  # fmt: skip
            assert b[name] == pytest.approx(a[name], rel=1e-5), name
        for name in ("norm_before", "norm_after", "delta_norm", "max_abs_delta", "std_delta"):
            assert b[name] == pytest.approx(a[name] * factor, rel=1e-5), name


def test_the_way_back_is_the_way_there_reversed(views):
    x, y, _ = three(7000)
    result, _ = measure(views(x, y), [(0, 1), (1, 0)])
    assert result[0].reversed().reversed().numel == 7000
    agree(result[1].metrics(), pair_metrics(y, x))
    assert result[1] == result[0].reversed()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_an_update_that_is_taken_back(views, dtype):
    """Sums that follow from others would lose their digits here."""
    x, y, _ = three(20_000, (dtype,) * 3, seed=6)
    nearly = x.clone()
    nearly[::50] *= 1.01
    for tensors in ((x, y, nearly), (x, y * 1e-3, y), (x, y, x * 1e-3), (x, x * 0, nearly)):
        pairs = [(0, 1), (1, 2), (0, 2)]
        result, update = measure(views(*tensors), pairs, (0, 1))
        for (i, j), moments in zip(pairs, result, strict=True):
            if tensors[i].any() and tensors[j].any():
                metrics, expected = moments.metrics(), pair_metrics(tensors[i], tensors[j])
                assert metrics.pop("angle") == pytest.approx(expected.pop("angle"), abs=1e-4)
                agree(metrics, expected, rel=5e-6)
        item, two = (numbers(tensors[k + 1]) - numbers(tensors[k]) for k in (0, 1))
        agree(update.metrics(), update_metrics(item, two, numbers(tensors[1])), rel=5e-6)
    (_, _, back), _ = measure(views(x, y, x), [(0, 1), (1, 2), (0, 2)], (0, 1))
    assert (back.delta_squares, back.before_dot_delta, back.delta_sum) == (0, 0, 0)
    assert back.metrics()["angle"] == 0


def test_refusals(views):
    x, y, z = views(*three(10))
    with pytest.raises(ValueError, match="one tensor in common"):
        measure([x, y, z], [(0, 1), (1, 0)], (0, 1))
    (short,) = views(torch.zeros(9))
    with pytest.raises(ValueError, match=r"w: shapes differ: \[10\], \[9\]"):
        measure([x, short], [(0, 1)])
    assert measure([x], []) == ([], None)


def test_a_random_delta_has_the_angle_of_chance():
    """Against simulation, not against its own formula."""
    draw = np.random.default_rng(0)
    weights = draw.normal(size=1_000_000)
    for relative in (1e-3, 0.1, 2.0):
        delta = draw.normal(size=weights.size)
        delta *= relative * np.linalg.norm(weights) / np.linalg.norm(delta)
        after = weights + delta
        cosine = weights @ after / np.linalg.norm(weights) / np.linalg.norm(after)
        moments = PairMoments(
            numel=weights.size,
            before_squares=float(weights @ weights),
            after_squares=float(after @ after),
            delta_squares=float(delta @ delta),
            before_dot_delta=float(weights @ delta),
        )
        metrics = moments.metrics()
        assert metrics["cosine"] == pytest.approx(cosine)
        assert metrics["angle"] == pytest.approx(metrics["random_angle"], rel=5e-3)
