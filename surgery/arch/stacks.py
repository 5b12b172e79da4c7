"""Numbered stacks of layers among tensor names, and the words that classify a prefix."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from surgery.arch.rules import is_number
from surgery.arch.site import Component

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

Prefix = tuple[str, ...]

# Whole words, as underscores and dots separate them; the first set that has one decides.
_OUTSIDE = frozenset({"audio", "speech", "sound", "whisper", "apm", "tts", "talker", "vocoder"}) | {
    "token2wav",
    "code2wav",
    "mtp",
    "dit",
}
_PROJECTOR = frozenset({"projector", "merger", "connector", "resampler", "aligner", "adapter"}) | {
    "abstractor",
    "bridge",
    "newline",
    "perceive",
    "perceiver",
    "qformer",
    "separator",
    "seperator",
    "vte",
}
# Whole segments before any number.
_PROJECTORS = re.compile(r"mlp\d+|mlp_AR|patch_merge_mlp|query_tokens|linear_proj|img_projection")
# Output projections of a tower, right below its name.
_EXITS = frozenset({"proj_in", "proj_out", "proj_mlp", "downsample"})
# `vision2text`, `image_to_text`.
_WAY = re.compile(r"(vis|im(a)?g)\w*(2|_to_)")
_VISION = frozenset(
    {"visual", "vision", "vit", "vpm", "image", "img", "video", "patch", "patches"}
) | {
    "clip",
    "davit",
    "dinov",
    "eva",
    "moonvit",
    "patchifier",
    "radio",
    "sam",
    "siglip",
    "vqgan",
    "vqmodel",
}
_LANGUAGE = frozenset({"language", "llm", "lm", "text", "decoder"})
# Encoders of inputs other than images and text.
_FOREIGN = frozenset({"protein", "molecule", "genome", "graph", "point", "action"})
# One of these next to a modality names a projector.
_BETWEEN = frozenset({"projection", "table"})
# Stacks next to a decoder that have its shape.
_BESIDE = frozenset({"cross", "draft", "eagle", "medusa", "expert", "prediction"})
# Segments between a layer's number and the number of a block in it, where a layer is a stage.
_STAGES = frozenset({"blocks", "block", "layers", "layer", "stages", "resnets", "units"})


@dataclass(frozen=True)
class Stack:
    """A prefix with the numbers found under it.

    Attributes:
        prefix: The segments before the number.
        component: What its words make it.
        examples: For each number, a tensor that carries it.
        size: How many tensors it holds.
        staged: Whether its numbers are stages, each with numbered blocks of its own.
    """

    prefix: Prefix
    component: Component
    examples: Mapping[int, str]
    size: int
    staged: bool = False

    def __str__(self) -> str:
        return ".".join((*self.prefix, "#"))

    @property
    def count(self) -> int:
        """Return one more than the last number."""
        return max(self.examples) + 1

    def beside(self) -> bool:
        """Check that its words place it next to a decoder, as gated cross-attention is."""
        return bool(words(self.prefix) & _BESIDE)


def split(name: str) -> tuple[Prefix, int, Prefix] | None:
    """Return prefix, number and rest of a name at its first number; None without one."""
    segments = tuple(name.split("."))
    for i, segment in enumerate(segments):
        if i and is_number(segment) and i + 1 < len(segments):
            return segments[:i], int(segment), segments[i + 1 :]
    return None


def words(segments: Prefix) -> frozenset[str]:
    """Return the words of segments, in lower case, with and without digits or an s at the end."""
    every = [word for segment in segments for word in segment.lower().split("_")]
    return frozenset([*every, *map(_bare, every), *(word.removesuffix("s") for word in every)])


def _bare(text: str) -> str:
    """Drop the digits at a text's end."""
    return text.rstrip("0123456789")


def component(segments: Prefix) -> Component:
    """Return what the words of a prefix make of it; language is what nothing else claims."""
    every = words(segments)
    if every & _OUTSIDE:
        return Component.OTHER
    if every & _PROJECTOR or any(map(_joins, segments)) or _is_mlp(segments):
        return Component.PROJECTOR
    if any(_sees(segment) for segment in segments):
        return Component.VISION
    return Component.OTHER if every & _FOREIGN else Component.LANGUAGE


def _joins(segment: str) -> bool:
    """Check that a segment names the way from one modality to another (`visual_projection`)."""
    parts = words((segment,))
    modal = bool(parts & (_VISION | _LANGUAGE)) and not parts & {"patch", "patches", "tokens"}
    between = bool(parts & _BETWEEN) or segment.startswith("embed_")
    return (modal and between) or _WAY.match(segment) is not None


def _is_mlp(segments: Prefix) -> bool:
    """Check that a prefix is an MLP next to the stacks (`mlp1`), or the output of a tower."""
    leaves = any(_sees(a) and b in _EXITS for a, b in pairwise(segments))
    return leaves or any(map(_PROJECTORS.fullmatch, segments))


def _sees(segment: str) -> bool:
    """Check that a segment names a tower, and no language model with it."""
    parts = words((segment,))
    return bool(parts & _VISION) and not parts & _LANGUAGE


def speaks(segments: Prefix) -> bool:
    """Check that a prefix names a language model."""
    return bool(words(segments) & _LANGUAGE)


def find_stacks(names: Sequence[str]) -> list[Stack]:
    """Return every prefix that looks like a stack of layers, in order of appearance.

    The numbers of a Sequential hold one parameter each (`mlp.0.weight`); a layer holds several
    blocks with parameters inside them (`3.mlp.up_proj.weight`).
    """
    stacks: defaultdict[Prefix, dict[int, list[tuple[str, Prefix]]]] = defaultdict(dict)
    for name in names:
        parts = split(name)
        if parts is not None:
            prefix, number, rest = parts
            stacks[prefix].setdefault(number, []).append((name, rest))
    alike = Counter(_drop_numbers(prefix) for prefix in stacks)
    return [
        Stack(
            prefix,
            component(prefix),
            {number: members[0][0] for number, members in layers.items()},
            sum(map(len, layers.values())),
            _are_stages(layers.values()) or (alike[_drop_numbers(prefix)] > 1),
        )
        for prefix, layers in stacks.items()
        if len(layers) > 1 and _deep(layers.values()) >= 2 * len(layers)
    ]


def _deep(layers: Iterable[Sequence[tuple[str, Prefix]]]) -> int:
    """Count the tensors that stand in a block of their layer."""
    return sum(len(rest) > 1 for members in layers for _, rest in members)


def _drop_numbers(prefix: Prefix) -> Prefix:
    """Drop the digits at the segments' ends: `stages_1.blocks` is one of several."""
    return tuple(map(_bare, prefix))


def _are_stages(layers: Collection[Sequence[tuple[str, Prefix]]]) -> bool:
    """Check that the numbers are stages.

    Some hold numbered blocks of equal structure, or each holds one such block and nothing else.
    """
    lone = 0
    for members in layers:
        inner: defaultdict[Prefix, set[Prefix]] = defaultdict(set)
        for _, rest in members:
            position = 1 if rest[0] in _STAGES else 0
            if len(rest) > position + 2 and is_number(rest[position]):
                inner[rest[: position + 1]].add(rest[position + 1 :])
        blocks = list(inner.values())
        if any(2 * len(a & b) >= len(a | b) for a, b in pairwise(blocks)):
            return True
        lone += len(blocks) == 1 and len(blocks[0]) == len(members)
    return lone == len(layers)
