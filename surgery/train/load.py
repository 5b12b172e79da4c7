"""A training configuration from its YAML; every fault becomes one error with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import ValidationError

from surgery.recipe import Selector, parse_selector
from surgery.recipe.extend import read_text
from surgery.recipe.nodes import compose
from surgery.recipe.translate import translate
from surgery.train.schema import GrpoModel, SftModel, TrainModel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surgery.arch.site import Component
    from surgery.errors import Place
    from surgery.recipe.nodes import Node

Model = TypeVar("Model", bound=TrainModel)


@dataclass(frozen=True)
class Config(Generic[Model]):
    """A checked configuration and where its parts stand.

    Attributes:
        model: What it says.
        selectors: What stands still, or learns.
        inverse: Whether the selectors name what learns.
        folder: What its paths are relative to.
    """

    model: Model
    selectors: tuple[Selector, ...]
    inverse: bool
    folder: Path
    _root: Node

    @property
    def cuts(self) -> Mapping[Component, tuple[int, int]]:
        """Boundaries of early, mid and late."""
        return self.model.regions.cuts if self.model.regions else {}

    def place(self, *path: str | int) -> Place:
        """Return the position of a key in the file."""
        return self._root.walk(path[:-1]).place_of(path[-1])


def load_sft(path: Path, changes: Mapping[str, Any] | None = None) -> Config[SftModel]:
    """Read a configuration of supervised training.

    Args:
        path: The YAML.
        changes: Values that stand in for the file's, by key.

    Raises:
        RecipeError: If something in it is wrong; says where.
    """
    return _load(path, SftModel, changes or {})


def load_grpo(path: Path, changes: Mapping[str, Any] | None = None) -> Config[GrpoModel]:
    """Read a configuration of reinforcement; as `load_sft`."""
    return _load(path, GrpoModel, changes or {})


def _load(path: Path, kind: type[Model], changes: Mapping[str, Any]) -> Config[Model]:
    root = compose(read_text(path), str(path))
    plain = root.plain()
    if isinstance(plain, dict):
        if changes.keys() & {"freeze", "train"}:
            plain = {key: value for key, value in plain.items() if key not in ("freeze", "train")}
        plain |= changes
    try:
        model = kind.model_validate(plain)
    except ValidationError as error:
        raise translate(error, root, ("the training", kind)) from None
    key = "train" if model.train is not None else "freeze"
    return Config(model, _selectors(model, root, key, key in changes), key == "train",
                  path.parent, root)  # fmt: skip


def _selectors(model: TrainModel, root: Node, key: str, is_given: bool) -> tuple[Selector, ...]:
    child = root.get(key)
    if is_given or child is None or getattr(model, key) is None:
        return tuple(map(parse_selector, getattr(model, key) or ()))
    items = child.value if isinstance(child.value, list) else [child]
    return tuple(parse_selector(str(item.value), item.place, exact=item.exact) for item in items)
