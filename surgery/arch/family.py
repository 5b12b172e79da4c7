"""One row of the family table, and the configuration keys that hold its numbers of layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from surgery.arch.site import Component

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery.arch.rules import Rule

_V, _L = Component.VISION, Component.LANGUAGE


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes:
        name: What reports call it.
        model_types: The `model_type` values of `config.json` it serves.
        architectures: The class names it serves, for a configuration without `model_type`.
        rules: Where the tensors under each prefix live.
        counts: For each component with a stack, the dotted configuration keys that may hold its
            number of layers; the first one present counts.
        tied: Whether the head is tied to the embedding when the configuration does not say.
        text_ties: Whether `text_config.tie_word_embeddings: true` counts although the top level
            says false, as in families that kept the key there before transformers 5.
        prediction_layers: Whether checkpoints may end with extra multi-token-prediction layers,
            numbered on after the last decoder layer, which transformers does not load.
    """

    name: str
    model_types: tuple[str, ...]
    architectures: tuple[str, ...]
    rules: tuple[Rule, ...]
    counts: Mapping[Component, tuple[str, ...]] = field(default_factory=dict)
    tied: bool = False
    text_ties: bool = False
    prediction_layers: bool = False


TEXT_COUNTS = {_L: ("num_hidden_layers",)}
MM_TEXT = ("text_config.num_hidden_layers", "num_hidden_layers")
MM_COUNTS = {
    # Qwen2-VL and Qwen2.5-VL kept the language model's keys at the top before transformers 4.52.
    _L: MM_TEXT,
    _V: ("vision_config.num_hidden_layers", "vision_config.depth"),
}
# Towers whose number of layers is not held against the configuration: they have none, or are cut
# off where the features are taken.
ANY_TOWER = {_L: MM_TEXT, _V: ()}
LLM_COUNTS = {
    _L: ("llm_config.num_hidden_layers", *MM_TEXT),
    _V: ("vision_config.num_hidden_layers",),
}
THINKER_COUNTS = {
    _L: ("thinker_config.text_config.num_hidden_layers", *MM_TEXT),
    _V: ("thinker_config.vision_config.depth", "vision_config.depth"),
}
