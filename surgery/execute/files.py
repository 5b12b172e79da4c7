"""The files beside the weights: which ones follow the base, and what changes in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from surgery.checkpoint.folder import read_file
from surgery.execute.card import model_card
from surgery.recipe.dump import to_yaml
from surgery.recipe.load import PUBLISHED

if TYPE_CHECKING:
    from pathlib import Path

    from surgery.checkpoint.dtype import DType
    from surgery.plan.model import Plan

# What a model needs to be used as the base is. A table, not a pattern: a folder may also hold
# training data, credentials and code, none of which belongs into a merge.
_KNOWN = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tekken.json",
        "chat_template.jinja",
        "chat_template.json",
        "processor_config.json",
        "preprocessor_config.json",
        "video_preprocessor_config.json",
        "LICENSE",
        "LICENSE.txt",
        "LICENSE.md",
        "LICENCE",
        "NOTICE",
        "NOTICE.txt",
        "COPYING",
    }
)
CARD = "README.md"
PICTURE = "layers.png"
RESULTS = ".eval_results/"
MADE = frozenset({CARD, PICTURE, PUBLISHED})
"""Files that are made for people, and follow no model; beside them what is under `RESULTS`."""
_TEMPLATES = "additional_chat_templates"


def companions(plan: Plan) -> dict[str, tuple[bytes, str | None]]:
    """Every file of the output beside weights, index and ledger.

    Args:
        plan: What is made.

    Returns:
        Name in the folder to content and the model it follows, None for the model card; sorted.

    Raises:
        CheckpointError: If a file of the base cannot be read, or leads out of its folder.
    """
    files: dict[str, tuple[bytes, str | None]] = {}
    for name, data in copied_files(plan.base.folder).items():
        dtype = plan.recipe.output.dtype if name == "config.json" else None
        files[name] = (with_dtype(data, dtype), plan.recipe.base)
    files[CARD] = (model_card(plan, to_yaml(plan.recipe)).encode(), None)
    return dict(sorted(files.items()))


def copied_files(folder: Path) -> dict[str, bytes]:
    """A checkpoint's files that its offspring needs to be used as it is, by name.

    Raises:
        CheckpointError: If one cannot be read, or leads out of its folder.
    """
    return {name: _without_paths(name, read_file(folder, name)) for name in _names(folder)}


def _without_paths(name: str, data: bytes) -> bytes:
    """A file without where, on somebody's disk, a model was before; libraries write that down."""
    if not name.endswith("config.json") or b"name_or_path" not in data:
        return data
    try:
        parsed = json.loads(data)
    except ValueError:
        return data
    if not isinstance(parsed, dict):
        return data
    for key in ("_name_or_path", "name_or_path"):
        if isinstance(parsed.get(key), str) and parsed[key].startswith(("/", "~", ".")):
            del parsed[key]
            data = (json.dumps(parsed, indent=2, ensure_ascii=False) + "\n").encode()
    return data


def _names(folder: Path) -> list[str]:
    """The base's files that are copied, by their names in its folder."""
    names = [p.name for p in folder.iterdir() if p.name in _KNOWN or p.suffix == ".tiktoken"]
    inner = folder / _TEMPLATES
    if inner.is_dir():
        names += [
            f"{_TEMPLATES}/{path.name}" for path in inner.iterdir() if path.suffix == ".jinja"
        ]
    return names


def with_dtype(config: bytes, dtype: DType | None) -> bytes:
    """A `config.json` that names the element type the weights now have.

    Args:
        config: The base's file.
        dtype: The output's element type, or None when it is the base's own.

    Returns:
        The same bytes where nothing changes.
    """
    if dtype is None:
        return config
    parsed = json.loads(config)
    if not _set(parsed, dtype.torch_name):
        parsed["dtype"] = dtype.torch_name
    return (json.dumps(parsed, indent=2, ensure_ascii=False) + "\n").encode()


def _set(config: dict[str, Any], name: str) -> bool:
    """Set every element type the configuration tells; whether there was one at the top."""
    for value in config.values():
        if isinstance(value, dict):
            _set(value, name)
    keys = [key for key in ("dtype", "torch_dtype") if key in config]
    for key in keys:
        config[key] = name
    return bool(keys)
