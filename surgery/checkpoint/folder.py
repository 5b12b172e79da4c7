"""The files of a folder that make up a checkpoint, and the files that may be replaced."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surgery.errors import CheckpointError
from surgery.reading import parse_json, read_bytes
from surgery.text import first_names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_PART = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Shards:
    """The weight files of a folder.

    Attributes:
        names: File names in order.
        index: Tensor name to file name as the index says, or None for a single file.
    """

    names: tuple[str, ...]
    index: Mapping[str, str] | None


def resolve_inside(folder: Path, name: str) -> Path:
    """Return the file `name` of `folder`, if it exists there as a plain file.

    Links are followed as long as they stay in the folder, or lead from a snapshot of the Hub's
    cache to the same repository's blobs.

    Args:
        folder: A checkpoint's folder.
        name: A plain file name, or several joined by `/` for a file of an inner folder.

    Returns:
        The path with every link resolved.

    Raises:
        CheckpointError: If the name or a link leads elsewhere, or is not a regular file.
    """
    for part in name.split("/"):
        check_plain(folder, part)
    try:
        path = (folder / name).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        reason = "is a link to nothing" if (folder / name).is_symlink() else "is missing"
        raise CheckpointError(
            f"{folder / name}: {reason}. Fetch the checkpoint again, all its files."
        ) from error
    root = folder.resolve()
    if not any(path.is_relative_to(allowed) for allowed in _roots(root)):
        raise CheckpointError(
            f"{folder / name}: is a link that points outside its folder, to {path}. "
            "Replace the link with a copy of the file if you trust it."
        )
    if not path.is_file():
        raise CheckpointError(f"{folder / name}: is not a regular file.")
    return path


def check_plain(folder: Path, name: str) -> None:
    """Refuse a file name that could lead out of its folder.

    Raises:
        CheckpointError: If it is not one plain name.
    """
    if not name.isprintable() or name in ("", ".", "..") or "/" in name or "\\" in name:
        raise CheckpointError(
            f"{folder}: {name[:100]!r} is not a plain file name. Files of a checkpoint must be in "
            f"its folder."
        )


def is_snapshot(folder: Path) -> bool:
    """Check that a folder stands in the Hub's cache, whose files are links to blobs."""
    return len(_roots(folder.resolve())) > 1


def _roots(root: Path) -> tuple[Path, ...]:
    for parent in root.parents:
        if parent.name == "snapshots" and (parent.parent / "blobs").is_dir():
            return root, (parent.parent / "blobs").resolve()
    return (root,)


def read_file(folder: Path, name: str) -> bytes:
    """Read one small file of a checkpoint, if it really stands there.

    Args:
        folder: The checkpoint's folder.
        name: The file's name in it.

    Returns:
        Its bytes.

    Raises:
        CheckpointError: If it is missing, points outside the folder, or cannot be read.
    """
    path = resolve_inside(folder, name)
    try:
        return read_bytes(path)
    except OSError as error:
        raise CheckpointError(f"{folder / name}: cannot be read: {error.strerror}.") from error


def read_json(folder: Path, name: str, label: str) -> dict[str, Any]:
    """Read one JSON object of a checkpoint.

    Args:
        folder: The checkpoint's folder.
        name: The file's name in it.
        label: What the file is, for messages.

    Returns:
        The object.

    Raises:
        CheckpointError: If it is missing, larger than 64 MiB, or not a JSON object.
    """
    displayed_path = folder / name
    try:
        value = parse_json(read_file(folder, name))
    except ValueError as error:
        raise CheckpointError(f"{displayed_path}: is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{displayed_path}: holds a {type(value).__name__}; expected {label}, a JSON object."
        )
    return value


def check_same_json(folder: Path, name: str, label: str, before: Mapping[str, Any]) -> None:
    """Check that one JSON object of a checkpoint still is what it was.

    Args:
        folder: The checkpoint's folder.
        name: The file's name in it.
        label: What the file is, for messages.
        before: What `read_json` gave.

    Raises:
        CheckpointError: If it holds anything else now.
    """
    # Compared as text, because NaN is not equal to itself.
    if json.dumps(read_json(folder, name, label)) != json.dumps(before):
        raise changed_error(folder / name)


def changed_error(path: Path) -> CheckpointError:
    """Return the error for an input that changed while it was read."""
    return CheckpointError(
        f"{path}: changed while it was being read, so the data may mix two models. No output "
        "was written. Wait until the program that writes there has finished, then start again."
    )


def find_shards(folder: Path, weights: Path | None = None) -> Shards:
    """Find a folder's weight files, in the order transformers looks for them.

    Args:
        folder: A checkpoint's folder.
        weights: Where its safetensors files stand, if not in the folder.

    Returns:
        `model.safetensors`, or the files the index names, or the only other safetensors file.

    Raises:
        CheckpointError: If there is none, it is unclear which, or the index leads elsewhere.
    """
    # A link to nothing is listed too, so that its own error names it.
    places = (folder, weights) if weights else (folder,)
    names = [path.name for place in places for path in place.iterdir()]
    names_and_index = choose_weights(names, str(folder))
    return from_index(folder) if names_and_index == INDEX else Shards((names_and_index,), None)


def choose_weights(names: Collection[str], location: str) -> str:
    """Choose, among the names of a folder's files, the one that leads to its weights.

    Args:
        names: File names.
        location: The folder or repository, for messages.

    Returns:
        `model.safetensors`, else the index, else the only other safetensors file.

    Raises:
        CheckpointError: If there is none, or it is unclear which.
    """
    for name in (SINGLE, INDEX):
        if name in names:
            return name
    weights = sorted(
        name for name in names if name.endswith(".safetensors") and not name.startswith("adapter_")
    )
    if len(weights) == 1 and not _PART.search(weights[0]):
        return weights[0]
    if any(_PART.search(name) for name in weights):
        raise CheckpointError(
            f"{location}: found {first_names(weights)} but no {INDEX}. The checkpoint is "
            "incomplete; fetch the index too."
        )
    if weights:
        raise CheckpointError(
            f"{location}: found {len(weights)} safetensors files ({first_names(weights)}) and no "
            f"{INDEX} that says how they belong together. Keep one, or save the model again."
        )
    pickles = sorted(name for name in names if name.endswith(_PICKLES))
    if pickles:
        raise CheckpointError(
            f"{location}: found only pickle files ({first_names(pickles)}), which are never opened "
            "because they can run code. Convert them to safetensors on a machine you trust: "
            "load the model with "
            "transformers and `model.save_pretrained(folder, safe_serialization=True)`, or use the "
            "Hub's https://huggingface.co/spaces/safetensors/convert."
        )
    raise CheckpointError(f"{location}: found no weights; expected {SINGLE} or {INDEX}.")


def from_index(folder: Path) -> Shards:
    """Read which files an index names; the files themselves need not be there yet.

    Args:
        folder: A checkpoint's folder with an index.

    Returns:
        The files it names, sorted, and its map.

    Raises:
        CheckpointError: If it is no such map, or names files that are not plain safetensors files
            of the folder.
    """
    index = read_json(folder, INDEX, "a map of tensors to files").get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(shard, str) for shard in index.values()):
        raise CheckpointError(
            f"{folder / INDEX}: has no weight_map; expected an object of tensor name to file name."
        )
    if not index:
        raise CheckpointError(f"{folder / INDEX}: its weight_map is empty; expected tensors.")
    names = sorted(set(index.values()))
    for name in names:
        if not name.endswith(".safetensors"):
            raise CheckpointError(
                f"{folder / INDEX}: names {name[:100]!r}; expected only *.safetensors files, "
                "because others are not opened."
            )
        check_plain(folder, name)
    return Shards(tuple(names), index)
