"""The safetensors header, read without trusting it.

A safetensors file is eight bytes of little-endian length, that many bytes of JSON, and the tensors'
bytes (https://github.com/huggingface/safetensors#format). This parser accepts what the reference
implementation accepts and the toolkit can work with, and says of everything else what is wrong.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from surgery.checkpoint.dtype import DType
from surgery.checkpoint.source import TensorHeader
from surgery.errors import CheckpointError, did_you_mean
from surgery.text import abbreviate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_HEADER = 100_000_000
"""Largest header in bytes; the limit of the reference implementation."""

_PREFIX = 8
_UINT64 = 2**64 - 1
_FIELDS = frozenset({"dtype", "shape", "data_offsets"})
_DTYPES = {str(dtype): dtype for dtype in DType}
_SIZES = {dtype: dtype.size for dtype in DType}
_Span = tuple[int, int, TensorHeader]
_PACKED = frozenset(
    {
        "F8_E4M3",
        "F8_E5M2",
        "F8_E8M0",
        "F8_E4M3FNUZ",
        "F8_E5M2FNUZ",
        "F6_E2M3",
        "F6_E3M2",
        "F4",
    }
)
_UNUSED = frozenset({"U16", "U32", "U64", "C64"})


@dataclass(frozen=True)
class ShardHeader:
    """The header of one safetensors file.

    Attributes:
        tensors: Its tensors, in the order of their bytes.
        metadata: The file's `__metadata__`.
        size: Length of the whole file in bytes.
    """

    tensors: tuple[TensorHeader, ...]
    metadata: Mapping[str, str]
    size: int


def read_header(descriptor: int, path: Path, shard: str | None = None) -> ShardHeader:
    """Parse and check the header of an open safetensors file.

    Nothing but the header is read, and nothing is allocated that the file is not long enough for.

    Args:
        descriptor: The open file; its position is not used.
        path: The file's path, for messages.
        shard: The file's name inside its checkpoint; the last part of `path` when absent.

    Returns:
        Its tensors with absolute offsets, and its metadata.

    Raises:
        CheckpointError: If the file is not a whole, well-formed safetensors file, or holds element
            types that weights cannot be worked with in.
    """
    size = os.fstat(descriptor).st_size
    length = _header_length(descriptor, path, size)
    text = _read_exactly(descriptor, path, _PREFIX, length)
    entries = _decode(text, path)
    metadata = _metadata(entries.pop("__metadata__", None), path)
    data = _PREFIX + length
    name = path.name if shard is None else shard
    spans = [_entry(key, entry, name, data, path) for key, entry in entries.items()]
    spans.sort(key=lambda span: span[:2])
    _check_contiguous(spans, data, size, path)
    return ShardHeader(tuple(tensor for _, _, tensor in spans), metadata, size)


def _refuse(path: Path, message: str) -> NoReturn:
    raise CheckpointError(f"{path}: {message}")


def _short(value: object) -> str:
    """Return a value abbreviated for an error message; a hostile header may be very long."""
    return abbreviate(repr(value[:100] if isinstance(value, str | list) else value), 100)


def _header_length(descriptor: int, path: Path, size: int) -> int:
    if size < _PREFIX + 2:
        _refuse(
            path,
            f"found {size} bytes, too few for a safetensors file (at least {_PREFIX + 2}). "
            "The file is truncated or was never fetched; download or copy it again.",
        )
    prefix = _read_exactly(descriptor, path, 0, _PREFIX + 1)
    length = int.from_bytes(prefix[:_PREFIX], "little")
    if prefix.startswith(b"version "):
        _refuse(
            path,
            "found a git-lfs pointer, not the weights it stands for. Fetch them with "
            "`git lfs pull`, or name the model by its Hub id.",
        )
    if prefix.startswith((b"PK\x03\x04", b"\x80")) and length > size:
        _refuse(
            path,
            "found a pickle or zip file, not safetensors; pickles are never opened because they "
            "can run code. Save the model again with `model.save_pretrained(folder)`.",
        )
    if length > MAX_HEADER:
        _refuse(
            path,
            f"the header claims {length:,} bytes; expected at most {MAX_HEADER:,}. "
            "This is not a safetensors file, or its first bytes are damaged.",
        )
    if _PREFIX + length > size:
        _refuse(
            path,
            f"the header claims {length:,} bytes, but the file has only {size:,}. "
            "The file is truncated; download or copy it again.",
        )
    if length < 2 or prefix[_PREFIX:] != b"{":
        _refuse(path, f"the header starts with {prefix[_PREFIX:]!r}; expected a JSON object, '{{'.")
    return length


def _read_exactly(descriptor: int, path: Path, offset: int, count: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < count:
        try:
            piece = os.pread(descriptor, count - len(pieces), offset + len(pieces))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}.") from error
        if not piece:
            _refuse(path, f"ended at byte {offset + len(pieces)} while its header was being read.")
        pieces += piece
    return bytes(pieces)


def _decode(text: bytes, path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            _refuse(path, f"the header names {_short(twice)} twice; expected every name once.")
        return fields

    try:
        entries = json.loads(
            text.decode("utf-8"), object_pairs_hook=unique, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        _refuse(path, f"the header is not UTF-8 (byte {_PREFIX + error.start}).")
    except RecursionError:
        _refuse(path, "the header nests too deeply; expected one object of tensors.")
    except ValueError as error:
        _refuse(path, f"the header is not valid JSON: {error}.")
    if not isinstance(entries, dict):
        _refuse(path, f"the header is a {type(entries).__name__}; expected an object of tensors.")
    return entries


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"found {word}, which JSON does not have")


def _metadata(result: object, path: Path) -> dict[str, str]:
    if result is None:
        return {}
    if not isinstance(result, dict):
        _refuse(path, "the header's __metadata__ must be an object of strings.")
    for key, value in result.items():
        if not isinstance(value, str):
            _refuse(
                path,
                f"__metadata__ {_short(key)} is not a string; safetensors allows only strings.",
            )
        if not (_is_unicode(key) and _is_unicode(value)):
            _refuse(
                path, f"__metadata__ {_short(key)} holds half a surrogate pair; expected Unicode."
            )
    return result


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _entry(name: str, entry: object, shard: str, data: int, path: Path) -> _Span:
    if not name or not name.isprintable():
        _refuse(path, f"the tensor name {_short(name)} is empty or holds control characters.")
    if type(entry) is not dict or entry.keys() != _FIELDS:
        description = _short(sorted(entry)) if isinstance(entry, dict) else type(entry).__name__
        _refuse(
            path, f"tensor {_short(name)} has fields {description}; expected {sorted(_FIELDS)}."
        )
    dtype = _DTYPES.get(entry["dtype"]) if type(entry["dtype"]) is str else None
    if dtype is None:
        _refuse_dtype(entry["dtype"], name, path)
    shape, numel = _shape(entry["shape"], name, path)
    begin, end = _offsets(entry["data_offsets"], name, path)
    if end - begin != numel * _SIZES[dtype]:
        _refuse(
            path,
            f"tensor {_short(name)} holds {end - begin} bytes; expected {numel * dtype.size} for "
            f"{dtype} of shape {_short(list(shape))}.",
        )
    return data + begin, data + end, TensorHeader(name, dtype, shape, shard, data + begin)


def _refuse_dtype(value: object, name: str, path: Path) -> NoReturn:
    if isinstance(value, str) and value in _PACKED:
        _refuse(
            path,
            f"tensor {_short(name)} is quantised ({value}). Quantised weights cannot be "
            "merged; use the full-precision model, or dequantise it first (`model.dequantize()` in "
            "transformers, then `save_pretrained`).",
        )
    if isinstance(value, str) and value in _UNUSED:
        _refuse(
            path,
            f"tensor {_short(name)} has element type {value}, which holds no weights by "
            "itself (often packed, quantized weights). Use the full-precision model.",
        )
    near = did_you_mean(value[:20], _DTYPES) if isinstance(value, str) else ""
    _refuse(path, f"tensor {_short(name)} has unknown dtype {_short(value)}.{near}")


def _shape(value: object, name: str, path: Path) -> tuple[tuple[int, ...], int]:
    """Return the shape and its number of elements."""
    lengths = value if type(value) is list else [None]
    numel = 1
    for length in lengths:
        # bool is an int to isinstance, and a huge header makes every call count.
        if type(length) is not int or not 0 <= length <= _UINT64:
            _refuse(
                path,
                f"tensor {_short(name)} has shape {_short(value)}; expected lengths >= 0.",
            )
        numel *= length
        # Stop before the product grows: a header can name thousands of huge axes.
        if numel > _UINT64:
            _refuse(path, f"tensor {_short(name)} of shape {_short(value)} is too large to exist.")
    return tuple(lengths), numel


def _offsets(value: object, name: str, path: Path) -> tuple[int, int]:
    if type(value) is list and len(value) == 2:
        begin, end = value
        if type(begin) is int and type(end) is int and 0 <= begin <= end <= _UINT64:
            return begin, end
    _refuse(
        path,
        f"tensor {_short(name)} has data_offsets {_short(value)}; expected [begin, end] with "
        "0 <= begin <= end.",
    )


def _check_contiguous(spans: list[_Span], data: int, size: int, path: Path) -> None:
    """Refuse gaps, overlaps, truncation and trailing bytes."""
    end = data
    for index, (begin, stop, tensor) in enumerate(spans):
        if begin != end:
            kind = "overlaps" if begin < end else "leaves a gap after"
            before = _short(spans[index - 1][2].name) if index else "the header"
            _refuse(
                path,
                f"tensor {_short(tensor.name)} {kind} {before}: it begins at byte {begin}, "
                f"expected {end}.",
            )
        end = stop
    if end > size:
        _refuse(
            path,
            f"the file has {size:,} bytes, but its header describes {end:,}. "
            "The file is truncated; download or copy it again.",
        )
    if end < size:
        _refuse(
            path,
            f"{size - end:,} bytes follow the last tensor; expected none. "
            "The file is damaged, or something was appended to it.",
        )
