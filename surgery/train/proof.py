"""The proof that what was to stand still did, and that what was to learn did."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from surgery.arch import resolve
from surgery.checkpoint.digest import digest_tensor
from surgery.checkpoint.open import open_checkpoint
from surgery.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from surgery.arch.site import Site
    from surgery.checkpoint.source import Checkpoint
    from surgery.train.region import Region


def fingerprints(model: Any) -> dict[str, str]:
    """sha256 of every parameter's bytes as they are in memory, and of every buffer's."""
    import torch

    return {
        name: sha256(
            tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
        ).hexdigest()
        for name, tensor in model.state_dict().items()
        if tensor.numel()
    }


def check_still(before: Mapping[str, str], model: Any, region: Region) -> list[str]:
    """Hold a trained model against its start.

    Args:
        before: From `fingerprints`, before the first step.
        model: After the last.
        region: What was to stand still.

    Returns:
        Names of parameters that were to learn and did not change.

    Raises:
        ExecutionError: If a frozen parameter changed.
    """
    after = fingerprints(model)
    moved = [name for name in region.frozen if before.get(name) != after.get(name)]
    if moved:
        _refuse(moved, "in memory")
    return [name for name in region.trained if name in before and before[name] == after[name]]


def check_saved(source: str, folder: Path, region: Region) -> None:
    """Hold the files of a trained model against those of its start, byte for byte.

    Args:
        source: The checkpoint that training started from.
        folder: The one that was written.
        region: What was to stand still.

    Raises:
        ExecutionError: If a frozen tensor differs, or is missing.
    """
    with open_checkpoint(source) as old, open_checkpoint(str(folder)) as new:
        olds, news = _by_site(old), _by_site(new)
        still = _still(region, olds)
        moved = [
            olds[site]
            for site in still
            if site not in news or digest_tensor(old, olds[site]) != digest_tensor(new, news[site])
        ]
    if moved:
        _refuse(moved, f"in {folder}")


def _by_site(checkpoint: Checkpoint) -> dict[Site, str]:
    return resolve(checkpoint.info.config, checkpoint.info.tensors).names()


def _still(region: Region, found: Mapping[Site, str]) -> list[Site]:
    """Sites of files that must be as they were.

    A file may divide or spell what the model in memory has in one piece, as with experts: such a
    site must be as it was unless something of its block learns.
    """
    sites = region.architecture.sites
    frozen = {sites[name] for name in region.frozen}
    known = {sites[name] for name in (*region.frozen, *region.trained)}
    alive = {(s.component, s.layer, s.module) for s in map(sites.__getitem__, region.trained)}
    return [
        site
        for site in found
        if site in frozen
        or (site not in known and (site.component, site.layer, site.module) not in alive)
    ]


def _refuse(moved: Sequence[str], where: str) -> None:
    more = f" and {len(moved) - 1} more" if len(moved) > 1 else ""
    raise ExecutionError(
        f"{moved[0]}{more} was to stand still and differs {where} after training. The result is "
        "not kept. Something besides the optimizer writes weights; look at the trl: part of the "
        "configuration, and at callbacks or plugins of accelerate."
    )
