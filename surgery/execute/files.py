"""The files next to the weights: the base's files, and the changes in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from surgery.card import model_card
from surgery.checkpoint.companions import companion_folders, companion_names
from surgery.checkpoint.folder import read_file
from surgery.reading import parse_json
from surgery.recipe.dump import to_yaml
from surgery.recipe.load import PUBLISHED

if TYPE_CHECKING:
    from pathlib import Path

    from surgery.checkpoint.dtype import DType
    from surgery.plan.model import Plan

CARD = "README.md"
PICTURE = "layers.png"
RESULTS = ".eval_results/"
WRITTEN = frozenset({CARD, PICTURE, PUBLISHED})
"""Files written for readers, from no model; also everything under `RESULTS`."""


def companions(plan: Plan) -> dict[str, tuple[bytes, str | None]]:
    """Return every file of the output except weights, index and ledger.

    Args:
        plan: What is made.

    Returns:
        Name in the folder to content and the model it follows, with ` (adapter)` behind it for a
        file of the base's adapter, None for the model card; sorted.

    Raises:
        CheckpointError: If a file of the base cannot be read, or points outside its folder.
    """
    files: dict[str, tuple[bytes, str | None]] = {}
    for name, folder in companion_folders(plan.base).items():
        data = _without_paths(name, read_file(folder, name))
        dtype = plan.recipe.output.dtype if name == "config.json" else None
        source = plan.recipe.base + (" (adapter)" if folder == plan.base.adapter else "")
        files[name] = (with_dtype(data, dtype), source)
    files[CARD] = (model_card(plan, to_yaml(plan.recipe)).encode(), None)
    return dict(sorted(files.items()))


def copied_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a checkpoint that a model made from it needs for use, by name.

    Raises:
        CheckpointError: If one cannot be read, or points outside its folder.
    """
    return {name: _without_paths(name, read_file(folder, name)) for name in companion_names(folder)}


def _without_paths(name: str, data: bytes) -> bytes:
    """Return a file without the local path of a model, which libraries write into it."""
    if not name.endswith("config.json") or b"name_or_path" not in data:
        return data
    try:
        value = parse_json(data)
    except ValueError:
        return data
    if not isinstance(value, dict):
        return data
    for key in ("_name_or_path", "name_or_path"):
        if isinstance(value.get(key), str) and value[key].startswith(("/", "~", ".")):
            del value[key]
            data = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    return data


def with_dtype(config: bytes, dtype: DType | None) -> bytes:
    """Return a `config.json` that names the element type the weights now have.

    Args:
        config: The base's file.
        dtype: The output's element type, or None when it is the base's own.

    Returns:
        The same bytes where nothing changes.
    """
    if dtype is None:
        return config
    value = parse_json(config)
    if not _set(value, dtype.torch_name):
        value["dtype"] = dtype.torch_name
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _set(config: dict[str, Any], name: str) -> bool:
    """Set every element type in a configuration; return whether there was one at the top."""
    for value in config.values():
        if isinstance(value, dict):
            _set(value, name)
    keys = [key for key in ("dtype", "torch_dtype") if key in config]
    for key in keys:
        config[key] = name
    return bool(keys)
