"""Carry a plan out with mergekit: its loader, its graph executor, its methods.

The oracle our own engine is tested against, and a choice for whoever wants mergekit's word. Every
tensor op becomes one task graph of mergekit's; only the finished tensors pass through our writer,
so that the folder is laid out alike and never half-written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from surgery.checkpoint.folder import INDEX, SINGLE
from surgery.errors import ExecutionError, PlanError
from surgery.methods.whole import one_thread
from surgery.plan.model import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from surgery.checkpoint.source import CheckpointInfo
    from surgery.plan.model import Plan, TensorOp


class MergekitEngine:
    """Computes a plan's tensors through mergekit.

    Args:
        plan: What will be computed.

    Raises:
        PlanError: If the plan needs what mergekit cannot do.
    """

    def __init__(self, plan: Plan) -> None:
        from mergekit.common import ModelPath, ModelReference
        from mergekit.io.tasks import LoaderCache
        from mergekit.options import MergeOptions

        self._references: dict[str, Any] = {}
        for name, info in plan.models.items():
            if info.formed:
                raise PlanError(
                    f"model {name!r} is a base with an adapter, which mergekit can only read after "
                    f"merging it to disk. Use '--engine surgery'."
                )
            _refuse_other_weights(name, info)
            # Built, not parsed: mergekit takes a plus sign in a path for an adapter.
            self._references[name] = ModelReference(
                model=ModelPath(path=str(info.folder.resolve()))
            )
        self._loader = LoaderCache()
        self._loader.setup(options=MergeOptions())

    def compute(self, op: TensorOp) -> Tensor:
        """One output tensor: `Tensor` of the op's shape and element type.

        Raises:
            ExecutionError: If mergekit fails on it.
            PlanError: If two of its inputs are one model under two names.
        """
        from mergekit.graph import Executor

        dtype = getattr(torch, op.dtype.torch_name)
        if not op.numel:
            return torch.empty(op.shape, dtype=dtype)
        with torch.random.fork_rng(devices=[]), one_thread():
            torch.manual_seed(op.parameters.get("seed", 0))
            try:
                task = self._task(op)
                ((_, value),) = Executor([task], math_device="cpu").run(quiet=True)
            except (RuntimeError, ValueError, TypeError, OSError) as error:
                raise ExecutionError(
                    f"mergekit could not make {op.name} ({op.method}): {error}"
                ) from error
        tensor: Tensor = value
        return tensor.to(dtype).reshape(op.shape)

    def close(self) -> None:
        """Let go of the files that mergekit holds open."""
        self._loader.flush_all()

    def _task(self, op: TensorOp) -> Any:
        from mergekit.architecture import WeightInfo
        from mergekit.common import ImmutableMap
        from mergekit.io.tasks import GatherTensors
        from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask

        method, shared, per_input, base = self._arguments(op)
        named = {self._references[ref.model]: ref.tensor for ref in op.inputs}
        if op.kind in (Kind.SLERP, Kind.MERGE) and len(named) != len(op.inputs):
            raise PlanError(
                f"{op.name}: {op.method} is given one checkpoint under two names, which mergekit "
                f"takes for one model. Use '--engine surgery', or name it once."
            )
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
                data={model: ImmutableMap(data=given) for model, given in per_input.items()}
            ),
            base_model=base,
            output_weight=WeightInfo(name=op.name),
            dtype=None if method == "passthrough" else "float32",
            out_dtype=None,
        )

    def _arguments(
        self, op: TensorOp
    ) -> tuple[str, dict[str, Any], dict[Any, dict[str, Any]], Any]:
        """Mergekit's method, shared parameters, per-model parameters and base for an op."""
        models = [self._references[ref.model] for ref in op.inputs]
        if op.kind is Kind.LINEAR:
            t = op.parameters["t"]
            return "linear", {"normalize": False}, _weights(models, [1 - t, t]), None
        if op.kind is Kind.ADD:
            weight = op.parameters["weight"]
            weights = _weights(models, [1.0, weight, -weight])
            return "linear", {"normalize": False}, weights, None
        if op.kind is Kind.SLERP:
            t = op.parameters["t"]
            return "slerp", {"t": t}, {model: {} for model in models}, models[0]
        if op.kind is Kind.MERGE:
            return self._merge_arguments(op, models)
        return "passthrough", {}, {models[0]: {"scale": None}}, None

    def _merge_arguments(
        self, op: TensorOp, models: list[Any]
    ) -> tuple[str, dict[str, Any], dict[Any, dict[str, Any]], Any]:
        from mergekit import merge_methods

        parameters: Mapping[str, Any] = op.parameters
        spec = merge_methods.get(parameters["method"]).spec
        shared = {p.name: p.default for p in spec.shared_parameters} | parameters["shared"]
        per_input = {
            model: {p.name: given.get(p.name, p.default) for p in spec.input_parameters}
            for model, given in zip(models, parameters["per_input"], strict=True)
        }
        base = None if parameters["base"] is None else models[parameters["base"]]
        return parameters["method"], shared, per_input, base


def _refuse_other_weights(name: str, info: CheckpointInfo) -> None:
    """Hand mergekit only folders that it reads as we do.

    It looks for two names, and falls back to opening a pickle.

    Raises:
        PlanError: If the folder's weights are kept another way.
    """
    if not all((info.folder / shard).is_file() for shard in info.shards):
        raise PlanError(
            f"model {name!r} ({info.reference}) is read from the Hub by ranges, but mergekit reads "
            f"folders. Fetch it whole: --remote cache."
        )
    indexed = (info.folder / INDEX).is_file()
    if not indexed and info.shards == (SINGLE,):
        return
    if not indexed or info.shards == (SINGLE,):
        raise PlanError(
            f"model {name!r} ({info.reference}) keeps its weights in {', '.join(info.shards)}, but "
            f"mergekit would read {INDEX if indexed else 'a pickle file'}. Use '--engine surgery'."
        )


def _weights(models: list[Any], weights: list[float]) -> dict[Any, dict[str, float]]:
    """Weights by model, added up where one model appears twice."""
    total: dict[Any, dict[str, float]] = {}
    for model, weight in zip(models, weights, strict=True):
        total[model] = {"weight": total.get(model, {"weight": 0.0})["weight"] + weight}
    return total
