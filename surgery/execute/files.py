"""The files beside the weights: which ones follow the base, and what changes in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from surgery.checkpoint.dtype import DType

_SUFFIXES = frozenset({".json", ".jinja", ".txt", ".model", ".tiktoken", ".spm", ".vocab", ".bpe"})
_LEGAL = frozenset({"LICENSE", "LICENCE", "NOTICE", "COPYING"})
_OURS = frozenset({"surgery.json", "README.md"})
_TRAINING = frozenset(
    {
        "trainer_state.json",
        "training_args.json",
        "all_results.json",
        "train_results.json",
        "eval_results.json",
    }
)
_FOLDERS = ("additional_chat_templates",)


def companions(folder: Path) -> tuple[str, ...]:
    """The names of the base's files that a merged model needs to be used as the base is.

    Configuration, tokenizer, chat template, processor and licence files; never weights, code or
    what belongs to a training run.

    Args:
        folder: The base's folder.

    Returns:
        Names relative to the folder, `config.json` among them, sorted.
    """
    names = [path.name for path in folder.iterdir() if path.is_file() and _wanted(path.name)]
    for sub in _FOLDERS:
        if (folder / sub).is_dir():
            names += [f"{sub}/{p.name}" for p in (folder / sub).iterdir() if p.suffix == ".jinja"]
    return tuple(sorted(names))


def _wanted(name: str) -> bool:
    stem, dot, suffix = name.rpartition(".")
    if name in _OURS or name in _TRAINING or name.endswith(".index.json"):
        return False
    return dot + suffix in _SUFFIXES or (stem or name).upper() in _LEGAL


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
