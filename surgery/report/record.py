"""Plans and checkpoints as plain values for JSON, with stable keys."""

from __future__ import annotations

from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from surgery.arch.site import Component
from surgery.recipe.dump import step_settings
from surgery.text import layer_runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.arch.site import Architecture, Site
    from surgery.checkpoint.source import CheckpointInfo, Fetch
    from surgery.plan.model import Plan, TensorOp
    from surgery.recipe.recipe import Step


def plan_record(
    plan: Plan, memory: int, fetches: Mapping[str, Fetch] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the whole plan; layer ranges are half-open, `[first, end]`.

    Args:
        plan: What to tell.
        memory: Projected memory in bytes.
        fetches: What has to be fetched from the Hub, by the recipe's name of the model.
    """
    return {
        "recipe": {
            "name": plan.recipe.name,
            "description": plan.recipe.description,
            "base": plan.recipe.base,
            "steps": [_step(plan, i, step) for i, step in enumerate(plan.recipe.steps)],
        },
        "models": {
            name: {
                **model_record(info),
                **{
                    key: len(getattr(plan.conservation[name], key))
                    for key in ("used", "replaced", "unused")
                },
                "absent": list(plan.conservation[name].absent),
            }
            for name, info in plan.models.items()
        },
        "output": {"bytes": plan.nbytes, "shards": list(plan.shards), "memory_bytes": memory},
        "fetch": {name: fetch_record(cost) for name, cost in fetches.items()},
        "notes": list(plan.notes),
        "tensors": [_op(op) for op in plan.ops],
    }


def fetch_record(cost: Fetch) -> dict[str, Any]:
    """Return the cost of fetching from the Hub, both ways, and which is taken."""
    return {**asdict(cost), "way": str(cost.way)}


def model_record(info: CheckpointInfo) -> dict[str, Any]:
    """Return the identity of a checkpoint."""
    return {
        "reference": str(info.reference),
        "revision": info.revision,
        "fingerprint": info.fingerprint,
    }


def _step(plan: Plan, index: int, step: Step) -> dict[str, Any]:
    layers = step.selector.layers(plan.architecture, plan.recipe.cuts)
    ops = plan.ops_of(index)
    record: dict[str, Any] = {
        "kind": step.kind,
        "selector": str(step.selector),
        "layers": {name.value: layer_runs(numbers) for name, numbers in layers.items()},
        "tensors": len(ops),
        "bytes": sum(op.nbytes for op in ops),
    }
    return record | step_settings(step)


def _op(op: TensorOp) -> dict[str, Any]:
    return {
        "name": op.name,
        "site": site_record(op.site),
        "shape": list(op.shape),
        "dtype": op.dtype.value,
        "bytes": op.nbytes,
        "shard": op.shard,
        "kind": op.operation.kind,
        "method": op.method,
        "inputs": [{"model": ref.model, "tensor": ref.tensor} for ref in op.inputs],
        "parameters": op.operation.parameters,
        "step": op.step,
    }


def site_record(site: Site) -> dict[str, Any]:
    """Return a tensor's place."""
    return {
        "canonical": site.canonical,
        "component": site.component.value,
        "layer": site.layer,
        "module": site.module.value,
        "leaf": site.leaf,
    }


def inspect_record(info: CheckpointInfo, architecture: Architecture) -> dict[str, Any]:
    """Return what `surgery inspect --json` prints, but for the single tensors."""
    return {
        **model_record(info),
        "family": architecture.family,
        "guessed": list(architecture.guessed),
        "tied_head": architecture.tied_head,
        "shards": list(info.shards),
        "components": {
            part.value: component_record(info, architecture, part)
            for part in Component
            if any(site.component is part for site in architecture.sites.values())
        },
    }


def component_record(
    info: CheckpointInfo, architecture: Architecture, component: Component
) -> dict[str, Any]:
    """Size of one component."""
    from surgery.arch.regions import regions

    tensors = [info.tensors[n] for n, s in architecture.sites.items() if s.component is component]
    layers = architecture.layers.get(component, 0)
    thirds = regions(layers) if layers else {}
    return {
        "layers": layers,
        "tensors": len(tensors),
        "parameters": sum(header.numel for header in tensors),
        "bytes": sum(header.nbytes for header in tensors),
        "dtypes": sorted({header.dtype.value for header in tensors}),
        "regions": {str(name): [cut.start, cut.stop] for name, cut in thirds.items()},
    }
