"""The checks of a plan before a weight is read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from surgery.arch.site import Component
from surgery.checkpoint.vocabulary import differing_tokens, vocabulary
from surgery.errors import PlanError
from surgery.plan.memory import projected_memory, whole_memory, worst_op
from surgery.reading import resolve
from surgery.text import first_names, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.plan.model import Plan


def validate(plan: Plan, out: Path, *, workers: int) -> None:
    """Refuse a plan that would fail or mislead, before anything is read or written.

    Shapes, element types, layer counts and ties were compared when the plan was made; this looks
    at vocabularies, the free disk and the memory.

    Args:
        plan: The plan.
        out: The folder to be written.
        workers: The number of threads.

    Raises:
        PlanError: If vocabularies differ, or disk or memory will not do.
    """
    check_vocabularies(plan)
    _check_inputs_stay(plan, out)
    parent = _existing(out)
    free = shutil.disk_usage(parent).free
    need = plan.nbytes + (16 << 20)
    if free < need:
        raise PlanError(
            f"{out} needs {size_text(need)} but {parent} has {size_text(free)} free. Make room, or "
            f"choose a folder on another disk."
        )
    memory = projected_memory(plan, workers)
    available = available_memory()
    if available is not None and memory > available:
        worst = worst_op(plan)
        because = (
            f"; the largest part is {worst.method} of {worst.name} {list(worst.shape)} with "
            f"{size_text(whole_memory(worst))}"
            if worst
            else ""
        )
        raise PlanError(
            f"this plan may need {size_text(memory)} of memory and {size_text(available)} are "
            f"available{because}. Fewer workers, a linear or slerp step, or a smaller selection "
            "need less."
        )


def _check_inputs_stay(plan: Plan, out: Path) -> None:
    """Refuse an output that would replace what it is made from."""
    target = resolve(out)
    for name, info in plan.models.items():
        folders = [folder for folder in (info.folder, info.adapter) if folder is not None]
        read = [*folders, *(info.folder / shard for shard in info.shards)]
        if any(path.resolve().is_relative_to(target) for path in read):
            raise PlanError(
                f"{out} is, or holds, the model {name!r} ({info.reference}) that this recipe "
                f"reads. Choose another folder."
            )


def check_vocabularies(plan: Plan) -> None:
    """Refuse models whose token ids mean different things, unless the recipe says otherwise.

    Raises:
        PlanError: Naming the embedding tensors and the first tokens that differ.
    """
    if plan.recipe.vocabulary == "ignore":
        return
    base = plan.recipe.base
    rows = _embeddings(plan, base)
    _check_adapter_tokens(plan, rows)
    for name, info in plan.models.items():
        if name == base:
            continue
        other = _embeddings(plan, name)
        sizes = [
            f"{tensor} has {rows[site][1]} rows in {base!r}, {difference} in {name!r}"
            for site, (tensor, difference) in other.items()
            if site in rows and rows[site][1] != difference
        ]
        tokens = differing_tokens(plan.base, info)
        if sizes or tokens:
            listed = first_names([repr(token) for token in tokens], 5)
            difference = [
                *sizes,
                *([f"these tokens have different ids: {listed}"] if tokens else []),
            ]
            raise PlanError(
                f"the vocabularies of {base!r} ({plan.base.reference}) and {name!r} "
                f"({info.reference}) differ: {'; '.join(difference)}. If only layers move and the "
                f"base's vocabulary is right for the result, set 'vocabulary: ignore' in the "
                f"recipe."
            )


def _check_adapter_tokens(plan: Plan, embeddings: Mapping[str, tuple[str, int]]) -> None:
    """Refuse an adapter's tokenizer with more tokens than the base has rows for."""
    if plan.base.adapter is None:
        return
    tokens = vocabulary(plan.base) or {}
    for tensor, rows in embeddings.values():
        beyond = [token for token, index in tokens.items() if index >= rows]
        if beyond:
            raise PlanError(
                f"the tokenizer of {plan.recipe.base!r}, from the adapter's folder "
                f"{plan.base.adapter}, has {len(beyond)} tokens without a row, {beyond[0]!r} "
                f"first: {tensor} has {rows} rows. The adapter was trained on an enlarged "
                f"embedding: enlarge the base likewise (`resize_token_embeddings`), merge the "
                f"adapter into it with PEFT (`merge_and_unload()`) and name the merged folder."
            )


def _embeddings(plan: Plan, name: str) -> dict[str, tuple[str, int]]:
    """Return a model's embedding and head: canonical name to (tensor name, rows)."""
    info = plan.models[name]
    return {
        site.canonical: (tensor, info.tensors[tensor].shape[0])
        for tensor, site in plan.architectures[name].sites.items()
        if site.component in (Component.EMBEDDING, Component.HEAD) and info.tensors[tensor].shape
    }


def _existing(path: Path) -> Path:
    """Return the nearest folder above `path` that exists."""
    for parent in path.absolute().parents:
        if parent.is_dir():
            return parent
    return Path(path.absolute().anchor)


def available_memory() -> int | None:
    """Return the bytes this process may still take, or None where the system does not say."""
    limits = []
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        fields = dict(
            line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line
        )
        limits.append(int(fields["MemAvailable"].split()[0]) << 10)
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
        limits.append(int(limit.read_text()) - int(used.read_text()))
    return min(limits, default=None)
