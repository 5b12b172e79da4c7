"""What mergekit does to one tensor, in the words of recipes."""

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
    """A merge method with everything it is given."""

    method: str
    models: tuple[tuple[str, tuple[tuple[str, Scalar], ...]], ...]
    base: str | None
    shared: tuple[tuple[str, Scalar], ...]


Action: TypeAlias = ModelCopy | Between | Sum | General


@dataclass(frozen=True)
class Given:
    """All that mergekit is given for one tensor.

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


def action_of(given: Given) -> Action:
    """What it comes down to.

    Raises:
        RecipeError: If mergekit would refuse it too, or recipes cannot say it.
    """
    _check(given)
    if given.method == "passthrough":
        return _passthrough(given)
    if given.method == "linear":
        return _linear(given)
    if given.method == "slerp":
        return _slerp(given)
    return _general(given)


def combined(actions: Sequence[Action], base: str) -> Between | None:
    """Actions at the anchors of a gradient as one interpolation, if they are one.

    Args:
        actions: What happens at each anchor.
        base: The recipe's base, at t = 0.
    """
    found = [action for action in actions if isinstance(action, Between)]
    kinds = {(action.kind, action.other) for action in found}
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
    """The step that does `action` where `selector` says.

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
        models={names[model]: dict(own) for model, own in action.models},
        base=None if action.base is None else names[action.base],
        parameters=dict(action.shared),
    )


def _check(given: Given) -> None:
    """Hold names and numbers of models against the method's rules."""
    method = METHODS[given.method]
    known = {parameter.name for parameter in method.parameters}
    for name in [*given.shared, *(n for own in given.models.values() for n in own)]:
        if name not in known:
            raise RecipeError(
                f"{method.name} has no parameter {name!r}."
                f"{did_you_mean(name, known) or ' It has none.'}",
                given.place,
            )
    if method.base is BaseRule.REQUIRED and given.base not in given.models:
        raise RecipeError(f"{method.name} needs a base_model among its models.", given.place)
    count, most = len(given.models), method.max_inputs
    if count < method.min_inputs or (most is not None and count > most):
        raise RecipeError(
            f"{method.name} cannot merge {count} models: {', '.join(given.models)}.", given.place
        )
    for parameter in method.parameters:
        if not parameter.required:
            continue
        if parameter.scope is Scope.SHARED and parameter.name not in given.shared:
            raise RecipeError(f"{method.name} needs {parameter.name!r}.", given.place)
        for model, own in given.models.items():
            spared = parameter.scope is Scope.SHARED or (
                parameter.scope is Scope.NON_BASE and model == given.base
            )
            if not spared and parameter.name not in own:
                raise RecipeError(
                    f"{method.name} needs {parameter.name!r} for {model}.", given.place
                )


def _passthrough(given: Given) -> Action:
    ((model, own),) = given.models.items()
    scale = own.get("scale", 1.0)
    if scale == 1.0:
        return ModelCopy(model)
    return General("passthrough", ((model, (("scale", scale),)),), None, ())


def _linear(given: Given) -> Action:
    """A weighted sum, said as simply as it can be."""
    weights = {model: float(own["weight"]) for model, own in given.models.items()}
    total = sum(weights.values())
    normalize = bool(given.shared.get("normalize", True))
    if normalize and total == 0:
        raise RecipeError("the weights of a normalised linear merge sum to 0.", given.place)
    left = {model: weight for model, weight in weights.items() if weight != 0}
    if len(left) == 1 and (normalize or abs(total - 1) < _NEAR):
        return ModelCopy(next(iter(left)))
    if abs(total - 1) < _NEAR and given.recipe_base in left:
        others = {model: w for model, w in left.items() if model != given.recipe_base}
        if len(others) == 1:
            ((other, t),) = others.items()
            if 0 <= t <= 1:
                return Between("linear", other, (t,))
        plus = [model for model, w in others.items() if w > 0]
        minus = [model for model, w in others.items() if w < 0]
        if len(plus) == len(minus) == 1 and left[given.recipe_base] == 1:
            return Sum(plus[0], minus[0], others[plus[0]])
        if len(others) == 1:
            ((other, weight),) = others.items()
            return Sum(other, given.recipe_base, weight)
    models = tuple((model, (("weight", weight),)) for model, weight in left.items())
    shared = () if normalize else (("normalize", False),)
    return General("linear", models or _unmoved(given), None, shared)


def _unmoved(given: Given) -> tuple[tuple[str, tuple[tuple[str, Scalar], ...]], ...]:
    """A sum of nothing is still a tensor of zeros."""
    return tuple((model, (("weight", 0.0),)) for model in given.models)


def _slerp(given: Given) -> Action:
    other = next(model for model in given.models if model != given.base)
    t = float(given.shared["t"])
    assert given.base is not None  # _check has looked
    if t in (0.0, 1.0):
        return ModelCopy(other if t else given.base)
    if given.base == given.recipe_base and 0 <= t <= 1:
        return Between("slerp", other, (t,))
    return General("slerp", ((other, ()),), given.base, (("t", t),))


def _general(given: Given) -> Action:
    """Any other method, as it stands."""
    method = METHODS[given.method]
    base = None if method.base is BaseRule.IGNORED else given.base
    names = {p.name for p in method.parameters}
    models = {model: own for model, own in given.models.items() if model != base}
    if "lambda" in names:
        # The methods that add weighted deltas: a model of weight 0 adds nothing.
        models = {model: own for model, own in models.items() if own["weight"] != 0}
        if not models:
            assert base is not None  # these methods need one
            return ModelCopy(base)
    return General(
        given.method,
        tuple((model, tuple(sorted(own.items()))) for model, own in models.items()),
        base,
        tuple(sorted(given.shared.items())),
    )
