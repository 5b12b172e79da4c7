"""Prefixes that training wrappers put before every name of a model.

DistributedDataParallel adds `module.`, torch.compile `_orig_mod.`, PEFT `base_model.model.`,
DeepSpeed and Lightning `_forward_module.`, trainers `policy.` or others of their own.
"""

from __future__ import annotations

from itertools import accumulate, takewhile
from typing import TYPE_CHECKING

from surgery.arch.site import Component

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from surgery.arch.rules import RuleBook

_PREFIXES = ("module.", "_orig_mod.", "base_model.model.", "_forward_module.", "policy.", "actor.")


def known_prefix(names: Sequence[str]) -> str:
    """Return the wrappers' prefix that all names share, for a family without a row."""
    *_, longest = _common_prefixes(names)
    prefix = ""
    while wrapper := next((p for p in _PREFIXES if longest.startswith(prefix + p)), ""):
        prefix += wrapper
    return prefix


def fitting_prefix(book: RuleBook, names: Sequence[str]) -> str:
    """Return the shortest prefix of all names without which a row finds the language model."""
    return next(
        (p for p in _common_prefixes(names) if _fits(book, (n[len(p) :] for n in names))), ""
    )


def prefix_hint(book: RuleBook, names: Sequence[str]) -> str:
    """Return a sentence if names of layers would fit a row once a prefix is cut off."""
    for name in names:
        segments = name.split(".")
        for n in range(1, len(segments) - 1):
            if _fits(book, [".".join(segments[n:])]):
                prefix = ".".join(segments[:n]) + "."
                count = sum(tensor.startswith(prefix) for tensor in names)
                if 10 * count < 9 * len(names):  # a part of the model, and no wrapper
                    return ""
                return (
                    f" {count} of them begin with {prefix!r} and would fit without it: write the"
                    " tensors again without this prefix, and omit those that have another."
                )
    return ""


def _common_prefixes(names: Sequence[str]) -> Iterator[str]:
    """Yield every prefix that all names share, the empty one first.

    The first and the last name in alphabetical order share what all do.
    """
    ends = [name.split(".")[:-1] for name in (min(names, default=""), max(names, default=""))]
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(*ends, strict=False))
    return accumulate((f"{segment}." for segment, _ in pairs), initial="")


def _fits(book: RuleBook, names: Iterable[str]) -> bool:
    """Check that a row finds a layer of the language model."""
    hits = (book.site(name) for name in names)
    return any(
        hit is not None and hit[0].component is Component.LANGUAGE and hit[0].layer is not None
        for hit in hits
    )
