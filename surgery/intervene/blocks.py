"""Many changed copies of the same rows in one batch; equal rows are computed once.

A batch is made of blocks: row r is question r % n in block r // n, and every block is changed in
its way from some layer on. Before that layer a block's rows equal the unchanged rows, so
a prefill computes them once: layer j sees only the blocks that differ by then, and its
output (and its keys and values in the cache) are copied to the others. Code of the model
outside the layers is not affected.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from surgery.intervene.decoder import Decoder

NEVER: Final = 1 << 30
"""The first layer at which an unchanged block differs."""

_ROWS_OF: Final = {"attention_mask": 0, "position_ids": -2, "position_embeddings": -3}
"""Dimension of rows in a layer's arguments; the first dimension for all others."""


class Blocks(ABC):
    """Blocks of rows, each changed in its own way.

    Args:
        starts: For each block the first layer that computes its rows separately from the unchanged
            rows; `NEVER` for an unchanged block.
        sharing: Whether equal rows are computed once.
    """

    def __init__(self, starts: Sequence[int], *, sharing: bool = True) -> None:
        self._starts = tuple(starts)
        # The block that stays unchanged longest stands for all that are still like it.
        self._root = max(range(len(starts)), key=lambda block: starts[block])
        self._sharing = sharing
        self.prefill = True
        """True during the first pass, over the whole prompt."""
        self._alive: list[int] = list(range(self.size))
        self._entered: Tensor | None = None
        self._copies: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of blocks."""
        return len(self._starts)

    @abstractmethod
    def _inside(self, layer: int, decoder: Decoder) -> Iterator[RemovableHandle]:
        """Hooks on a layer's parts; empty where none is needed."""

    def _after(self, layer: int, before: Tensor, after: Tensor) -> Tensor:
        """Return the output of a layer, for all blocks.

        Args:
            layer: Which layer.
            before: What entered it: `Float[Tensor, "rows tokens hidden"]`.
            after: What it made of it.
        """
        return after

    @contextmanager
    def applied(self, decoder: Decoder) -> Iterator[None]:
        """Change the blocks of every batch that goes through the model inside the `with` block.

        Batches must have `size` times as many rows as there are questions. Every hook is removed at
        the end, after an exception too.

        Args:
            decoder: Of the model.
        """
        with ExitStack() as stack:
            for index, layer in enumerate(decoder.layers):
                enter = layer.register_forward_pre_hook(
                    partial(self._enter, index), with_kwargs=True
                )
                stack.callback(enter.remove)
                for inside in self._inside(index, decoder):
                    stack.callback(inside.remove)
                leave = layer.register_forward_hook(partial(self._leave, index), with_kwargs=True)
                stack.callback(leave.remove)
            yield

    def _slice(self, block: int, rows: int) -> slice:
        """Return the position of a block's rows among those that the current layer computes.

        Args:
            block: A block that is computed separately at this layer.
            rows: How many rows the layer computes.
        """
        count = rows // len(self._alive)
        place = self._alive.index(block)
        return slice(place * count, (place + 1) * count)

    def _enter(
        self, index: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        cache = kwargs.get("past_key_values")
        if index == 0:
            self.prefill = cache is None or cache.get_seq_length() == 0
        self._entered, self._copies = hidden, None
        self._alive = list(range(self.size))
        if not (self._sharing and self.prefill and _can_copy(cache, index)):
            return None
        self._alive = [
            block for block in self._alive if block == self._root or self._starts[block] <= index
        ]
        if len(self._alive) == self.size:
            return None
        rows = len(hidden)
        row_index = torch.arange(rows // self.size, device=hidden.device)
        computed = torch.cat([row_index + block * len(row_index) for block in self._alive])
        root = self._alive.index(self._root)
        places = [
            self._alive.index(block) if block in self._alive else root for block in range(self.size)
        ]
        self._copies = torch.cat([row_index + place * len(row_index) for place in places])
        few = {name: _rows_of(name, value, computed, rows) for name, value in kwargs.items()}
        return tuple(_rows_of("", value, computed, rows) for value in args), few

    def _leave(
        self, index: int, _: nn.Module, __: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        if self._copies is not None:
            copies = self._copies.to(hidden.device)  # layers may stand on several devices
            hidden = hidden[copies]
            if (cache := kwargs.get("past_key_values")) is not None:
                cache.layers[index].batch_select_indices(copies)
        self._alive = list(range(self.size))
        assert self._entered is not None
        hidden = self._after(index, self._entered, hidden)
        self._entered = self._copies = None
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


class Intact(Blocks):
    """Unchanged blocks: copies of the intact model.

    Args:
        size: How many.
    """

    def __init__(self, size: int = 1) -> None:
        super().__init__([NEVER] * size)

    def _inside(self, layer: int, decoder: Decoder) -> Iterator[RemovableHandle]:
        return iter(())


def _can_copy(cache: Any, layer: int) -> bool:
    """Check whether a layer's cache can be copied to other rows; linear attention's cannot."""
    return cache is None or hasattr(cache.layers[layer], "batch_select_indices")


def _rows_of(name: str, value: Any, computed: Tensor, rows: int) -> Any:
    """Return the part of an argument that belongs to some rows."""
    if isinstance(value, tuple):
        return tuple(_rows_of(name, part, computed, rows) for part in value)
    dim = _ROWS_OF.get(name, 0)
    if not isinstance(value, torch.Tensor) or value.dim() < max(-dim, dim + 1):
        return value
    if value.shape[dim] != rows:
        return value  # one for all rows
    return value.index_select(dim, computed.to(value.device))
