"""The numbers of layers that a configuration states, by the part they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# A decoder's own key comes before one that may be the encoder's.
_KEYS = (
    "decoder_layers",
    "num_decoder_layers",
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "depth",
    "layers",
)
# Nemotron-H states its layers one by one.
_LISTS = ("layers_block_type", "layer_types")
_EXTRA = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers")
# Keys of a part's own configuration, without `_config`.
_TEXT = frozenset({"text", "text_model", "text_decoder", "decoder", "llm", "lm"}) | {
    "language",
    "language_model",
}
# Whole words of the keys of towers.
_VISION = frozenset({"vision", "visual", "vit", "image", "vq", "clip", "siglip", "vpm"})
# Configurations that hold a whole vision-language model.
_WHOLE = frozenset({"thinker_config", "vlm_config", "foundation_config"})
# No model nests its parts deeper.
_DEPTH = 4
_PIXELS = ("patch_size", "image_size", "num_channels", "in_channels")


@dataclass(frozen=True)
class Count:
    """A number of layers, and the dotted key that states it.

    Attributes:
        layers: The number.
        key: The key, for messages.
        extra: How many prediction layers may be numbered on after them.
    """

    layers: int
    key: str
    extra: int = 0

    def fits(self, layers: int) -> bool:
        """Check that a stack of so many layers can be the one counted."""
        return self.layers <= layers <= self.layers + self.extra


def language_count(config: Mapping[str, Any]) -> Count | None:
    """Return the number of decoder layers, or None where the configuration does not say."""
    for path, part in (*_parts(config, _is_text), ("", config)):
        count = _count(path, part)
        if count is not None:
            return count
    return None


def vision_counts(config: Mapping[str, Any]) -> tuple[Count, ...]:
    """Return the number of layers of each tower that a configuration counts."""
    parts = [*_parts(config, _is_vision), *_towers(config)]
    inner = [(f"{path}{key}.", value) for path, part in parts for key, value in _inside(part)]
    counts = (_count(path, part) for path, part in (*parts, *inner))
    return tuple(count for count in counts if count is not None)


def tower_names(config: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of parts that only their configuration shows to be towers (`encoder`)."""
    return frozenset(path.rstrip(".").removesuffix("_config") for path, _ in _towers(config))


def _inside(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the configurations inside one."""
    for key, value in config.items():
        if hasattr(value, "items"):
            yield key, value


def _is_text(key: str) -> bool:
    """Check that a key holds a language model's configuration."""
    return key.removesuffix("_config") in _TEXT


def _is_vision(key: str) -> bool:
    """Check that a key holds a tower's configuration."""
    return bool(_VISION & set(key.split("_")))


def _parts(
    config: Mapping[str, Any], belongs: Callable[[str], bool], path: str = ""
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the configurations of one part, nested configurations first."""
    for key, value in _inside(config) if path.count(".") < _DEPTH else ():
        if key in _WHOLE or belongs(key):
            yield from _parts(value, belongs, f"{path}{key}.")
        if belongs(key):
            yield f"{path}{key}.", value


def _towers(config: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the configurations that have pixel settings and no name of a known part."""
    return [
        (f"{key}.", value)
        for key, value in _inside(config)
        if not (_is_text(key) or _is_vision(key) or "audio" in key)
        and any(name in value for name in _PIXELS)
    ]


def _count(path: str, config: Mapping[str, Any]) -> Count | None:
    """Return the layer count stated in one configuration, without its sub-configurations."""
    for key in _KEYS:
        if _whole(config.get(key)):
            extra = max((config[name] for name in _EXTRA if _whole(config.get(name))), default=0)
            return Count(config[key], path + key, extra)
    for key in _LISTS:
        if isinstance(config.get(key), list) and config[key]:
            return Count(len(config[key]), path + key)
    return None


def _whole(value: object) -> bool:
    """Check that a value is a number of layers."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
