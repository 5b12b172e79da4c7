"""A parameter's value in the type that its method wants, as mergekit converts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surgery.errors import RecipeError

if TYPE_CHECKING:
    from surgery.errors import Place
    from surgery.methods.table import Parameter


def convert(value: Any, parameter: Parameter, place: Place) -> Any:
    """Convert a value, or each value of a gradient.

    mergekit takes 1 and 1.0 for true, true for 1.0, and 8.0 for 8.

    Raises:
        RecipeError: If mergekit would refuse the value too.
    """
    if isinstance(value, tuple):
        return tuple(convert(item, parameter, place) for item in value)
    if parameter.kind is bool and value in (0, 1):
        return bool(value)
    if parameter.kind is float and not isinstance(value, str):
        return float(value) if isinstance(value, bool) else value
    if parameter.kind is int and float(value).is_integer():
        return int(value)
    expected = "true or false" if parameter.kind is bool else "a whole number"
    raise RecipeError(f"{parameter.name} is {expected}; found {value}.", place)
