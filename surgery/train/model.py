"""A checkpoint as a transformers model: empty, to know its parameters, or with its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError

from surgery.errors import CheckpointError
from surgery.pretrained import custom_code_error, load_pretrained, loading
from surgery.processor import PROCESSING_ERRORS
from surgery.text import first_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def skeleton(config: Mapping[str, Any]) -> Any:
    """Return the model of a `config.json` on the meta device: names and shapes, no weights.

    Raises:
        CheckpointError: If transformers has no such model.
    """
    import torch

    kind, loaded = class_of(config)
    name = f"a model of type {config.get('model_type')!r}"
    with loading(name), torch.device("meta"):
        return kind.from_config(loaded, trust_remote_code=False)


def load_model(folder: Path, config: Mapping[str, Any]) -> Any:
    """Return a checkpoint's model with its weights in float32, in training mode.

    Raises:
        CheckpointError: If transformers has no such model, or the files do not hold all of it.
    """
    import torch
    from transformers import GenerationConfig

    kind, _ = class_of(config)
    with loading(folder):
        model, found = load_pretrained(
            kind,
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    missing = sorted(found["missing_keys"])
    if missing:
        raise CheckpointError(
            f"{folder} has no {first_names(missing, 1)}: transformers would initialize "
            "them at random. Use a complete checkpoint."
        )
    # What generation is like is the trainer's to say; a contradiction in the file, which loading
    # forgives and saving does not, must not cost a run.
    ends = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=ends.bos_token_id,
        eos_token_id=ends.eos_token_id,
        pad_token_id=ends.pad_token_id,
    )
    return model.train()


def class_of(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the auto class that builds the model, and its configuration."""
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )

    rest = dict(config)
    name = rest.pop("model_type", None)
    try:
        loaded = AutoConfig.for_model(name, **rest)
    except (*PROCESSING_ERRORS, ArithmeticError, StrictDataclassError):
        loaded = None
    for kind in (AutoModelForImageTextToText, AutoModelForCausalLM):
        if loaded is not None and type(loaded) in kind._model_mapping:
            return kind, loaded
    if config.get("auto_map"):
        raise custom_code_error(f"a model of type {name!r}")
    raise CheckpointError(
        f"this version of transformers has no model of type {name!r} that generates text, so its "
        "parameters are not known. A newer transformers may have it."
    )


def load_processing(folder: Path) -> Any:
    """Return a checkpoint's processor, or its tokenizer if it takes no images; left padding.

    Raises:
        SurgeryError: If neither can be built.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

    from surgery.processor import load_processor

    with loading(folder):
        kind = type(load_pretrained(AutoConfig, folder))
    if kind in AutoModelForImageTextToText._model_mapping:
        processor = load_processor(folder)
        # TRL adds its padding, and treats every given token as part of the prompt.
        processor.pads = False
        return processor
    with loading(folder):
        tokenizer = load_pretrained(AutoTokenizer, folder, padding_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
