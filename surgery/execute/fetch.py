"""The cost of fetching what a plan reads from the Hub, and the fetching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.checkpoint.source import Checkpoint, Fetch
    from surgery.plan.model import Plan


def fetches(plan: Plan, checkpoints: Mapping[str, Checkpoint]) -> dict[str, Fetch]:
    """Return the cost of fetching what a plan reads, by model; local models are omitted.

    Args:
        plan: The plan.
        checkpoints: The recipe's models, open.
    """
    costs = {
        name: checkpoints[name].fetch_cost(tensors)
        for name, tensors in _inputs(plan).items()
        if tensors
    }
    return {name: cost for name, cost in costs.items() if cost is not None}


def prefetch(plan: Plan, checkpoints: Mapping[str, Checkpoint]) -> None:
    """Begin to fetch what a plan reads and is not here.

    Args:
        plan: The plan.
        checkpoints: The recipe's models, open.

    Raises:
        CheckpointError: If a file cannot be fetched, or the disk has too little space.
    """
    for name, tensors in _inputs(plan).items():
        checkpoints[name].prefetch(tensors)


def _inputs(plan: Plan) -> dict[str, list[str]]:
    """Return every model's tensors that the plan reads, each once."""
    result: dict[str, dict[str, None]] = {name: {} for name in plan.models}
    for op in plan.ops:
        for ref in op.inputs:
            result[ref.model][ref.tensor] = None
    return {name: list(tensors) for name, tensors in result.items()}
