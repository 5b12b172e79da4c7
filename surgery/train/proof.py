"""Verification that frozen parameters did not change and that trained parameters did."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from surgery.arch import resolve
from surgery.checkpoint.digest import digest_tensor
from surgery.checkpoint.open import open_checkpoint
from surgery.errors import ExecutionError
from surgery.text import first_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from surgery.arch.site import Site
    from surgery.checkpoint.source import Checkpoint, CheckpointInfo
    from surgery.train.region import FrozenRegion


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


def check_frozen(before: Mapping[str, str], model: Any, region: FrozenRegion) -> list[str]:
    """Compare a trained model with its initial weights.

    Args:
        before: From `fingerprints`, before the first step.
        model: After the last.
        region: The frozen region.

    Returns:
        Names of trained parameters that did not change.

    Raises:
        ExecutionError: If a frozen parameter changed, or a trained one is no longer finite.
    """
    import torch

    broken = [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]
    if broken:
        raise ExecutionError(
            f"training diverged: {first_names(broken, 1)} hold numbers that are not "
            "finite. The result is not kept; check grad_norm in log.csv and lower 'lr'."
        )
    after = fingerprints(model)
    moved = [name for name in region.frozen if before.get(name) != after.get(name)]
    if moved:
        _refuse(moved, "in memory")
    return [name for name in region.trained if name in before and before[name] == after[name]]


def check_saved(start: CheckpointInfo, folder: Path, region: FrozenRegion) -> list[str]:
    """Compare the files of a trained model with the initial files, byte for byte.

    Args:
        start: The checkpoint that training started from.
        folder: The one that was written.
        region: The frozen region.

    Returns:
        Names of trained tensors that are unchanged in the file.

    Raises:
        ExecutionError: If a frozen tensor differs, or is missing.
    """
    from surgery.checkpoint.open import open_recorded

    with open_recorded(start.reference, start.revision) as old, open_checkpoint(str(folder)) as new:
        olds, news = _by_site(old), _by_site(new)

        def same(site: Site) -> bool:
            """Check whether a tensor is unchanged; a tied one is stored under its first name."""
            place = news.get(site) or news.get(region.first.get(site, site))
            if place is None:
                return False
            return digest_tensor(old, olds[site]) == digest_tensor(new, place)

        frozen_sites = _frozen_sites(region, olds)
        moved = [olds[site] for site in frozen_sites if not same(site)]
        unchanged = [olds[site] for site in olds if region.named.get(site) and same(site)]
    if moved:
        _refuse(moved, f"in {folder}")
    return unchanged


def left_out(start: CheckpointInfo, region: FrozenRegion) -> list[str]:
    """Tensors of a checkpoint that are no part of the model, such as a prediction layer's."""
    names = resolve(start.config, start.tensors).names()
    return [name for site, name in names.items() if _is_foreign(site, region)]


def _is_foreign(site: Site, region: FrozenRegion) -> bool:
    """Check whether a site of a file is unknown in memory, with its whole block."""
    return site not in region.named and _block(site) not in map(_block, region.named)


def _block(site: Site) -> tuple[object, ...]:
    return site.component, site.layer, site.module


def _by_site(checkpoint: Checkpoint) -> dict[Site, str]:
    return resolve(checkpoint.info.config, checkpoint.info.tensors).names()


def _frozen_sites(region: FrozenRegion, sites: Mapping[Site, str]) -> list[Site]:
    """Return the sites of files that must be unchanged.

    A file may divide or spell what the model in memory has in one piece, as with experts: such a
    site must be unchanged unless something in its block is trained.
    """
    frozen = {site for site, learns in region.named.items() if not learns}
    alive = {_block(site) for site, learns in region.named.items() if learns}
    return [
        site
        for site in sites
        if site in frozen
        or (
            site not in region.named and _block(site) not in alive and not _is_foreign(site, region)
        )
    ]


def _refuse(moved: Sequence[str], location: str) -> None:
    raise ExecutionError(
        f"{first_names(moved, 1)} is frozen but differs {location} after training. The "
        "result is not kept. Something other than the optimizer changes weights; check the trl: "
        "section of the configuration, and callbacks or plugins of accelerate."
    )
