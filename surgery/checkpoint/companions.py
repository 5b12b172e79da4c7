"""The tokenizer, processor and other files next to the weights, and the folder of each.

A PEFT adapter's folder may hold a tokenizer, a chat template and a processor of its own: those it
was trained with. Each of these sets comes whole from one folder, because the files of one set refer
to each other and libraries look for them in an order of preference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surgery.checkpoint.custom_code import CustomCode, find_code
from surgery.reading import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from surgery.checkpoint.source import CheckpointInfo

_VOCABULARIES = frozenset(
    {
        "tokenizer.json",
        "tokenizer.model",
        "vocab.json",
        "vocab.txt",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tekken.json",
    }
)
_TOKENIZER = _VOCABULARIES | {
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
}
_TEMPLATE = frozenset({"chat_template.jinja", "chat_template.json"})
_PROCESSOR = frozenset(
    {"processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"}
)
# What a model needs to be used as the base is. A table, not a pattern: a folder may also hold
# training data, credentials and scripts, none of which belongs into a merge.
_BASE_ONLY = frozenset(
    {
        "config.json",
        "generation_config.json",
        "LICENSE",
        "LICENSE.txt",
        "LICENSE.md",
        "LICENCE",
        "NOTICE",
        "NOTICE.txt",
        "COPYING",
    }
)
_TEMPLATES = "additional_chat_templates"


def companion_folders(info: CheckpointInfo) -> dict[str, Path]:
    """Return the name of each companion file with the folder that it comes from.

    The tokenizer, the chat template and the processor come whole from the adapter's folder where
    that has them; an adapter's tokenizer files without a vocabulary replace the base's one by one.
    Of its code only what these need comes with them.
    """
    replacements = [] if info.adapter is None else _list_names(info.adapter)
    replacements = [name for name in replacements if name not in _BASE_ONLY]
    if info.adapter is not None:
        replacements += find_code(info.adapter, replacements, with_siblings=False).files
    folders = {
        name: info.folder
        for name in companion_names(info.folder)
        if not _is_replaced(name, replacements)
    }
    if info.adapter is not None:
        if _holds_template(info.adapter, replacements):
            folders = {name: folder for name, folder in folders.items() if not _is_template(name)}
        folders |= dict.fromkeys(replacements, info.adapter)
    return folders


def companion_code(info: CheckpointInfo) -> CustomCode:
    """Return the code that a checkpoint's companion files name; all of it is among them."""
    folders = companion_folders(info)
    parts = [
        find_code(folder, [name for name in folders if folders[name] == folder])
        for folder in dict.fromkeys(folders.values())
    ]
    files = {name for name in folders if name.endswith(".py")}
    missing = {name for part in parts for name in part.missing} - files
    repositories = {name for part in parts for name in part.repositories}
    return CustomCode(*(tuple(sorted(item)) for item in (files, missing, repositories)))


def companion_names(folder: Path) -> list[str]:
    """Return the names of the companion files in a folder, its own code among them."""
    names = _list_names(folder)
    return [*names, *find_code(folder, names).files]


def _list_names(folder: Path) -> list[str]:
    table = _TOKENIZER | _TEMPLATE | _PROCESSOR | _BASE_ONLY
    names = [p.name for p in folder.iterdir() if p.name in table or p.suffix == ".tiktoken"]
    inner = folder / _TEMPLATES
    if inner.is_dir():
        names += [f"{_TEMPLATES}/{p.name}" for p in inner.iterdir() if p.suffix == ".jinja"]
    return names


def _is_replaced(name: str, replacements: list[str]) -> bool:
    """Check that a base's file belongs to a set that the adapter supplies whole."""
    if _is_tokenizer(name):
        return any(
            replacement in _VOCABULARIES or replacement.endswith(".tiktoken")
            for replacement in replacements
        )
    return name in _PROCESSOR and not _PROCESSOR.isdisjoint(replacements)


def _is_tokenizer(name: str) -> bool:
    return name in _TOKENIZER or name.endswith(".tiktoken")


def _is_template(name: str) -> bool:
    return name in _TEMPLATE or name.startswith(f"{_TEMPLATES}/")


def _holds_template(folder: Path, names: list[str]) -> bool:
    """Check that any of a folder's files holds a chat template."""
    configs = [name for name in names if name in ("tokenizer_config.json", "processor_config.json")]
    return any(map(_is_template, names)) or any(
        _key(folder / name, "chat_template") for name in configs
    )


def _key(path: Path, key: str) -> object:
    """Return a value of a JSON object, or None where there is none to read."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return None
    return value.get(key) if isinstance(value, dict) else None
