"""A checkpoint in a local folder."""

from __future__ import annotations

import json
from contextlib import ExitStack
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from surgery.checkpoint.folder import check_same_json, find_shards, read_json
from surgery.checkpoint.source import CheckpointInfo, Closing, TensorHeader
from surgery.checkpoint.weights import WeightFile
from surgery.errors import CheckpointError, did_you_mean
from surgery.reading import is_folder
from surgery.text import first_names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from surgery.checkpoint.folder import Shards

# The last part of a tensor's name in GPTQ, AWQ, bitsandbytes, compressed-tensors and fp8 files.
_QUANTISED_LEAVES = frozenset(
    {
        "qweight",
        "qzeros",
        "g_idx",
        "absmax",
        "nested_absmax",
        "quant_map",
        "nested_quant_map",
        "SCB",
        "weight_format",
        "weight_packed",
        "weight_scale",
        "weight_scale_inv",
        "weight_scale_2",
        "weight_zero_point",
    }
)
_CONFIG = ("config.json", "a model's configuration")
_DEQUANTISE = (
    "Quantised weights cannot be merged; use the full-precision model, or dequantise it first "
    "(`model.dequantize()` in transformers, then `save_pretrained`)."
)


class LocalCheckpoint(Closing):
    """An open checkpoint folder: headers now, bytes on demand.

    Args:
        folder: The folder with `config.json` and the safetensors files.
        reference: What the user wrote; the folder when absent.
        revision: The commit the folder is a snapshot of, for a Hub reference.
        weights: Where the safetensors files stand, if not in the folder.

    Raises:
        CheckpointError: If the folder does not hold one whole, unquantised safetensors model.
    """

    def __init__(
        self,
        folder: Path,
        reference: str | None = None,
        revision: str | None = None,
        weights: Path | None = None,
    ) -> None:
        _check_folder(folder)
        config = read_json(folder, *_CONFIG)
        _refuse_quantised_config(config, folder)
        shards = find_shards(folder, weights)
        with ExitStack() as undo:
            files = {s: undo.enter_context(WeightFile(weights or folder, s)) for s in shards.names}
            tensors = _collect(files, shards, folder)
            self._files = files
            self._open = undo.pop_all()
        self._info = CheckpointInfo(
            reference=str(folder) if reference is None else reference,
            revision=revision,
            folder=folder,
            config=config,
            tensors=tensors,
            shards=shards.names,
            metadata={shard: file.metadata for shard, file in files.items()},
            fingerprint=fingerprint(config, tensors, {s: f.size for s, f in files.items()}),
        )

    @property
    def info(self) -> CheckpointInfo:
        """Headers and configuration."""
        return self._info

    def read_into(self, name: str, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of tensor `name` from byte `start` of the tensor on.

        Raises:
            CheckpointError: If the checkpoint has no such tensor, or its file was truncated.
            ValueError: If the tensor has fewer bytes than are asked for.
        """
        self._files[self._header(name).shard].read_into(name, start, buffer)

    def raw_header(self, shard: str) -> bytes:
        """Return the bytes before the first tensor of a weight file: length, JSON and padding.

        Raises:
            CheckpointError: If they cannot be read.
        """
        return self._files[shard].raw_header()

    def file_range(self, name: str) -> tuple[int, int] | None:
        """File descriptor and absolute offset of a tensor's bytes.

        The descriptor stays this checkpoint's own; it is valid until `close`.

        Raises:
            CheckpointError: If the checkpoint has no such tensor.
        """
        header = self._header(name)
        return self._files[header.shard].descriptor, header.offset

    def ensure_local(self, name: str) -> None:
        """Nothing: the bytes are here."""

    def fetch_cost(self, names: Collection[str]) -> None:
        """None: the bytes are here."""

    def prefetch(self, names: Collection[str]) -> None:
        """Make every later change of these tensors visible in their files' times."""
        for shard in {self._header(name).shard for name in names}:
            self._files[shard].settle()

    def cancel(self) -> None:
        """Nothing: the bytes are here."""

    @property
    def fetched(self) -> int:
        """None: the bytes are here."""
        return 0

    def check_unchanged(self) -> None:
        """Check that configuration and weight files are what they were when it was opened.

        Raises:
            CheckpointError: If one was written to, replaced, moved or removed.
        """
        self.check_configuration()
        for file in self._files.values():
            file.check_unchanged()

    def check_configuration(self) -> None:
        """Check that the configuration is what it was when it was opened.

        Raises:
            CheckpointError: If it is not.
        """
        check_same_json(self._info.folder, *_CONFIG, self._info.config)

    def stamp(self) -> str:
        """Text that changes when one of the weight files does."""
        return " ".join(file.stamp() for file in self._files.values())

    def _header(self, name: str) -> TensorHeader:
        try:
            return self._info.tensors[name]
        except KeyError:
            raise CheckpointError(
                f"{self._info.reference}: has no tensor {name!r}.{_near(name, self._info.tensors)}"
            ) from None

    def close(self) -> None:
        """Release the files."""
        self._open.close()


def fingerprint(
    config: Mapping[str, Any], tensors: Mapping[str, TensorHeader], sizes: Mapping[str, int]
) -> str:
    """Hash what can be known of a checkpoint without reading a weight.

    Args:
        config: The parsed `config.json`.
        tensors: Headers by name.
        sizes: Bytes of every weight file.

    Returns:
        sha256 in hex over the canonical configuration, the sorted headers and the file sizes.
    """
    rows = sorted((t.name, str(t.dtype), list(t.shape)) for t in tensors.values())
    text = json.dumps([config, rows, sizes], sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def _near(name: str, tensors: Mapping[str, TensorHeader]) -> str:
    # All names would fill the screen; only a near one helps.
    suggestion = did_you_mean(name, tensors)
    return suggestion if suggestion.startswith(" Did") else ""


def _check_folder(folder: Path) -> None:
    if is_folder(folder):
        if (folder / "config.json").exists():
            return
        if (folder / "adapter_config.json").exists():
            raise CheckpointError(
                f"{folder}: found a PEFT adapter, not a whole model. Name it together with its "
                f"base: {{base: ORG/MODEL, adapter: {folder}}}."
            )
        inner = sorted(path.parent.name for path in folder.glob("*/config.json"))
        more = f" Did you mean {str(folder / inner[-1])!r}?" if inner else ""
        raise CheckpointError(
            f"{folder}: found no config.json; expected a folder as save_pretrained writes it.{more}"
        )
    if folder.exists():
        raise CheckpointError(
            f"{folder}: is a file; expected a folder with config.json. "
            f"Did you mean {str(folder.parent)!r}?"
        )
    parent = folder.parent
    folders = [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    near = did_you_mean(folder.name, folders) if len(folders) <= 12 or not folders else ""
    raise CheckpointError(f"{folder}: no such folder.{near}")


def _refuse_quantised_config(config: Mapping[str, Any], folder: Path) -> None:
    parts = {"": config} | {k: v for k, v in config.items() if isinstance(v, dict)}
    for part, values in parts.items():
        quantization = values.get("quantization_config") or values.get("quantization")
        if quantization and part not in ("quantization_config", "quantization"):
            method = (
                quantization.get("quant_method", "quantised")
                if isinstance(quantization, dict)
                else quantization
            )
            prefix = f"{part}." if part else ""
            raise CheckpointError(
                f"{folder / 'config.json'}: {prefix}quantization_config says {method!r}. "
                f"{_DEQUANTISE}"
            )


def _collect(
    files: Mapping[str, WeightFile], shards: Shards, folder: Path
) -> dict[str, TensorHeader]:
    """All tensors of all shards by name, checked against the index."""
    tensors: dict[str, TensorHeader] = {}
    for shard, file in files.items():
        for tensor in file.tensors.values():
            if tensor.name in tensors:
                raise CheckpointError(
                    f"{folder}: tensor {tensor.name!r} is in both {tensors[tensor.name].shard} "
                    f"and {shard}; expected every tensor once. Save the model again."
                )
            leaf = tensor.name.rpartition(".")[2]
            if leaf in _QUANTISED_LEAVES or ".quant_state." in tensor.name:
                raise CheckpointError(
                    f"{folder / shard}: tensor {tensor.name!r} belongs to a quantised weight. "
                    f"{_DEQUANTISE}"
                )
            tensors[tensor.name] = tensor
    if shards.index is not None:
        _check_index(tensors, shards.index, folder)
    if not tensors:
        raise CheckpointError(f"{folder}: found no tensor in {', '.join(files)}.")
    return tensors


def _check_index(
    tensors: Mapping[str, TensorHeader], index: Mapping[str, str], folder: Path
) -> None:
    missing = [
        name for name, shard in index.items() if name not in tensors or tensors[name].shard != shard
    ]
    extra = [name for name in tensors if name not in index]
    for names, kind in (
        (missing, "are promised by the index but not in the shard it names"),
        (extra, "stand in a shard but not in the index"),
    ):
        if names:
            listing = first_names([repr(name[:100]) for name in names])
            raise CheckpointError(
                f"{folder}: {len(names)} tensors {kind}: {listing}. "
                "Index and shards come from different saves; fetch or save the model again."
            )
