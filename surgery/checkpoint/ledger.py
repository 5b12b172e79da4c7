"""The ledger, `surgery.json`: what every tensor of an output is and where it came from.

It holds no times and no machine's names, so that the same inputs give the same bytes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NoReturn

from surgery.checkpoint.dtype import DType
from surgery.checkpoint.folder import read_json
from surgery.errors import CheckpointError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LEDGER = "surgery.json"
FORMAT = 2
_READABLE = (1, FORMAT)
ENGINES = ("surgery", "mergekit")

_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class ModelEntry:
    """One model of the recipe.

    Attributes:
        reference: As the user wrote it.
        revision: The commit it was resolved to, for a Hub reference.
        fingerprint: Of its configuration and headers.
    """

    reference: str
    revision: str | None
    fingerprint: str


@dataclass(frozen=True)
class InputEntry:
    """One tensor that went into another.

    Attributes:
        model: The model's name in the recipe.
        tensor: The tensor's name there.
    """

    model: str
    tensor: str


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of the output.

    Attributes:
        name: Its name.
        method: How it was made; `copy` for one that is bit-identical to its input.
        parameters: The method's parameters, as JSON can hold them.
        inputs: What it was made from, in the order the method wants.
        dtype: Element type.
        shape: Lengths of the axes.
        shard: The file it stands in.
        sha256: Of its bytes, in hex.
    """

    name: str
    method: str
    parameters: Mapping[str, Any]
    inputs: tuple[InputEntry, ...]
    dtype: DType
    shape: tuple[int, ...]
    shard: str
    sha256: str


@dataclass(frozen=True)
class FileEntry:
    """One other file of the output.

    Attributes:
        name: Its path in the folder, with `/`.
        sha256: Of its bytes, in hex.
        source: The recipe's name of the model it follows, with ` (adapter)` behind it for a file
            of that model's adapter, or None if it was made.
    """

    name: str
    sha256: str
    source: str | None


@dataclass(frozen=True)
class Ledger:
    """All that is known of an output.

    Attributes:
        recipe: The recipe as YAML, with everything it extended or was bound to filled in.
        models: Its models by name.
        versions: Versions of the libraries in use, by name.
        engine: Who computed: `surgery` or `mergekit`.
        tensors: The output's tensors, in the order of its files.
        files: Its other files.
        layout: sha256 in hex of each weight file's header (its length, JSON and padding), and of
            the index where there is one, by file name. Format 1 did not say.
    """

    recipe: str
    models: Mapping[str, ModelEntry]
    versions: Mapping[str, str]
    engine: str
    tensors: tuple[TensorEntry, ...]
    files: tuple[FileEntry, ...]
    layout: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """sha256 in hex of the output's weights, however they are spread over files."""
        return content_fingerprint(self.tensors)

    def to_json(self) -> bytes:
        """Return the ledger as a file: one line per tensor, the same bytes for the same content.

        Raises:
            ValueError: If a parameter cannot be written as JSON.
        """
        head = {
            "format": FORMAT,
            "engine": self.engine,
            "versions": dict(sorted(self.versions.items())),
            "fingerprint": self.fingerprint,
            "recipe": self.recipe,
        }
        models = {name: vars(model) for name, model in self.models.items()}
        lines = [f"  {_line(key)}: {_line(value)}" for key, value in head.items()]
        lines.append(_block("models", (f"{_line(k)}: {_line(m)}" for k, m in models.items()), "{}"))
        layout = (f"{_line(k)}: {_line(v)}" for k, v in sorted(self.layout.items()))
        lines.append(_block("layout", layout, "{}"))
        lines.append(_block("files", (_line(vars(file)) for file in self.files), "[]"))
        lines.append(_block("tensors", (_line(_plain(tensor)) for tensor in self.tensors), "[]"))
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def content_fingerprint(tensors: Iterable[TensorEntry]) -> str:
    """Hash what a set of tensors is: names, element types, shapes and bytes.

    Args:
        tensors: In any order.

    Returns:
        sha256 in hex.
    """
    rows = sorted((t.name, str(t.dtype), list(t.shape), t.sha256) for t in tensors)
    return sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def read_ledger(folder: Path) -> Ledger:
    """Read and check a folder's ledger.

    Args:
        folder: A folder that this toolkit wrote.

    Returns:
        The ledger.

    Raises:
        CheckpointError: If there is none, or it is damaged or of a later format.
    """
    document = read_json(folder, LEDGER, "a ledger of this toolkit")
    reader = _Reader(f"{folder / LEDGER}")
    if document.get("format") not in _READABLE:
        reader.fail(
            f"has format {document.get('format')!r}; this version reads up to {FORMAT}. Update "
            "vlm-surgery."
        )
    since_2 = " layout" if document["format"] > 1 else ""
    reader.fields(
        document,
        "the ledger",
        f"format engine versions fingerprint recipe models files tensors{since_2}",
    )
    ledger = Ledger(
        recipe=reader.text(document["recipe"], "recipe"),
        models={
            name: reader.model(value, f"models.{name}")
            for name, value in reader.mapping(document["models"], "models").items()
        },
        versions={
            name: reader.text(value, f"versions.{name}")
            for name, value in reader.mapping(document["versions"], "versions").items()
        },
        engine=reader.text(document["engine"], "engine"),
        tensors=tuple(reader.tensor(t) for t in reader.sequence(document["tensors"], "tensors")),
        files=tuple(reader.file(f) for f in reader.sequence(document["files"], "files")),
        layout={
            name: reader.digest(value, f"layout.{name}")
            for name, value in reader.mapping(document.get("layout", {}), "layout").items()
        },
    )
    if ledger.engine not in ENGINES:
        reader.fail(f"engine is {ledger.engine[:40]!r}; expected one of: {', '.join(ENGINES)}.")
    reader.unique([tensor.name for tensor in ledger.tensors], "tensors")
    reader.unique([file.name for file in ledger.files], "files")
    if document["fingerprint"] != ledger.fingerprint:
        reader.fail("was altered: its fingerprint is not that of the tensors it lists.")
    return ledger


class _Reader:
    """Turns parsed JSON into entries, and says where it is not what it should be."""

    def __init__(self, location: str) -> None:
        self._place = location

    def fail(self, message: str) -> NoReturn:
        raise CheckpointError(f"{self._place}: {message}")

    def fields(self, value: object, label: str, names: str) -> dict[str, Any]:
        expected = set(names.split())
        entry = self.mapping(value, label)
        for name in entry.keys() - expected:
            self.fail(f"{label} has {name[:100]!r}.{did_you_mean(name[:100], sorted(expected))}")
        for name in sorted(expected - entry.keys()):
            self.fail(f"{label} lacks {name!r}.")
        return entry

    def mapping(self, value: object, label: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.fail(f"{label} is {_kind(value)}; expected an object.")
        return value

    def sequence(self, value: object, label: str) -> list[Any]:
        if not isinstance(value, list):
            self.fail(f"{label} is {_kind(value)}; expected a list.")
        return value

    def text(self, value: object, label: str) -> str:
        if not isinstance(value, str):
            self.fail(f"{label} is {_kind(value)}; expected text.")
        return value

    def optional(self, value: object, label: str) -> str | None:
        return None if value is None else self.text(value, label)

    def digest(self, value: object, label: str) -> str:
        text = self.text(value, label)
        if not _SHA256.fullmatch(text):
            self.fail(f"{label} is {text[:80]!r}; expected 64 hexadecimal digits.")
        return text

    def unique(self, names: list[str], label: str) -> None:
        if len(set(names)) < len(names):
            self.fail(f"{label} lists a name twice.")

    def model(self, value: object, label: str) -> ModelEntry:
        entry = self.fields(value, label, "reference revision fingerprint")
        return ModelEntry(
            reference=self.text(entry["reference"], f"{label}.reference"),
            revision=self.optional(entry["revision"], f"{label}.revision"),
            fingerprint=self.digest(entry["fingerprint"], f"{label}.fingerprint"),
        )

    def file(self, value: object) -> FileEntry:
        entry = self.fields(value, "a file", "name sha256 source")
        name = self.text(entry["name"], "a file's name")
        if not all(part.isprintable() and part not in ("", ".", "..") for part in name.split("/")):
            self.fail(f"a file is called {name[:80]!r}; expected a path inside the folder.")
        return FileEntry(
            name=name,
            sha256=self.digest(entry["sha256"], f"{name}: sha256"),
            source=self.optional(entry["source"], f"{name}: source"),
        )

    def tensor(self, value: object) -> TensorEntry:
        entry = self.fields(
            value, "a tensor", "name method parameters inputs dtype shape shard sha256"
        )
        name = self.text(entry["name"], "a tensor's name")
        dtype = self.text(entry["dtype"], f"{name}: dtype")
        if dtype not in DType.__members__:
            self.fail(
                f"{name}: dtype is {dtype[:40]!r}.{did_you_mean(dtype[:40], DType.__members__)}"
            )
        shape = self.sequence(entry["shape"], f"{name}: shape")
        if any(type(length) is not int or length < 0 for length in shape):
            self.fail(f"{name}: shape is not a list of lengths.")
        return TensorEntry(
            name=name,
            method=self.text(entry["method"], f"{name}: method"),
            parameters=self.mapping(entry["parameters"], f"{name}: parameters"),
            inputs=tuple(self.input(i, name) for i in self.sequence(entry["inputs"], name)),
            dtype=DType(dtype),
            shape=tuple(shape),
            shard=self.text(entry["shard"], f"{name}: shard"),
            sha256=self.digest(entry["sha256"], f"{name}: sha256"),
        )

    def input(self, value: object, label: str) -> InputEntry:
        entry = self.fields(value, f"{label}: an input", "model tensor")
        return InputEntry(
            model=self.text(entry["model"], f"{label}: model"),
            tensor=self.text(entry["tensor"], f"{label}: tensor"),
        )


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _plain(tensor: TensorEntry) -> dict[str, Any]:
    return {
        **vars(tensor),
        "parameters": dict(tensor.parameters),
        "inputs": [vars(item) for item in tensor.inputs],
        "dtype": str(tensor.dtype),
    }


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=dict)


def _block(key: str, rows: Iterable[str], brackets: str) -> str:
    body = ",\n    ".join(rows)
    inner = f"\n    {body}\n  " if body else ""
    return f"  {_line(key)}: {brackets[0]}{inner}{brackets[1]}"
