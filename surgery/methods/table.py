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
    """What a parameter has one value for."""

    SHARED = "shared"
    INPUT = "input"
    NON_BASE = "non_base"


class BaseRule(StrEnum):
    """What a method does with the base model."""

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
        random: Whether it draws random numbers, so that the step's seed matters.
        source: Where the method is described.
    """

    name: str
    parameters: tuple[Parameter, ...]
    base: BaseRule
    min_inputs: int = 1
    max_inputs: int | None = None
    random: bool = False
    source: str = ""
