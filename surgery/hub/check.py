"""Check that a merge can be loaded by its users, without reading weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surgery.errors import PublishError, SurgeryError, first_line
from surgery.pretrained import load_pretrained
from surgery.text import first_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class LoadReport:
    """The result of loading a merge with transformers.

    Attributes:
        auto: The auto class that people load it with.
        model: Its class.
        processor: The class of its processor, or of its tokenizer where it takes no images.
        vision: Whether it takes images.
        unused: Tensors that the class does not use.
    """

    auto: str
    model: str
    processor: str
    vision: bool
    unused: tuple[str, ...]


def check_loads(folder: Path, config: Mapping[str, Any]) -> LoadReport:
    """Load a merge on the meta device, and its processor, with plain transformers.

    Args:
        folder: The merge.
        config: Its `config.json`.

    Raises:
        PublishError: If it does not load, lacks a tensor or has one in another shape.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    from surgery.train.model import class_of, load_processing

    was_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        kind, _ = class_of(config)
        model, report = load_pretrained(
            kind,
            folder,
            device_map="meta",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        processor = load_processing(folder)
    except SurgeryError as error:
        raise PublishError(f"{folder} cannot be used: {error}") from error
    except Exception as error:  # any error that a configuration causes in transformers
        raise PublishError(
            f"{folder} does not load with transformers: {type(error).__name__}: "
            f"{first_line(error)[:300]}"
        ) from error
    finally:
        if was_shown:
            logging.enable_progress_bar()
    for label, names in (
        ("has no", report["missing_keys"]),
        (
            "has in another shape than its configuration says",
            [
                entry[0] if isinstance(entry, tuple) else entry
                for entry in report["mismatched_keys"]
            ],
        ),
    ):
        if names:
            raise PublishError(f"{folder} {label} {first_names(sorted(map(str, names)), 1)}.")
    return LoadReport(
        auto=kind.__name__,
        model=type(model).__name__,
        processor=type(processor).__name__,
        vision=kind is AutoModelForImageTextToText,
        unused=tuple(sorted(report["unexpected_keys"])),
    )
