"""A checkpoint as a transformers model: empty, to know its parameters, or with its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def skeleton(config: Mapping[str, Any]) -> Any:
    """The model of a `config.json` on the meta device: names and shapes, no weight.

    Raises:
        CheckpointError: If transformers has no such model.
    """
    import torch

    kind, loaded = _class_of(config)
    with torch.device("meta"):
        return kind.from_config(loaded)


def load_model(folder: Path, config: Mapping[str, Any]) -> Any:
    """A checkpoint's model with its weights in float32, in training mode.

    Raises:
        CheckpointError: If transformers has no such model.
    """
    import torch

    kind, _ = _class_of(config)
    return kind.from_pretrained(folder, dtype=torch.float32).train()


def _class_of(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The auto class that builds it, and its configuration."""
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )

    rest = dict(config)
    name = rest.pop("model_type", None)
    try:
        loaded = AutoConfig.for_model(name, **rest)
    except (TypeError, ValueError):
        loaded = None
    for kind in (AutoModelForImageTextToText, AutoModelForCausalLM):
        if loaded is not None and type(loaded) in kind._model_mapping:
            return kind, loaded
    raise CheckpointError(
        f"this version of transformers has no model of type {name!r} that generates text, so its "
        "parameters are not known. A newer transformers may have it."
    )


def load_processing(folder: Path) -> Any:
    """A checkpoint's processor, or its tokenizer where it takes no images; padding on the left.

    Raises:
        SurgeryError: If neither can be built.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

    from surgery.processor import load_processor

    if type(AutoConfig.from_pretrained(folder)) in AutoModelForImageTextToText._model_mapping:
        processor = load_processor(folder)
        # TRL pads by itself, and takes every token that it is given for a token of the prompt.
        processor.pads = False
        return processor
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
