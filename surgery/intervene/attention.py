"""Attention shares by kind of token, from queries and keys, a few queries at a time.

The model computes its attention as usual; in addition, the weights of the observed queries are
computed again from the same queries and keys, in float32, summed by kind of
token, and forgotten. Memory grows with the length of the sequence, not with its square.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import nn

from surgery.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from surgery.intervene.decoder import Decoder

_Observer = Callable[[nn.Module, torch.Tensor, torch.Tensor, Any, Any], None]

CHUNK: Final = 1 << 26
"""Maximum bytes of attention weights in memory."""


class TokenKind(StrEnum):
    """The kinds of tokens that receive attention."""

    SINK = "sink"  # the first token of the sequence
    IMAGE = "image"
    TEXT = "text"  # the rest of the prompt
    RESPONSE = "response"  # earlier tokens of the response, and the token itself


KINDS: Final = tuple(TokenKind)


@dataclass
class Observed:
    """Attention of one sequence.

    Attributes:
        shares: Share of attention by kind, in the order of `KINDS`, the mean over a span's tokens:
            `Float[Tensor, "layers heads spans kinds"]`. NaN where a layer has no such attention,
            or a span no token.
        entropy: Of the attention weights, in nats: `Float[Tensor, "layers heads spans"]`.
    """

    shares: Tensor = field(default_factory=lambda: torch.empty(0))
    entropy: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True)
class Regions:
    """The kinds of the tokens of one sequence.

    Attributes:
        kinds: Places in `KINDS`: `Int[Tensor, "tokens"]`.
        spans: Which tokens' attention counts, span by span: `Bool[Tensor, "spans tokens"]`.
    """

    kinds: Tensor
    spans: Tensor


def kinds_of(ids: Tensor, image_token: int, prompt: int) -> Tensor:
    """Return the kind of each token of a sequence.

    Args:
        ids: `Int[Tensor, "tokens"]`, without padding.
        image_token: The placeholder of images.
        prompt: Tokens of the prompt; those after them are the response.

    Returns:
        `Int[Tensor, "tokens"]`: places in `KINDS`.
    """
    kinds = torch.full_like(ids, KINDS.index(TokenKind.TEXT))
    kinds[prompt:] = KINDS.index(TokenKind.RESPONSE)
    kinds[:prompt][ids[:prompt] == image_token] = KINDS.index(TokenKind.IMAGE)
    kinds[0] = KINDS.index(TokenKind.SINK)
    return kinds


@contextmanager
def observed(
    model: Any, decoder: Decoder, regions: Regions, *, chunk: int = CHUNK
) -> Iterator[Observed]:
    """Observe the decoder's attention in one forward pass of one sequence without padding.

    Other models in the process are not touched. Not thread-safe for one model: it must not run in
    another thread, nor be observed twice, inside the block.

    Args:
        model: A transformers model with any attention implementation.
        decoder: Its decoder layers.
        regions: What its tokens are.
        chunk: Maximum bytes of attention weights in memory.

    Yields:
        What will be filled when the `with` block ends.

    Raises:
        ExecutionError: If no attention was computed the way transformers dispatches it.
    """
    layers = {module: layer for layer, module in enumerate(decoder.attention)}
    observers: dict[int, tuple[Tensor, Tensor]] = {}

    def observe(module: nn.Module, query: Tensor, key: Tensor, mask: Any, options: Any) -> None:
        observers[layers[module]] = _shares(
            query, key, mask, regions, chunk,
            scale=options.get("scaling"), softcap=options.get("softcap"),
            window=options.get("sliding_window"),
        )  # fmt: skip

    result = Observed()
    config = model.config.get_text_config()
    before = config._attn_implementation
    _observers.update(dict.fromkeys(layers, observe))
    config._attn_implementation = _register(before)
    try:
        yield result
    finally:
        config._attn_implementation = before
        for module in layers:
            _observers.pop(module, None)
    if not observers:
        raise ExecutionError(
            f"{type(model).__name__} does not compute its attention through transformers' "
            f"attention interface, so it cannot be observed."
        )
    some = next(iter(observers.values()))
    nothing = tuple(torch.full_like(part, torch.nan) for part in some)
    observer_list = [observers.get(layer, nothing) for layer in range(len(decoder.attention))]
    result.shares = torch.stack([shares for shares, _ in observer_list])
    result.entropy = torch.stack([entropy for _, entropy in observer_list])


_observers: Final[WeakKeyDictionary[nn.Module, _Observer]] = WeakKeyDictionary()
"""The observer of an attention module."""


def _register(implementation: str) -> str:
    """Make transformers know an attention implementation with observers, and return its name.

    The name is our own, so no model is touched that does not ask for it. Its masks are those of the
    implementation that does the work.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    name = f"{implementation}_observed"
    AttentionInterface.register(name, partial(_attend, implementation))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[implementation])
    return name


def _attend(
    implementation: str, module: nn.Module, query: Tensor, key: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """Compute attention as the implementation does, with the module's observer looking on."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    observe = _observers.get(module)
    if observe is not None:
        mask = args[1] if len(args) > 1 else kwargs.get("attention_mask")
        observe(module, query, key, mask, kwargs)
    usual = ALL_ATTENTION_FUNCTIONS.get(implementation)
    if usual is None:  # eager attention is each model's own
        usual = sys.modules[type(module).__module__].eager_attention_forward
    return usual(module, query, key, *args, **kwargs)


def _shares(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    regions: Regions,
    chunk: int,
    *,
    scale: float | None,
    softcap: float | None,
    window: int | None,
) -> tuple[Tensor, Tensor]:
    """Means over each span's queries of shares by kind and of entropy, head by head.

    Args:
        query: `Float[Tensor, "1 heads tokens width"]`, rotated.
        key: `Float[Tensor, "1 groups tokens width"]`, rotated.
        mask: Boolean (true: seen) or additive, `[1, 1, tokens, tokens]`; None is causal, as with
            flash attention, and within the window.
        regions: What the tokens are.
        chunk: Maximum bytes of attention weights in memory.
        scale: Factor of the products; 1/sqrt(width) when None.
        softcap: c of c * tanh(x / c), where a family has it.
        window: How many tokens a query sees, itself among them; None for all.
    """
    _, heads, tokens, width = query.shape
    if len(query) != 1 or tokens != len(regions.kinds):
        raise ExecutionError("attention is observed one whole sequence at a time, without a cache.")
    groups = key.shape[1]
    keys = key[0].float()
    onehot = torch.nn.functional.one_hot(regions.kinds, len(KINDS))
    onehot = onehot.float().to(query.device)
    spans = regions.spans.to(query.device)
    rows = spans.any(0).nonzero()[:, 0]
    shares = torch.zeros(heads, len(spans), len(KINDS), device=query.device)
    entropy = torch.zeros(heads, len(spans), device=query.device)
    places = torch.arange(tokens, device=query.device)
    for part in torch.split(rows, max(1, chunk // (4 * heads * tokens))):
        few = query[0, :, part].float().reshape(groups, -1, width)
        scores = (few @ keys.transpose(1, 2)).reshape(heads, len(part), tokens)
        scores *= width**-0.5 if scale is None else scale
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        weights = _masked(scores, mask, part, places, window).softmax(-1)
        belongs = spans[:, part].float()
        shares += torch.einsum("sq,hqk->hsk", belongs, weights @ onehot)
        entropy += torch.einsum("sq,hq->hs", belongs, torch.special.entr(weights).sum(-1))
    count = spans.sum(1).float()
    count[count == 0] = torch.nan
    return (shares / count[:, None]).cpu(), (entropy / count).cpu()


def _masked(
    scores: Tensor, mask: Tensor | None, part: Tensor, places: Tensor, window: int | None
) -> Tensor:
    """Mask scores of invisible keys with -inf."""
    if mask is None:
        unseen = places > part[:, None]
        if window is not None:
            unseen |= places <= part[:, None] - window
        return scores.masked_fill(unseen, -torch.inf)
    allowed = mask[0, :, part, : len(places)]
    if allowed.dtype == torch.bool:
        return scores.masked_fill(~allowed, -torch.inf)
    return scores + allowed.float()
