"""The tokens behind the ids of a checkpoint's embedding rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surgery.checkpoint.companions import companion_folders
from surgery.errors import CheckpointError
from surgery.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.checkpoint.source import CheckpointInfo


def differing_tokens(left: CheckpointInfo, right: CheckpointInfo) -> tuple[str, ...]:
    """Return the tokens that do not have the same id in two checkpoints' tokenizers, sorted.

    There are none where a checkpoint has no tokenizer to compare.
    """
    files = _vocabulary_file(left), _vocabulary_file(right)
    if files[0] and files[1] and files[0].read_bytes() == files[1].read_bytes():
        return ()
    first, second = vocabulary(left), vocabulary(right)
    if first is None or second is None:
        return ()
    return tuple(sorted(t for t in first.keys() | second.keys() if first.get(t) != second.get(t)))


def vocabulary(info: CheckpointInfo) -> Mapping[str, int] | None:
    """Return every token of a checkpoint's tokenizer with its id, or None without a file to read.

    Raises:
        CheckpointError: If `tokenizer.json` or `vocab.json` is not what a tokenizer writes.
    """
    path = _vocabulary_file(info)
    if path is None:
        return None
    try:
        value = read_json(path)
        return dict(value) if path.name == "vocab.json" else _tokenizer_json(value)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a tokenizer file ({type(error).__name__}: {error}). Restore it from "
            f"the checkpoint's source."
        ) from error


def _vocabulary_file(info: CheckpointInfo) -> Path | None:
    """Return the file that lists a checkpoint's tokens, the adapter's own before the base's."""
    folders = companion_folders(info)
    names = [name for name in ("tokenizer.json", "vocab.json") if name in folders]
    return folders[names[0]] / names[0] if names else None


def _tokenizer_json(parsed: Mapping[str, Any]) -> dict[str, int]:
    """Return the tokens of a `tokenizer.json`: the model's, then the added tokens."""
    listed = parsed["model"]["vocab"]
    if isinstance(listed, list):  # a Unigram model lists [token, score] in the order of the ids
        tokens = {token: index for index, (token, _) in enumerate(listed)}
    else:
        tokens = dict(listed)
    return tokens | {added["content"]: added["id"] for added in parsed.get("added_tokens", [])}
