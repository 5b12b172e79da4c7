"""Layers switched off: h_{l+1} = h_l, or without attention's part, or without the MLP's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from surgery.errors import ExecutionError
from surgery.intervene.blocks import NEVER, Blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from surgery.intervene.decoder import Decoder


class Branch(StrEnum):
    """The part of a layer that is disabled."""

    LAYER = "layer"
    ATTENTION = "attention"
    MLP = "mlp"


@dataclass(frozen=True, order=True)
class Off:
    """A layer, or one branch of it, that adds nothing to the residual stream.

    Attributes:
        layer: Which, from 0.
        branch: What of it.
    """

    layer: int
    branch: Branch = Branch.LAYER

    def __str__(self) -> str:
        return f"{self.branch} {self.layer} off"


class Ablation(Blocks):
    """One block of rows for each thing that is switched off.

    A branch is switched off by making its output zero, also where a norm stands between it and the
    residual stream: root mean square norms keep zero.

    Args:
        offs: What each block lacks; None for a block that lacks nothing.
        sharing: Whether rows that are still equal are computed once.
    """

    def __init__(self, offs: Sequence[Off | None], *, sharing: bool = True) -> None:
        super().__init__([_start(off) for off in offs], sharing=sharing)
        self.offs = tuple(offs)

    def _blocks(self, off: Off) -> list[int]:
        return [block for block, item in enumerate(self.offs) if item == off]

    def _inside(self, layer: int, decoder: Decoder) -> Iterator[RemovableHandle]:
        parts = ((Branch.ATTENTION, decoder.attention), (Branch.MLP, decoder.mlp))
        for branch, modules in parts:
            blocks = self._blocks(Off(layer, branch))
            if blocks:

                def silence(
                    module: nn.Module, _: Any, output: Any, blocks: list[int] = blocks
                ) -> Any:
                    first = output[0] if isinstance(output, tuple) else output
                    silent = self._silenced(module, first, blocks)
                    return (silent, *output[1:]) if isinstance(output, tuple) else silent

                yield modules[layer].register_forward_hook(silence)

    def _silenced(self, module: nn.Module, output: Tensor, blocks: Sequence[int]) -> Tensor:
        if output.dim() != 3:
            raise ExecutionError(
                f"{type(module).__name__} returns a tensor of shape {list(output.shape)}. Expected "
                f"[rows, tokens, hidden]: this branch cannot be switched off row by row."
            )
        output = output.clone()
        for block in blocks:
            output[self._slice(block, len(output))] = 0
        return output

    def _after(self, layer: int, before: Tensor, after: Tensor) -> Tensor:
        blocks = self._blocks(Off(layer, Branch.LAYER))
        if not blocks:
            return after
        after = after.clone()
        for block in blocks:
            rows = self._slice(block, len(after))
            after[rows] = before[rows]
        return after


def _start(off: Off | None) -> int:
    """Check whether the layer must run: only if just a branch of it is disabled."""
    if off is None:
        return NEVER
    return off.layer + 1 if off.branch is Branch.LAYER else off.layer
