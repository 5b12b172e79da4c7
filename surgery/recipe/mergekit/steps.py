"""The operation that mergekit applies to one tensor, as steps of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from surgery.errors import RecipeError, did_you_mean
from surgery.methods.table import METHODS, BaseRule, Scope
from surgery.recipe.recipe import Add, Interpolate, Merge, Transplant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from surgery.errors import Place
    from surgery.recipe.recipe import Scalar, Step
    from surgery.recipe.select import Selector

_NEAR = 1e-9


@dataclass(frozen=True)
class ModelCopy:
    """A model's own tensor."""

    model: str


@dataclass(frozen=True)
class Between:
    """From the base at 0 to another model at 1."""

    kind: Literal["linear", "slerp"]
    other: str
    t: tuple[float, ...]


@dataclass(frozen=True)
class Sum:
    """The base plus a weighted difference."""

    plus: str
    minus: str
    weight: float


@dataclass(frozen=True)
class General:
    """A merge method with all its settings."""

    method: str
    models: tuple[tuple[str, tuple[tuple[str, Scalar], ...]], ...]
    base: str | None
    shared: tuple[tuple[str, Scalar], ...]


Action: TypeAlias = ModelCopy | Between | Sum | General


@dataclass(frozen=True)
class TensorSettings:
    """All settings of mergekit for one tensor.

    Attributes:
        method: The merge method.
        models: Each source with its parameters.
        shared: The parameters that hold for all.
        base: The base that applies.
        recipe_base: The base that the recipe will have.
        place: Where to point.
    """

    method: str
    models: Mapping[str, Mapping[str, Any]]
    shared: Mapping[str, Any]
    base: str | None
    recipe_base: str
    place: Place


def action_of(settings: TensorSettings) -> Action:
    """Return the operation that the settings define.

    Raises:
        RecipeError: If mergekit would refuse it too, or recipes cannot express it.
    """
    _check(settings)
    if settings.method == "passthrough":
        return _passthrough(settings)
    if settings.method == "linear":
        return _linear(settings)
    if settings.method == "slerp":
        return _slerp(settings)
    return _general(settings)


def combined(actions: Sequence[Action], base: str) -> Between | None:
    """Actions at the anchors of a gradient as one interpolation, if they are one.

    Args:
        actions: What happens at each anchor.
        base: The recipe's base, at t = 0.
    """
    between = [action for action in actions if isinstance(action, Between)]
    kinds = {(action.kind, action.other) for action in between}
    if len(kinds) != 1:
        return None
    ((kind, other),) = kinds
    ts: list[float] = []
    for action in actions:
        if isinstance(action, Between):
            ts += action.t
        elif isinstance(action, ModelCopy) and action.model in (base, other):
            ts.append(float(action.model == other))
        else:
            return None
    return Between(kind, other, tuple(ts))


def step_of(action: Action, selector: Selector, names: Mapping[str, str]) -> Step:
    """Return the step that applies `action` to `selector`.

    Args:
        action: What to do.
        selector: Where.
        names: The recipe's names of models, by what the file calls them.
    """
    if isinstance(action, ModelCopy):
        return Transplant(selector, names[action.model])
    if isinstance(action, Between):
        return Interpolate(selector, names[action.other], action.kind, action.t)
    if isinstance(action, Sum):
        return Add(selector, names[action.plus], names[action.minus], (action.weight,))
    return Merge(
        selector=selector,
        method=action.method,
        models={names[model]: dict(parameters) for model, parameters in action.models},
        base=None if action.base is None else names[action.base],
        parameters=dict(action.shared),
    )


def _check(settings: TensorSettings) -> None:
    """Check names and numbers of models against the method's rules."""
    method = METHODS[settings.method]
    names = {parameter.name for parameter in method.parameters}
    for name in [
        *settings.shared,
        *(n for parameters in settings.models.values() for n in parameters),
    ]:
        if name not in names:
            raise RecipeError(
                f"{method.name} has no parameter {name!r}."
                f"{did_you_mean(name, names) or ' It has none.'}",
                settings.place,
            )
    if method.base is BaseRule.REQUIRED and settings.base not in settings.models:
        raise RecipeError(f"{method.name} needs a base_model among its models.", settings.place)
    count, most = len(settings.models), method.max_inputs
    if count < method.min_inputs or (most is not None and count > most):
        raise RecipeError(
            f"{method.name} cannot merge {count} models: {', '.join(settings.models)}.",
            settings.place,
        )
    for parameter in method.parameters:
        if not parameter.required:
            continue
        if parameter.scope is Scope.SHARED and parameter.name not in settings.shared:
            raise RecipeError(f"{method.name} needs {parameter.name!r}.", settings.place)
        for model, parameters in settings.models.items():
            spared = parameter.scope is Scope.SHARED or (
                parameter.scope is Scope.NON_BASE and model == settings.base
            )
            if not spared and parameter.name not in parameters:
                raise RecipeError(
                    f"{method.name} needs {parameter.name!r} for {model}.", settings.place
                )


def _passthrough(settings: TensorSettings) -> Action:
    ((model, parameters),) = settings.models.items()
    scale = parameters.get("scale", 1.0)
    if scale == 1.0:
        return ModelCopy(model)
    return General("passthrough", ((model, (("scale", scale),)),), None, ())


def _linear(settings: TensorSettings) -> Action:
    """Return a weighted sum in its simplest form."""
    weights = {model: float(parameters["weight"]) for model, parameters in settings.models.items()}
    total = sum(weights.values())
    normalize = bool(settings.shared.get("normalize", True))
    if normalize and total == 0:
        raise RecipeError("the weights of a normalised linear merge sum to 0.", settings.place)
    nonzero = {model: weight for model, weight in weights.items() if weight != 0}
    if len(nonzero) == 1 and (normalize or abs(total - 1) < _NEAR):
        return ModelCopy(next(iter(nonzero)))
    if abs(total - 1) < _NEAR and settings.recipe_base in nonzero:
        other_weights = {model: w for model, w in nonzero.items() if model != settings.recipe_base}
        if len(other_weights) == 1:
            ((other, t),) = other_weights.items()
            if 0 <= t <= 1:
                return Between("linear", other, (t,))
        plus = [model for model, w in other_weights.items() if w > 0]
        minus = [model for model, w in other_weights.items() if w < 0]
        if len(plus) == len(minus) == 1 and nonzero[settings.recipe_base] == 1:
            return Sum(plus[0], minus[0], other_weights[plus[0]])
        if len(other_weights) == 1:
            ((other, weight),) = other_weights.items()
            return Sum(other, settings.recipe_base, weight)
    models = tuple((model, (("weight", weight),)) for model, weight in nonzero.items())
    shared = () if normalize else (("normalize", False),)
    return General("linear", models or _unmoved(settings), None, shared)


def _unmoved(settings: TensorSettings) -> tuple[tuple[str, tuple[tuple[str, Scalar], ...]], ...]:
    """Return an empty sum, which is a tensor of zeros."""
    return tuple((model, (("weight", 0.0),)) for model in settings.models)


def _slerp(settings: TensorSettings) -> Action:
    other = next(model for model in settings.models if model != settings.base)
    t = float(settings.shared["t"])
    assert settings.base is not None  # _check has looked
    if t in (0.0, 1.0):
        return ModelCopy(other if t else settings.base)
    if settings.base == settings.recipe_base and 0 <= t <= 1:
        return Between("slerp", other, (t,))
    return General("slerp", ((other, ()),), settings.base, (("t", t),))


def _general(settings: TensorSettings) -> Action:
    """Any other method, as it stands."""
    method = METHODS[settings.method]
    base = None if method.base is BaseRule.IGNORED else settings.base
    names = {p.name for p in method.parameters}
    models = {model: parameters for model, parameters in settings.models.items() if model != base}
    if "lambda" in names:
        # The methods that add weighted deltas: a model of weight 0 adds nothing.
        models = {
            model: parameters for model, parameters in models.items() if parameters["weight"] != 0
        }
        if not models:
            assert base is not None  # these methods need one
            return ModelCopy(base)
    return General(
        settings.method,
        tuple((model, tuple(sorted(parameters.items()))) for model, parameters in models.items()),
        base,
        tuple(sorted(settings.shared.items())),
    )
