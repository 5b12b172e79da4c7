"""The merging methods that a recipe's `merge:` step can name.

The names, parameters and input rules are mergekit's own (0.1.5); a test holds this table against
the installed package, so that recipes are checked without importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Scope(StrEnum):
    """The owner of a parameter's value."""

    SHARED = "shared"
    INPUT = "input"
    NON_BASE = "non_base"


class BaseRule(StrEnum):
    """A method's use of the base model."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method.

    Attributes:
        name: mergekit's name for it.
        kind: The Python type of one value.
        scope: Whether there is one value, one per model, or one per model other than the base.
        default: The value when none is given; None when it must be given.
    """

    name: str
    kind: type[float] | type[bool] | type[int]
    scope: Scope = Scope.SHARED
    default: float | bool | None = None
    required: bool = False


@dataclass(frozen=True)
class Method:
    """A merging method as recipes see it.

    Attributes:
        name: mergekit's name.
        parameters: What can be set.
        base: What it does with the base.
        min_inputs: Fewest models, the base included when it takes one.
        max_inputs: Most models, or None without a limit.
        beside_base: Exact number of models other than the base, where a method wants one.
        random: Whether it draws random numbers, so that the step's seed matters.
        source: Where the method is described.
    """

    name: str
    parameters: tuple[Parameter, ...]
    base: BaseRule
    min_inputs: int = 1
    max_inputs: int | None = None
    beside_base: int | None = None
    random: bool = False
    source: str = ""


_MASK = Parameter("int8_mask", bool, default=False)


def _task_arithmetic(
    name: str,
    source: str,
    *,
    normalize: bool = False,
    rescale: bool = False,
    random: bool = False,
    extra: tuple[Parameter, ...] = (),
) -> Method:
    """One of the methods that add sparse, weighted deltas to a base."""
    parameters = (
        _MASK,
        Parameter("normalize", bool, default=normalize),
        Parameter("rescale", bool, default=rescale),
        Parameter("lambda", float, default=1.0),
        Parameter("weight", float, Scope.NON_BASE, required=True),
        Parameter("density", float, Scope.NON_BASE, default=1.0),
        *extra,
    )
    return Method(name, parameters, BaseRule.REQUIRED, random=random, source=source)


_GAMMA = Parameter("gamma", float, Scope.NON_BASE, default=0.01)
_EPSILON = Parameter("epsilon", float, Scope.NON_BASE, default=0.15)
_ROWS = (
    Method(
        "linear",
        (
            Parameter("weight", float, Scope.INPUT, required=True),
            Parameter("normalize", bool, default=True),
        ),
        BaseRule.IGNORED,
        source="arXiv 2203.05482",
    ),
    Method(
        "passthrough",
        (Parameter("scale", float, Scope.INPUT),),
        BaseRule.IGNORED,
        max_inputs=1,
        source="mergekit",
    ),
    Method(
        "slerp",
        (Parameter("t", float, required=True),),
        BaseRule.REQUIRED,
        min_inputs=2,
        max_inputs=2,
        source="Shoemake 1985, Animating rotation with quaternion curves",
    ),
    Method(
        "nuslerp",
        (
            Parameter("weight", float, Scope.NON_BASE, required=True),
            Parameter("nuslerp_row_wise", bool, default=False),
            Parameter("nuslerp_flatten", bool, default=True),
        ),
        BaseRule.OPTIONAL,
        min_inputs=2,
        max_inputs=3,
        beside_base=2,
        source="mergekit",
    ),
    Method(
        "multislerp",
        (
            Parameter("weight", float, Scope.NON_BASE, required=True),
            Parameter("normalize_weights", bool, default=True),
            Parameter("eps", float, default=1e-8),
        ),
        BaseRule.OPTIONAL,
        source="https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
    ),
    Method(
        "karcher",
        (Parameter("max_iter", int, default=10), Parameter("tol", float, default=1e-5)),
        BaseRule.IGNORED,
        source="arXiv 2603.04972",
    ),
    Method(
        "nearswap",
        (Parameter("t", float, required=True),),
        BaseRule.REQUIRED,
        min_inputs=2,
        max_inputs=2,
        source="https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
    ),
    Method("arcee_fusion", (), BaseRule.REQUIRED, 2, 2, source="https://arcee.ai"),
    Method(
        "model_stock",
        (Parameter("filter_wise", bool, default=False),),
        BaseRule.REQUIRED,
        min_inputs=3,
        source="arXiv 2403.19522",
    ),
    Method(
        "sce",
        (_MASK, Parameter("select_topk", float, default=1.0)),
        BaseRule.REQUIRED,
        source="arXiv 2408.07990",
    ),
    Method(
        "ram",
        (Parameter("epsilon", float, default=1e-5),),
        BaseRule.REQUIRED,
        source="arXiv 2601.13572",
    ),
    Method(
        "ramplus_tl",
        (
            Parameter("r", float, default=0.1),
            Parameter("alpha", float, default=0.2),
            Parameter("epsilon", float, default=1e-5),
        ),
        BaseRule.REQUIRED,
        source="arXiv 2601.13572",
    ),
    _task_arithmetic("task_arithmetic", "arXiv 2212.04089"),
    _task_arithmetic("ties", "arXiv 2306.01708", normalize=True),
    _task_arithmetic("dare_ties", "arXiv 2311.03099", rescale=True, random=True),
    _task_arithmetic("dare_linear", "arXiv 2311.03099", rescale=True, random=True),
    _task_arithmetic("breadcrumbs", "arXiv 2312.06795", extra=(_GAMMA,)),
    _task_arithmetic("breadcrumbs_ties", "arXiv 2312.06795", extra=(_GAMMA,)),
    _task_arithmetic(
        "della",
        "arXiv 2406.11617",
        normalize=True,
        rescale=True,
        random=True,
        extra=(_EPSILON,),
    ),
    _task_arithmetic(
        "della_linear", "arXiv 2406.11617", rescale=True, random=True, extra=(_EPSILON,)
    ),
)

METHODS: Mapping[str, Method] = {method.name: method for method in _ROWS}
