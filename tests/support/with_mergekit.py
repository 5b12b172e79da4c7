"""A plan carried out by mergekit: its loader, its graph executor, its methods.

The oracle that the project's own engine is tested against. Every operation becomes one task graph
of mergekit's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from surgery.methods.operations import Linear, MergekitMethod, Slerp, TaskArithmetic
from surgery.plan import make_plan
from surgery.recipe import opened, parse_recipe
from surgery.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from surgery.plan import Plan, TensorOp

    Arguments = tuple[str, dict[str, Any], dict[Any, dict[str, Any]], Any]


def merge_with_mergekit(text: str) -> dict[str, Tensor]:
    """Return every tensor that a recipe's text makes of folders, as mergekit computes it."""
    from mergekit.io.tasks import LoaderCache

    recipe = parse_recipe(text)
    with opened(recipe) as models:
        plan = make_plan(recipe, models)
        engine = MergekitEngine(plan)
        try:
            return {op.name: engine.compute(op) for op in plan.ops}
        finally:
            LoaderCache().flush_all()


class MergekitEngine:
    """Computes a plan's tensors through mergekit."""

    def __init__(self, plan: Plan) -> None:
        from mergekit.common import ModelPath, ModelReference
        from mergekit.io.tasks import LoaderCache
        from mergekit.options import MergeOptions

        # Built, not parsed: mergekit takes a plus sign in a path for an adapter.
        self._references = {
            name: ModelReference(model=ModelPath(path=str(info.folder.resolve())))
            for name, info in plan.models.items()
        }
        LoaderCache().setup(options=MergeOptions())

    def compute(self, op: TensorOp) -> Tensor:
        """Return one output tensor: `Tensor` of the op's shape and element type."""
        from mergekit.graph import Executor

        dtype = getattr(torch, op.dtype.torch_name)
        if not op.numel:
            return torch.empty(op.shape, dtype=dtype)
        seed = op.operation.seed if isinstance(op.operation, MergekitMethod) else 0
        with torch.random.fork_rng(devices=[]), one_thread():
            torch.manual_seed(seed)
            ((_, value),) = Executor([self._task(op)], math_device="cpu").run(quiet=True)
        tensor: Tensor = value
        return tensor.to(dtype).reshape(op.shape)

    def _task(self, op: TensorOp) -> Any:
        from mergekit.architecture import WeightInfo
        from mergekit.common import ImmutableMap
        from mergekit.io.tasks import GatherTensors
        from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask

        method, shared, per_input, base = self._arguments(op)
        named = {self._references[ref.model]: ref.tensor for ref in op.inputs}
        gather = GatherTensors(
            weight_info=ImmutableMap(
                data={model: WeightInfo(name=name) for model, name in named.items()}
            )
        )
        return ExecuteMergeMethodTask(
            method_name=method,
            gather_tensors=gather,
            model_order=tuple(named),
            parameters=ImmutableMap(data=shared),
            input_parameters=ImmutableMap(
                data={model: ImmutableMap(data=value) for model, value in per_input.items()}
            ),
            base_model=base,
            output_weight=WeightInfo(name=op.name),
            dtype=None if method == "passthrough" else "float32",
            out_dtype=None,
        )

    def _arguments(self, op: TensorOp) -> Arguments:
        """Return mergekit's method, shared parameters, parameters per model, and base."""
        models = [self._references[ref.model] for ref in op.inputs]
        match op.operation:
            case Linear(t):
                return "linear", {"normalize": False}, _weights(models, [1 - t, t]), None
            case TaskArithmetic(weight):
                weights = _weights(models, [1.0, weight, -weight])
                return "linear", {"normalize": False}, weights, None
            case Slerp(t):
                return "slerp", {"t": t}, {model: {} for model in models}, models[0]
            case MergekitMethod() as merge:
                return _merge_arguments(merge, models)
            case _:
                return "passthrough", {}, {models[0]: {"scale": None}}, None


def _merge_arguments(merge: MergekitMethod, models: list[Any]) -> Arguments:
    from mergekit import merge_methods

    spec = merge_methods.get(merge.method).spec
    shared = {p.name: p.default for p in spec.shared_parameters} | dict(merge.shared)
    per_input = {
        model: {p.name: value.get(p.name, p.default) for p in spec.input_parameters}
        for model, value in zip(models, merge.per_input, strict=True)
    }
    base = None if merge.base is None else models[merge.base]
    return merge.method, shared, per_input, base


def _weights(models: list[Any], weights: list[float]) -> dict[Any, dict[str, float]]:
    """Return weights by model, added up where one model appears twice."""
    total: dict[Any, dict[str, float]] = {}
    for model, weight in zip(models, weights, strict=True):
        total[model] = {"weight": total.get(model, {"weight": 0.0})["weight"] + weight}
    return total
