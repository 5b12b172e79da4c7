"""An outline of a model: the names needed to divide it into regions."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Self

from surgery.checkpoint.digest import cache_folder
from surgery.checkpoint.sibling import put
from surgery.errors import ExecutionError
from surgery.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT: Final = 1
"""Part of the cache key of outlines: increase it when outlines change."""
_LARGEST: Final = 64 << 20


@dataclass(frozen=True)
class ModelOutline:
    """The names of a transformers model's parameters and modules.

    Attributes:
        config: The model's configuration.
        tensors: Names in its `state_dict`.
        groups: Names of every parameter in the model's order, those of one tensor (a tied head)
            together.
        sizes: Elements of each group's tensor.
        modules: Names of all modules.
        linear: Names of the linear layers among them.
    """

    config: Mapping[str, Any]
    tensors: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    sizes: tuple[int, ...]
    modules: tuple[str, ...]
    linear: tuple[str, ...]

    @classmethod
    def of(cls, model: Any) -> Self:
        """Return the outline of a model, with weights or on the meta device."""
        from torch import nn

        groups: dict[int, list[str]] = {}
        sizes: dict[int, int] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            groups.setdefault(id(parameter), []).append(name)
            sizes[id(parameter)] = parameter.numel()
        modules = dict(model.named_modules())
        return cls(
            config=model.config.to_dict(),
            tensors=tuple(model.state_dict()),
            groups=tuple(map(tuple, groups.values())),
            sizes=tuple(sizes.values()),
            modules=tuple(modules),
            linear=tuple(n for n, module in modules.items() if isinstance(module, nn.Linear)),
        )


def load_outline(config: Mapping[str, Any]) -> ModelOutline:
    """Return the outline of the model that a `config.json` describes.

    Building it takes transformers and torch, which take seconds to import. It depends on nothing
    but the configuration and transformers' version, so it is cached in the user's cache folder.

    Raises:
        CheckpointError: If transformers has no such model.
    """
    path = _cache_path(config)
    outline = None if path is None else _read(path)
    if outline is None:
        from surgery.train.model import skeleton

        outline = ModelOutline.of(skeleton(config))
        if path is not None:
            _write(path, outline)
    return outline


def _cache_path(config: Mapping[str, Any]) -> Path | None:
    """Return where the outline is cached, or None where caching is switched off."""
    folder = cache_folder()
    if folder is None:
        return None
    key = json.dumps([FORMAT, version("transformers"), version("torch"), config], sort_keys=True)
    return folder.with_name("outlines") / f"{sha256(key.encode()).hexdigest()[:32]}.json"


def _read(path: Path) -> ModelOutline | None:
    """Return a cached outline; None for a file that is missing or damaged."""
    try:
        stored = read_json(path, _LARGEST)
        groups = tuple(tuple(map(str, names)) for names in stored["groups"])
        sizes = tuple(map(int, stored["sizes"]))
        tensors, modules, linear = (
            tuple(map(str, stored[name])) for name in ("tensors", "modules", "linear")
        )
        config = dict(stored["config"])
    except (OSError, ValueError, TypeError, LookupError):
        return None
    if not groups or len(groups) != len(sizes):
        return None
    return ModelOutline(config, tensors, groups, sizes, modules, linear)


def _write(path: Path, outline: ModelOutline) -> None:
    """Cache an outline; a cache that cannot be written costs time, nothing else."""
    with contextlib.suppress(OSError, ExecutionError):
        text = json.dumps(asdict(outline), default=str)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        put(path, lambda draft: draft.write_text(text, "utf-8"))
