"""What the ids of a checkpoint's embedding rows mean."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def differing_tokens(one: Path, other: Path) -> tuple[str, ...]:
    """Tokens that do not have the same id in two checkpoints' tokenizers.

    Args:
        one: A checkpoint's folder.
        other: Another's.

    Returns:
        The tokens, sorted; none where the tokenizers agree or where a folder has none to compare.
    """
    files = [folder / "tokenizer.json" for folder in (one, other)]
    if all(file.is_file() for file in files) and files[0].read_bytes() == files[1].read_bytes():
        return ()
    first, second = vocabulary(one), vocabulary(other)
    if first is None or second is None:
        return ()
    return tuple(sorted(t for t in first.keys() | second.keys() if first.get(t) != second.get(t)))


def vocabulary(folder: Path) -> Mapping[str, int] | None:
    """Every token of a checkpoint's tokenizer with its id, or None when there is no such file.

    Args:
        folder: The checkpoint's folder; `tokenizer.json` or `vocab.json` is read.

    Raises:
        CheckpointError: If the file is not what a tokenizer writes.
    """
    for name in ("tokenizer.json", "vocab.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            parsed = json.loads(path.read_bytes())
            return dict(parsed) if name == "vocab.json" else _tokenizer_json(parsed)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{path} is not a tokenizer file ({type(error).__name__}: {error}). Restore it "
                f"from where the checkpoint came from."
            ) from error
    return None


def _tokenizer_json(parsed: Mapping[str, Any]) -> dict[str, int]:
    """The tokens of a `tokenizer.json`: its model's, then those added to it."""
    listed = parsed["model"]["vocab"]
    if isinstance(listed, list):  # a Unigram model lists [token, score] in the order of the ids
        tokens = {token: index for index, (token, _) in enumerate(listed)}
    else:
        tokens = dict(listed)
    return tokens | {added["content"]: added["id"] for added in parsed.get("added_tokens", [])}
