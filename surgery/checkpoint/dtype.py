"""Element types as safetensors writes them."""

from __future__ import annotations

from enum import StrEnum

from surgery.errors import CheckpointError, did_you_mean


class DType(StrEnum):
    """A safetensors element type code."""

    F64 = "F64"
    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"
    I64 = "I64"
    I32 = "I32"
    I16 = "I16"
    I8 = "I8"
    U8 = "U8"
    BOOL = "BOOL"

    @property
    def size(self) -> int:
        """Bytes per element."""
        return _SIZE[self]

    @property
    def is_floating(self) -> bool:
        """True if arithmetic is defined for this element type."""
        return self in _TORCH_FLOATS.values()

    @property
    def torch_name(self) -> str:
        """The attribute of `torch` with this element type, for example `bfloat16`."""
        return _TORCH[self]

    @classmethod
    def from_torch_name(cls, name: str) -> DType:
        """Return the floating type called `name` in torch and in configurations.

        Raises:
            CheckpointError: If it is not a floating type that a model can be stored in.
        """
        if name not in _TORCH_FLOATS:
            raise CheckpointError(
                f"dtype {name!r} is not one a model can be stored in."
                f"{did_you_mean(name, _TORCH_FLOATS)}"
            )
        return _TORCH_FLOATS[name]


_TORCH_FLOATS = {
    "bfloat16": DType.BF16,
    "float16": DType.F16,
    "float32": DType.F32,
    "float64": DType.F64,
}
_TORCH = {dtype: name for name, dtype in _TORCH_FLOATS.items()} | {
    DType.I64: "int64",
    DType.I32: "int32",
    DType.I16: "int16",
    DType.I8: "int8",
    DType.U8: "uint8",
    DType.BOOL: "bool",
}
_SIZE = {
    DType.F64: 8,
    DType.F32: 4,
    DType.F16: 2,
    DType.BF16: 2,
    DType.I64: 8,
    DType.I32: 4,
    DType.I16: 2,
    DType.I8: 1,
    DType.U8: 1,
    DType.BOOL: 1,
}
