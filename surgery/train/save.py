"""A trained model as a checkpoint folder: its start's files around the new weights."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError

from surgery.arch import resolve
from surgery.checkpoint.draft import Draft, clear_drafts
from surgery.checkpoint.failure import filesystem_errors
from surgery.errors import ExecutionError
from surgery.execute.files import copied_files
from surgery.train.proof import check_saved

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.checkpoint.source import CheckpointInfo
    from surgery.train.region import FrozenRegion

RECORD: Final = "training.json"


def save_model(
    model: Any, info: CheckpointInfo, region: FrozenRegion, folder: Path, record: Mapping[str, Any]
) -> list[str]:
    """Write a model to a temporary sibling, compare it with its start, and rename it.

    Every tensor is stored in the element type it had at the start.

    Args:
        model: The trained model.
        info: The checkpoint it started from.
        region: What stood still.
        folder: Where it goes.
        record: What it was made from; kept with it.

    Returns:
        Names of tensors that were to learn and are in the file what they were.

    Raises:
        ExecutionError: If a frozen tensor is not byte for byte what it was, or the disk fails.
    """
    draft = Draft(folder)
    with filesystem_errors(folder):
        try:
            clear_drafts(folder)
            draft.make()
            model.save_pretrained(draft.folder, state_dict=_stored(model, info, region))
            for name, data in copied_files(info.folder).items():
                (draft.folder / name).parent.mkdir(exist_ok=True)
                (draft.folder / name).write_bytes(data)
            record_text = {**record, "frozen": list(region.frozen), "trained": list(region.trained)}
            (draft.folder / RECORD).write_text(json.dumps(record_text, indent=2) + "\n")
            rounded = check_saved(info, draft.folder, region)
            draft.folder.rename(folder)
        except SafetensorError as error:
            raise ExecutionError(f"{folder} cannot be written: {error}") from None
        finally:
            draft.end()
    return rounded


def _stored(model: Any, info: CheckpointInfo, region: FrozenRegion) -> dict[str, Any]:
    import torch

    sites = resolve(info.config, info.tensors).names()
    usual = Counter(header.dtype for header in info.tensors.values()).most_common(1)[0][0]

    def kind(name: str) -> Any:
        stored = sites.get(region.architecture.sites[name])
        dtype = usual if stored is None else info.tensors[stored].dtype
        return getattr(torch, dtype.torch_name)

    visited: set[int] = set()  # a tied tensor is stored once, under its first name
    tensors: dict[str, Any] = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in visited:
            visited.add(tensor.data_ptr())
            dtype = kind(name) if tensor.is_floating_point() else tensor.dtype
            tensors[name] = tensor.detach().to("cpu", dtype)
    return tensors
