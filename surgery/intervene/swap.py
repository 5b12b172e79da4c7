"""Keys and values of image tokens from another image, during prefill and never while decoding.

The vision swap of arXiv 2602.12395: what a layer reads of the image is the source's, all else stays
the target's. It acts on the outputs of the projections, before rotary embedding, so that the
source's content stands at the target's positions.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from surgery.errors import ArchitectureError
from surgery.intervene.blocks import NEVER, Blocks, Intact
from surgery.intervene.images import ImageTokens, fitted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from surgery.intervene.decoder import Decoder


class Mode(StrEnum):
    """The layers that read the source image."""

    FROM = "from"  # k and all after it
    ONLY = "only"  # k alone


@dataclass
class ImageCache:
    """Keys and values of image tokens, layer by layer.

    Attributes:
        tokens: Where they stood.
        keys: For each layer `Float[Tensor, "tokens width"]`, of all rows.
        values: The same.
    """

    tokens: ImageTokens
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def on(self, target: ImageTokens) -> ImageCache:
        """Return the same values on another batch's image tokens.

        Raises:
            ExecutionError: If the numbers of tokens differ and there is no grid.
        """
        return ImageCache(
            target, fitted(self.keys, self.tokens, target), fitted(self.values, self.tokens, target)
        )


class Watch(Intact):
    """Rows as they are, of whose prefill the image tokens' keys and values are kept in `cached`.

    Args:
        tokens: Where they stand.
    """

    def __init__(self, tokens: ImageTokens) -> None:
        super().__init__(1)
        self.seen = ImageCache(tokens)

    @contextmanager
    def applied(self, decoder: Decoder) -> Iterator[None]:
        """See `Blocks.applied`.

        Raises:
            ArchitectureError: If a layer has no keys and values of tokens.
        """
        check_keys(decoder)
        with super().applied(decoder):
            yield

    def _inside(self, layer: int, decoder: Decoder) -> Iterator[RemovableHandle]:
        for modules, cached in (
            (decoder.keys, self.seen.keys), (decoder.values, self.seen.values)
        ):  # fmt: skip
            yield _hook(modules[layer], partial(self._keep, cached))

    def _keep(self, cached: list[Tensor], _: nn.Module, __: Any, output: Tensor) -> None:
        if self.prefill:
            tokens = self.seen.tokens.to(output.device)
            cached.append(output[tokens.rows, tokens.columns])


class VisionSwap(Blocks):
    """One block of rows per layer at, or from, which the image is swapped.

    Args:
        layers: k of each block; None for a block in which nothing is swapped.
        mode: What k means.
        cached: The source's keys and values, on the target's tokens.
        sharing: Whether rows that are still equal are computed once.
    """

    def __init__(
        self, layers: Sequence[int | None], mode: Mode, cached: ImageCache, *, sharing: bool = True
    ) -> None:
        super().__init__([NEVER if k is None else k for k in layers], sharing=sharing)
        self._layers = tuple(layers)
        self._mode = mode
        self._seen = cached

    def _inside(self, layer: int, decoder: Decoder) -> Iterator[RemovableHandle]:
        blocks = [block for block, k in enumerate(self._layers) if self._is_at(k, layer)]
        if not blocks:
            return
        for modules, value in (
            (decoder.keys, self._seen.keys), (decoder.values, self._seen.values)
        ):  # fmt: skip
            yield _hook(modules[layer], partial(self._give, blocks, value[layer]))

    def _is_at(self, k: int | None, layer: int) -> bool:
        return k is not None and (k <= layer if self._mode is Mode.FROM else k == layer)

    def _give(
        self, blocks: Sequence[int], tensor: Tensor, _: nn.Module, __: Any, output: Tensor
    ) -> Tensor | None:
        if not self.prefill:
            return None
        output = output.clone()
        tokens = self._seen.tokens.to(output.device)
        for block in blocks:
            rows = tokens.rows + self._slice(block, len(output)).start
            output[rows, tokens.columns] = tensor.to(output.device)
        return output


def check_keys(decoder: Decoder) -> None:
    """Refuse a model in which some layer has no keys and values of tokens.

    Raises:
        ArchitectureError: Names the layers.
    """
    without = [
        layer
        for layer, pair in enumerate(zip(decoder.keys, decoder.values, strict=True))
        if None in pair
    ]
    if without:
        raise ArchitectureError(
            f"decoder layers {', '.join(map(str, without))} have no k_proj and v_proj, as with "
            f"linear attention and cross-attention: no token has keys and values of its own "
            f"there, so an image's cannot be swapped. Expected k_proj and v_proj in every layer."
        )


def _hook(module: nn.Module | None, hook: Any) -> RemovableHandle:
    assert module is not None, "check_keys comes first"
    return module.register_forward_hook(hook)
