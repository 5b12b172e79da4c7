"""The rule language of the family table, and its matching of names.

Names are read segment by segment, between the dots, and a segment matches whole or not at all:
`layers.1` never hits `layers.17`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from surgery.arch.site import Component, Module, Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANY_LAYER = "#"

# Segments that hold a whole block: they become the module and leave the leaf.
_CONTAINERS = {
    "self_attn": Module.ATTENTION,
    "self_attention": Module.ATTENTION,
    "attn": Module.ATTENTION,
    "attention": Module.ATTENTION,
    "linear_attn": Module.ATTENTION,
    "mlp": Module.MLP,
    "feed_forward": Module.MLP,
    "ffn": Module.MLP,
    "block_sparse_moe": Module.MLP,
}
# Words that say a block's kind where no segment above does; such a name stays in the leaf, since a
# layer may hold two blocks of a kind (self- and cross-attention, experts and a shared expert).
_WORDS = {
    **dict.fromkeys(("attn", "att", "attention", "crossattention"), Module.ATTENTION),
    **dict.fromkeys(("query", "key", "value"), Module.ATTENTION),
    **dict.fromkeys(("selfattention", "encdecattention"), Module.ATTENTION),  # T5
    **dict.fromkeys(("mlp", "mlps", "ffn", "ff", "ffw", "feedforward", "fc"), Module.MLP),
    **dict.fromkeys(("moe", "expert", "experts", "router", "densereludense"), Module.MLP),
    **dict.fromkeys(("mixer", "mamba", "ssm", "mlstm", "conv", "convolution"), Module.MIXER),
}
# The same for whole segments: a router, BERT's MLP, and projections without a container.
_SEGMENTS = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"), Module.ATTENTION),
    **dict.fromkeys(("qkv", "wqkv", "wo", "out_proj"), Module.ATTENTION),
    **dict.fromkeys(("up_proj", "down_proj", "gate_proj", "gate", "experts"), Module.MLP),
    **dict.fromkeys(("shared_experts", "fc1_latent_proj", "fc2_latent_proj"), Module.MLP),
    **dict.fromkeys(("intermediate", "output"), Module.MLP),
}
# Nemotron-H and RecurrentGemma call every block so: the segment inside says which kind it is.
_MIXERS = frozenset({"mixer", "temporal_block"})
# Segments whose inside is the block.
_WRAPPERS = frozenset({"adapter", "hc_pre", "layer"})
# Parameters outside the blocks: a layer scale belongs to the block whose output it scales.
_SCALES = {
    "lambda_1": Module.ATTENTION,
    "lambda_2": Module.MLP,
    "ls1": Module.ATTENTION,
    "ls2": Module.MLP,
    "ls_1": Module.ATTENTION,
    "ls_2": Module.MLP,
    "layer_scale1": Module.ATTENTION,
    "layer_scale2": Module.MLP,
}
# input_layernorm, norm1, layer_norm2, layernorm_before, attention_norm, ffn_norm, ln_q, ln_pre ...
_NORM = re.compile(
    r"(\w+_)?(layer_?)?norm_?\d*(_(before|after|q|k|f|kv|pre|post|out))?|(\w+_)?ln\d*(_\w+)?",
    re.IGNORECASE,
)
# CLIP's own spelling.
_NORM_TYPOS = frozenset({"pre_layrnorm"})
_NUMBER = re.compile(r"0|[1-9][0-9]{0,5}", re.ASCII)


@dataclass(frozen=True)
class Rule:
    """The location of the tensors under one prefix.

    Attributes:
        pattern: The prefix, segment by segment; `#` stands for the layer's number.
        component: Which part of the model they belong to.
        module: Which kind of block they are, or None when the segment after the prefix says it.
        keep: How many of the pattern's last segments open the leaf.
        certain: False for the prefixes of a part whose inside the row does not know; what falls
            under one is reported as guessed.
    """

    pattern: str
    component: Component
    module: Module | None = None
    keep: int = 0
    certain: bool = True


def under(prefixes: Iterable[str], rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the rules once under each prefix; the prefix `""` leaves them unchanged."""
    return tuple(
        Rule(
            f"{prefix}.{rule.pattern}" if prefix and rule.pattern else prefix + rule.pattern,
            rule.component,
            rule.module,
            rule.keep,
            rule.certain,
        )
        for prefix in prefixes
        for rule in rules
    )


@lru_cache(maxsize=4096)
def is_number(segment: str) -> bool:
    """Check for an index as libraries write it: decimal, no leading zero."""
    return _NUMBER.fullmatch(segment) is not None


def is_norm(segment: str) -> bool:
    """Check whether a segment names a normalization layer."""
    return segment in _NORM_TYPOS or _NORM.fullmatch(segment) is not None


def block(segments: tuple[str, ...], otherwise: Module = Module.OTHER) -> tuple[Module, str]:
    """Split what follows a layer's number into its kind of block and the leaf.

    Args:
        segments: At least one segment, for example `("self_attn", "q_proj", "weight")`.
        otherwise: The module of what is neither attention, MLP, norm nor layer scale.

    Returns:
        The module and the leaf. The name of a container leaves the leaf (`self_attn.q_proj.weight`
        becomes `q_proj.weight`), that of a norm stays (`input_layernorm.weight`). Indices in front
        stay in front: `0.linear_fc1.weight`.
    """
    lead = next((i for i, s in enumerate(segments) if not _leads(s)), len(segments) - 1)
    first, rest = segments[lead], segments[lead + 1 :]
    if first in _CONTAINERS and rest:
        return _CONTAINERS[first], ".".join(segments[:lead] + rest)
    leaf = ".".join(segments)
    if first in _SCALES:
        return _SCALES[first], leaf
    if is_norm(first):
        return Module.NORM, leaf
    module = _kind(first, rest)
    # A convolution in a projector mixes no tokens of a sequence.
    return (otherwise if module is None or (module, otherwise) == _PLAIN else module), leaf


_PLAIN = (Module.MIXER, Module.MLP)


def _leads(segment: str) -> bool:
    """Check that the block stands behind a segment and not in it."""
    return segment in _WRAPPERS or is_number(segment)


def _kind(segment: str, rest: tuple[str, ...]) -> Module | None:
    """Return the kind of block that a segment's last telling word names, if any does."""
    if segment in _MIXERS and rest and rest[0] != "out_proj":
        return _SEGMENTS.get(rest[0], Module.MIXER)
    words = [word.rstrip("0123456789") for word in segment.lower().split("_")]
    kinds = (_WORDS[word] for word in reversed(words) if word in _WORDS)
    return _SEGMENTS.get(segment) or next(kinds, None)


class RuleBook:
    """Rules, indexed so that a name finds its longest one in as many steps as it has segments."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules: Mapping[tuple[str, ...], Rule] = {
            tuple(rule.pattern.split(".")): rule for rule in rules
        }
        self._longest = max(map(len, self._rules), default=0)

    def site(self, name: str) -> tuple[Site, Rule] | None:
        """Return the site of a tensor and the rule that gives it, or None without a rule."""
        segments = tuple(name.split("."))
        if ANY_LAYER in segments:  # would pass for a number
            return None
        key = tuple(ANY_LAYER if is_number(segment) else segment for segment in segments)
        for length in range(min(self._longest, len(key)), 0, -1):
            rule = self._rules.get(key[:length])
            if rule is not None:
                return _apply(rule, segments, length), rule
        return None


def _apply(rule: Rule, segments: tuple[str, ...], length: int) -> Site:
    """Return the site that a rule of `length` segments gives to a name."""
    pattern = rule.pattern.split(".")
    layer = int(segments[pattern.index(ANY_LAYER)]) if ANY_LAYER in pattern else None
    parts, rest = segments[length - rule.keep : length], segments[length:]
    if not rest or rule.module is not None:
        leaf = parts + rest or segments[-1:]
        return Site(rule.component, layer, rule.module or Module.OTHER, ".".join(leaf))
    # A projector is a small MLP: what is neither norm nor attention in it is its linear maps.
    plain = Module.MLP if rule.component is Component.PROJECTOR else Module.OTHER
    module, leaf_text = block(rest, plain)
    return Site(rule.component, layer, module, ".".join((*parts, leaf_text)))
