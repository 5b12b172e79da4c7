"""mergekit's methods on whole tensors, through its own kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from surgery.errors import ExecutionError
from surgery.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from surgery.methods.operations import MergekitMethod


def merge_tensors(name: str, tensors: Sequence[Tensor], merge: MergekitMethod) -> Tensor:
    """Apply one of mergekit's methods.

    Random methods start from the op's own seed, so that the result depends neither on the order in
    which tensors are done nor on the rest of a recipe. PyTorch's kernels draw from its global
    generator, so calls must not overlap.

    Args:
        name: Name of the output tensor.
        tensors: `Float[Tensor, "*shape"]` each, float32 or float64.
        merge: The method and its parameters.

    Returns:
        `Float[Tensor, "*shape"]` in the inputs' element type.

    Raises:
        ExecutionError: If mergekit refuses the tensors or a parameter's value.
    """
    from mergekit import merge_methods
    from mergekit.merge_methods.base import ParameterScope, TensorGroup

    method = merge_methods.get(merge.method)
    base = merge.base
    group = TensorGroup.from_tensors(tensors, base_index=base, name=name)
    arguments = dict(merge.shared)
    for spec in method.spec.input_parameters:
        values = {
            index: value[spec.name]
            for index, value in enumerate(merge.per_input)
            if spec.name in value and not (spec.scope == ParameterScope.NON_BASE and index == base)
        }
        names = [
            e.id
            for e in (group.non_base if spec.scope == ParameterScope.NON_BASE else group.entries)
        ]
        if values:
            arguments[spec.name] = {index: values.get(index, spec.default) for index in names}
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(merge.seed)
        try:
            (merged,) = method((group,), parameters=arguments)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ExecutionError(f"mergekit's {merge.method} refused {name}: {error}") from error
    result: Tensor = merged
    return result
