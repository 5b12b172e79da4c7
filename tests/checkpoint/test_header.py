from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from surgery.checkpoint.header import ShardHeader, read_header
from surgery.errors import CheckpointError, SurgeryError
from tests.checkpoint.files import entry, raw, tensors
from tests.waiting import cpu_limit

GOOD = save(tensors(), {"format": "pt"})


def parse(data: bytes, path: Path) -> ShardHeader:
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_header(descriptor, path)
    finally:
        os.close(descriptor)


def agrees(shard_header: ShardHeader, data: bytes) -> bool:
    """Check that the reference implementation finds the same tensors at the same places."""
    reference = {
        name: (t["dtype"], list(t["shape"]), bytes(t["data"]))
        for name, t in safetensors.deserialize(data)
    }
    actual = {
        t.name: (str(t.dtype), list(t.shape), data[t.offset : t.offset + t.nbytes])
        for t in shard_header.tensors
    }
    return actual == reference


def test_reads_what_safetensors_wrote(tmp_path: Path) -> None:
    result = parse(GOOD, tmp_path / "a.safetensors")
    assert agrees(result, GOOD)
    assert result.metadata == {"format": "pt"}
    assert result.size == len(GOOD)
    assert [t.offset for t in result.tensors] == sorted(t.offset for t in result.tensors)


def test_tensors_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    data = raw({"b": entry("U8", [1], 1, 2), "a": entry("U8", [1], 0, 1)}, b"xy")
    assert [t.name for t in parse(data, tmp_path / "a").tensors] == ["a", "b"]


F32 = entry("F32", [2], 0, 8)
REFUSED: list[tuple[bytes, str]] = [
    (b"", "found 0 bytes"),
    (b"\x02\0\0\0\0\0\0\0{", "too few"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "git-lfs pointer"),
    (b"PK\x03\x04" + bytes(100), "pickle or zip"),
    (b"\x80\x02}q\x00X\x05\x00\x00" + bytes(100), "pickle or zip"),
    (raw({}, length=10**12), "claims 1,000,000,000,000 bytes; expected at most"),
    (raw({}, length=500), "the file has only 10"),
    (raw(b"[]"), "expected a JSON object"),
    (raw(b" {}"), "expected a JSON object"),
    (raw(b'{"a": \xff}'), "not UTF-8 (byte 14)"),
    (raw(b'{"a": }'), "not valid JSON"),
    (raw(b'{"a": NaN}'), "found NaN"),
    (raw(b'{"a": ' + b"9" * 5000 + b"}"), "not valid JSON"),
    (raw(b'{"a":' + b"[" * 100_000), "nests too deeply"),
    (raw(b'{"a": 1, "a": 2}'), "names 'a' twice"),
    (raw({"a": 1}), "has fields int"),
    (raw({"a": {**F32, "stride": 1}}, bytes(8)), "has fields ['data_offsets', 'dtype'"),
    (raw({"a\nb": F32}, bytes(8)), "control characters"),
    (raw({"": F32}, bytes(8)), "is empty"),
    (raw({"a\ud800": F32}, bytes(8)), "control characters"),
    (raw({"a": {**F32, "dtype": "F33"}}, bytes(8)), "unknown dtype 'F33'. Did you mean 'F32'?"),
    (raw({"a": {**F32, "dtype": 3}}, bytes(8)), "unknown dtype 3"),
    (raw({"a": entry("F8_E4M3", [8], 0, 8)}, bytes(8)), "is quantised (F8_E4M3)"),
    (raw({"a": entry("F4", [16], 0, 8)}, bytes(8)), "dequantise it first"),
    (raw({"a": entry("U32", [2], 0, 8)}, bytes(8)), "element type U32"),
    (raw({"a": {**F32, "shape": 2}}, bytes(8)), "has shape 2"),
    (raw({"a": {**F32, "shape": [-2]}}, bytes(8)), "has shape [-2]"),
    (raw({"a": {**F32, "shape": [2.0]}}, bytes(8)), "has shape [2.0]"),
    (raw({"a": {**F32, "shape": [True]}}, bytes(8)), "has shape [True]"),
    (raw({"a": {**F32, "shape": [2**40, 2**40]}}, bytes(8)), "too large to exist"),
    (raw({"a": {**F32, "shape": [2**63] * 10_000}}, bytes(8)), "too large to exist"),
    (raw({"a": entry("F32", [3], 0, 8)}, bytes(8)), "holds 8 bytes; expected 12"),
    (raw({"a": entry("F32", [2], 8, 0)}, bytes(8)), "0 <= begin <= end"),
    (raw({"a": entry("F32", [2], -8, 0)}, bytes(8)), "0 <= begin <= end"),
    (raw({"a": {**F32, "data_offsets": [0]}}, bytes(8)), "data_offsets [0]"),
    (raw({"a": F32, "b": entry("F32", [2], 4, 12)}, bytes(12)), "'b' overlaps 'a'"),
    (raw({"a": F32, "b": entry("F32", [2], 9, 17)}, bytes(17)), "'b' leaves a gap after 'a'"),
    (raw({"a": entry("F32", [2], 4, 12)}, bytes(12)), "leaves a gap after the header"),
    (raw({"a": F32}, bytes(7)), "truncated"),
    (raw({"a": F32}, bytes(9)), "1 bytes follow the last tensor"),
    (raw({"__metadata__": 3}), "must be an object of strings"),
    (raw({"__metadata__": {"a": 3}}), "'a' is not a string"),
    (raw({"__metadata__": {"a": "\ud800"}}), "half a surrogate pair"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refuses_with_the_file_and_the_reason(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError) as caught:
        parse(data, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 700


def edit(header: dict[str, Any], draw: random.Random) -> None:
    """Change one thing in a parsed header."""
    name = draw.choice([*header, "__metadata__"])
    header.setdefault(name, {})
    odd = [0, -1, 1, 2**31, 2**63, 2**64, 1.5, True, None, "F16", "x", [], {}, [1], [0, 4], 10**30]
    if name == "__metadata__" or draw.random() < 0.2:
        action = draw.choice(("delete", "replace", "rename"))
        value = header.pop(name)
        if action == "replace":
            header[name] = draw.choice(odd)
        elif action == "rename":
            header[draw.choice(["", "a\0", "é", "x" * 1000, "__metadata__"])] = value
        return
    field = draw.choice(["dtype", "shape", "data_offsets"])
    # An earlier edit may have left something else here.
    if not isinstance(header[name], dict) or field not in header[name]:
        return
    result = header[name][field]
    if isinstance(result, list) and result and draw.random() < 0.7:
        index = draw.randrange(len(result))
        step = draw.choice([-8, -4, -1, 1, 4, 8])
        result[index] = draw.choice(
            [draw.choice(odd), result[index] + step if type(result[index]) is int else 0]
        )
    else:
        header[name][field] = draw.choice(odd)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good file with bytes flipped, cut, inserted, its JSON edited or its length changed."""
    length = int.from_bytes(GOOD[:8], "little")
    rng = random.Random(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["flip", "cut", "grow", "edit", "length", "text"]))
    data = bytearray(GOOD)
    if kind == "flip":
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(8 + length)] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[rng.randrange(len(data)) :]
    elif kind == "grow":
        position = rng.randrange(len(data))
        data[position:position] = rng.randbytes(rng.randint(1, 9))
    elif kind == "length":
        data[:8] = rng.choice([length + 1, length - 1, 0, 1, 2**63, 10**8, len(data) - 8]).to_bytes(
            8, "little"
        )
    elif kind == "text":
        position = 8 + rng.randrange(length)
        data[position : position + 1] = draw(st.text(max_size=3)).encode("utf-8", "surrogatepass")
    else:
        header = json.loads(data[8 : 8 + length])
        for _ in range(rng.randint(1, 3)):
            edit(header, rng)
        return raw(header, bytes(data[8 + length :]))
    return bytes(data)


@given(data=mutated())
@settings(
    max_examples=1000,
    deadline=2000,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_mutated_files_are_refused_or_read_as_safetensors_does(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = parse(data, Path(folder) / "model.safetensors")
        except SurgeryError as error:
            assert str(error).endswith((".", "?", "'."))
        else:
            assert agrees(result, data)


def test_a_header_of_twenty_thousand_tensors_is_quick(tmp_path: Path) -> None:
    header = {
        f"layers.{i}.experts.weight": entry("BF16", [1, 2], 4 * i, 4 * i + 4) for i in range(20_000)
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw(header, bytes(80_000)))
    descriptor = os.open(path, os.O_RDONLY)
    with cpu_limit(5):  # a quarter of a second on an idle machine
        assert len(read_header(descriptor, path).tensors) == 20_000
    os.close(descriptor)


def test_a_claimed_length_is_not_allocated(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((99_000_000).to_bytes(8, "little") + b"{" + b" " * 100)
        file.truncate(200)
    descriptor = os.open(path, os.O_RDONLY)
    with pytest.raises(CheckpointError, match="has only 200"):
        read_header(descriptor, path)
    os.close(descriptor)
