"""A base with a PEFT LoRA adapter, each changed weight formed when it is read.

For a changed weight, ``W' = W + s B A`` (Hu et al. 2021, arXiv 2106.09685, equation 3) is worked
out in float32 and cast once to the base's element type; with DoRA each row is then rescaled to its
learned magnitude, ``m V / ||V||`` (Liu et al. 2024, arXiv 2402.09353, equation 5).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Any

from surgery.arch import Component, find_family, resolve
from surgery.arch.rules import RuleBook
from surgery.checkpoint import lora
from surgery.checkpoint.adapter_config import CONFIG, parse_config
from surgery.checkpoint.folder import check_same_json, read_json
from surgery.checkpoint.local import fingerprint
from surgery.checkpoint.source import Closing
from surgery.checkpoint.weights import WeightFile
from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from surgery.arch.site import Site
    from surgery.checkpoint.adapter_config import LoraConfig
    from surgery.checkpoint.source import (
        AdapterReference,
        Checkpoint,
        CheckpointInfo,
        Fetch,
        TensorHeader,
    )

# Rows are always formed in the same blocks: how a weight is read must not decide its bits.
_BLOCK_ELEMENTS = 4 * 2**20
_CACHED = 2
_CONFIG = (CONFIG, "a PEFT adapter's configuration")
# Parts that library versions put before, between or around the same modules.
_WRAPPERS = frozenset({"model", "language_model"})
_SINGLE_EXPERT = re.compile(r"\.experts\.\d+\.")
_UNTIE = (
    "Untie the base first: load it with tie_word_embeddings=False, give lm_head the embedding's "
    "weights, `save_pretrained`, and name that folder as the adapter's base."
)


@dataclass(frozen=True)
class _Product:
    factors: lora.Factors
    scaling: float
    transposed: bool


class AdapterCheckpoint(Closing):
    """A base checkpoint seen through a LoRA adapter. Closing it closes the base.

    Args:
        base: The open base.
        folder: The adapter's folder.
        reference: What the user wrote.
        revision: The commit the adapter's folder is a snapshot of, for a Hub reference.

    Raises:
        CheckpointError: If the adapter is damaged, of a kind that cannot be merged, or of another
            base.
    """

    def __init__(
        self,
        base: Checkpoint,
        folder: Path,
        reference: AdapterReference,
        revision: str | None = None,
    ) -> None:
        config = read_json(folder, *_CONFIG)
        self._base = base
        self._folder, self._config = folder, config
        self._lock = Lock()
        self._cached: OrderedDict[tuple[str, int], Any] = OrderedDict()
        path = folder / lora.WEIGHTS
        with ExitStack() as undo:
            self._file = undo.enter_context(_open_weights(folder))
            self._products, self._whole = _match(
                parse_config(config, folder / CONFIG),
                self._file.tensors,
                base.info,
                path,
            )
            undo.pop_all()
        self._info = replace(
            base.info,
            reference=str(reference),
            revision=_revisions(base.info.revision, revision),
            fingerprint=_fingerprint(base.info.fingerprint, config, self._file),
            formed=base.info.formed | self._products.keys() | self._whole.keys(),
            adapter=folder,
        )

    @property
    def info(self) -> CheckpointInfo:
        """The base's headers and configuration; `formed` names what the adapter changes."""
        return self._info

    def file_range(self, name: str) -> tuple[int, int] | None:
        """Return the base's descriptor and offset of a tensor that the adapter does not change."""
        return None if name in self._info.formed else self._base.file_range(name)

    def read_into(self, name: str, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with bytes of tensor `name`, formed where the adapter changes it.

        Raises:
            CheckpointError: If a file is shorter than its header says.
            ValueError: If the tensor has fewer bytes than are asked for.
        """
        if name not in self._products and name not in self._whole:
            self._base.read_into(name, start, buffer)
            return
        header = self._info.tensors[name]
        view = buffer.cast("B")
        if start < 0 or start + len(view) > header.nbytes:
            raise ValueError(f"bytes {start}..{start + len(view)} of {name}: has {header.nbytes}")
        row = header.nbytes // header.shape[0] if header.shape and header.shape[0] else 1
        block = max(1, _BLOCK_ELEMENTS * header.dtype.size // max(row, 1)) * row
        done = 0
        while done < len(view):
            number, inside = divmod(start + done, block)
            formed = self._block(name, number, block, header)
            piece = formed[inside : inside + len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)

    def ensure_local(self, name: str) -> None:
        """Make the base's bytes of a tensor local."""
        self._base.ensure_local(name)

    def fetch_cost(self, names: Collection[str]) -> Fetch | None:
        """Return the cost of fetching these tensors of the base; adapters are always local."""
        return self._base.fetch_cost(names)

    def prefetch(self, names: Collection[str]) -> None:
        """Begin to fetch the base's bytes of these tensors, if they are not here."""
        self._base.prefetch(names)
        self._file.settle()

    def cancel(self) -> None:
        """Cancel fetches of the base."""
        self._base.cancel()

    @property
    def fetched(self) -> int:
        """Bytes of the base that were fetched by range."""
        return self._base.fetched

    def check_unchanged(self) -> None:
        """Check that base and adapter are what they were when they were opened.

        Raises:
            CheckpointError: If a file of either was written to, replaced, moved or removed.
        """
        self._base.check_unchanged()
        check_same_json(self._folder, *_CONFIG, self._config)
        self._file.check_unchanged()

    def stamp(self) -> str:
        """Text that changes when a weight file of the base or of the adapter does."""
        return f"{self._base.stamp()} {self._file.stamp()}"

    def _block(self, name: str, number: int, size: int, header: TensorHeader) -> memoryview:
        """One block of a changed tensor's bytes; the last few are kept."""
        key = (name, number)
        with self._lock:
            if key in self._cached:
                self._cached.move_to_end(key)
                return memoryview(self._cached[key])
        begin, end = number * size, min((number + 1) * size, header.nbytes)
        formed = self._form(name, begin, end, header)
        with self._lock:
            self._cached[key] = formed
            while len(self._cached) > _CACHED:
                self._cached.popitem(last=False)
        return memoryview(formed)

    def _form(self, name: str, begin: int, end: int, header: TensorHeader) -> bytes:
        from surgery.checkpoint import product

        weight = self._original(name, begin, end, header)
        if name not in self._products:
            return product.to_bytes(weight, header.dtype)
        work, factors = self._products[name], self._products[name].factors
        width = header.numel // header.shape[0]
        first = begin // (width * header.dtype.size)
        rows = slice(first, first + weight.numel() // width)
        if work.transposed:
            left = product.load_columns(self._file, factors.a, rows).T
            right = product.load_rows(self._file, factors.b).T
        else:
            left = product.load_rows(self._file, factors.b, rows)
            right = product.load_rows(self._file, factors.a)
            left, right = left.flatten(1), right.flatten(1)
        formed = product.changed(weight.view(-1, width), left, right, work.scaling)
        if factors.magnitude is not None:
            magnitude = product.load_rows(self._file, factors.magnitude).reshape(-1)
            formed = product.rescaled(formed, magnitude[rows])
        return product.to_bytes(formed, header.dtype)

    def _original(self, name: str, begin: int, end: int, header: TensorHeader) -> Any:
        """Elements of what the change starts from, as float32 (or wider): base's or adapter's."""
        from surgery.checkpoint import product

        first, count = begin // header.dtype.size, (end - begin) // header.dtype.size
        if name not in self._whole:
            raw = bytearray(end - begin)
            self._base.read_into(name, begin, memoryview(raw))
            return product.from_bytes(raw, header.dtype)
        saved = self._whole[name]
        dtype = self._file.tensors[saved].dtype
        raw = bytearray(count * dtype.size)
        self._file.read_into(saved, first * dtype.size, memoryview(raw))
        return product.from_bytes(raw, dtype)

    def close(self) -> None:
        """Release the files, the base's too."""
        self._cached.clear()
        self._file.close()
        self._base.close()


def _open_weights(folder: Path) -> WeightFile:
    if not (folder / lora.WEIGHTS).exists() and (folder / "adapter_model.bin").exists():
        raise CheckpointError(
            f"{folder}: found adapter_model.bin, a pickle, which is never opened because it can "
            "run code. Convert it to safetensors on a machine you trust: load it with PEFT and "
            "`model.save_pretrained(folder)`."
        )
    return WeightFile(folder, lora.WEIGHTS)


def _match(
    config: LoraConfig,
    adapter: Mapping[str, TensorHeader],
    base: CheckpointInfo,
    path: Path,
) -> tuple[dict[str, _Product], dict[str, str]]:
    """Return the base tensors that get a product, and those that the adapter replaces."""
    factors, whole = lora.group(adapter, path)
    names = _Names(base)
    products: dict[str, _Product] = {}
    replaced: dict[str, str] = {}
    missing = []
    for factor in factors:
        weight = f"{factor.module}.weight"
        name = names.find(weight)
        if name is None:
            missing.append(weight)
            continue
        _refuse_twice(name, products, path)
        transposed = lora.check_factors(factor, config, adapter, base.tensors[name], path)
        products[name] = _Product(factor, config.scaling(factor.module), transposed)
    for weight, saved in whole.items():
        name = names.find(weight)
        if name is None:
            missing.append(weight)
            continue
        _refuse_twice(name, replaced, path)
        _check_replacement(adapter[saved], base.tensors[name], path)
        replaced[name] = saved
    if missing:
        raise CheckpointError(
            lora.unmatched(missing, base.tensors, path)
            + _tied(missing, base)
            + _fused_hint(missing, base)
        )
    _check_embedding(products.keys() | replaced.keys(), base, path)
    return products, replaced


def _refuse_twice(name: str, visited: Mapping[str, object], path: Path) -> None:
    if name in visited:
        raise CheckpointError(f"{path}: two of its tensors change the base's {name!r}.")


def _check_replacement(saved: TensorHeader, weight: TensorHeader, path: Path) -> None:
    if saved.shape != weight.shape:
        raise CheckpointError(
            f"{path}: {saved.name!r} is {list(saved.shape)}, but the base's {weight.name!r} is "
            f"{list(weight.shape)}. If the vocabulary was enlarged, merge the adapter with PEFT "
            "first (`merge_and_unload()`) and name the merged folder."
        )
    if saved.dtype != weight.dtype and not (saved.dtype.is_floating and weight.dtype.is_floating):
        raise CheckpointError(
            f"{path}: {saved.name!r} is {saved.dtype}, but the base's is {weight.dtype}. Name the "
            "base that the adapter was trained on."
        )


def _check_embedding(modules: Collection[str], base: CheckpointInfo, path: Path) -> None:
    """Refuse a changed embedding that is the base's output head as well.

    PEFT trains an adapter of one of the two and leaves the other as it was.
    """
    if _has_head(base):
        return
    architecture = resolve(base.config, base.tensors)
    sites = architecture.sites
    embedding = [name for name in modules if sites[name].component is Component.EMBEDDING]
    if embedding and architecture.tied_head:
        raise CheckpointError(
            f"{path}: changes {embedding[0]!r}, which is also the base's output head (they are "
            f"tied). The head that it was trained with has other weights, which have no place in "
            f"the base's files. {_UNTIE}"
        )


def _tied(missing: Iterable[str], base: CheckpointInfo) -> str:
    if _has_head(base) or not any(map(_is_head, missing)):
        return ""
    return (
        " The base has no output head of its own (it is tied to the input embedding), so an "
        f"adapter of the head cannot be put into it. {_UNTIE}"
    )


def _fused_hint(missing: Iterable[str], base: CheckpointInfo) -> str:
    """Say that an adapter of single experts meets a base that stores all of them in one tensor."""
    if not any(map(_SINGLE_EXPERT.search, missing)) or any(
        map(_SINGLE_EXPERT.search, base.tensors)
    ):
        return ""
    return (
        " The adapter changes single experts; the base stores all experts of a layer in one tensor "
        "or has none. Name a base that has one tensor per expert, as most are published."
    )


def _has_head(base: CheckpointInfo) -> bool:
    return any(map(_is_head, base.tensors))


def _is_head(name: str) -> bool:
    return name.split(".")[-2:-1] == ["lm_head"]


class _Names:
    """Finds the base's spelling of a name that another library version may have written."""

    def __init__(self, base: CheckpointInfo) -> None:
        self._exact = base.tensors
        family = find_family(base.config)
        self._book = None if family is None else RuleBook(family.rules)
        self._sites: dict[Site, str] = {}
        self._bare: dict[str, str | None] = {}
        for name in base.tensors:
            match = None if self._book is None else self._book.site(name)
            if match is not None:
                self._sites[match[0]] = name
            bare = _bare(name)
            # Names that differ only in their wrappers are ambiguous without them.
            self._bare[bare] = None if bare in self._bare else name

    def find(self, name: str) -> str | None:
        """Return the base's name of the same tensor, or None."""
        if name in self._exact:
            return name
        match = None if self._book is None else self._book.site(name)
        if match is not None and match[0] in self._sites:
            return self._sites[match[0]]
        return self._bare.get(_bare(name))


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _revisions(base: str | None, adapter: str | None) -> str | None:
    if base is None and adapter is None:
        return None
    return f"{base or 'local'} + {adapter or 'local'}"


def _fingerprint(base: str, config: Mapping[str, Any], file: WeightFile) -> str:
    adapter_hash = fingerprint(config, file.tensors, {lora.WEIGHTS: file.size})
    return sha256(f"{base}+{adapter_hash}".encode()).hexdigest()
