"""One tensor, measured: chunk by chunk over its elements, then as a matrix."""

from __future__ import annotations

from dataclasses import asdict
from functools import reduce
from operator import add
from threading import Lock
from typing import TYPE_CHECKING, Any

from surgery.stats.elementwise import measure
from surgery.stats.options import SpectrumKind, compared
from surgery.stats.parts import PieceResult
from surgery.stats.read import TensorView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from surgery.checkpoint.source import Checkpoint
    from surgery.stats.align import Piece
    from surgery.stats.moments import PairMoments, UpdateMoments
    from surgery.stats.options import CheckpointPair, Options

CHUNK = 1 << 24
"""Elements per piece of a tensor, so that all threads share an embedding."""


class Measurement:
    """The work on one tensor. Its chunks may be done by several threads, in any order.

    Args:
        piece: The tensor.
        checkpoints: The open models.
        pairs: The compared pairs; pairs that lack the tensor on one side are omitted.
    """

    def __init__(
        self, piece: Piece, checkpoints: Mapping[str, Checkpoint], pairs: Sequence[CheckpointPair]
    ) -> None:
        self.piece = piece
        available = set(piece.headers)
        self.pairs = tuple(p for p in pairs if {p.before, p.after} <= available)
        self._compared = compared(self.pairs) if self.pairs[:2] == tuple(pairs[:2]) else None
        names = [n for n in piece.headers if any(n in (p.before, p.after) for p in self.pairs)]
        self._views = {
            name: TensorView(checkpoints[name], piece.headers[name].name, piece.index)
            for name in names
        }
        self._indices = [(names.index(p.before), names.index(p.after)) for p in self.pairs]
        self._lock = Lock()
        self._moments: dict[int, tuple[list[PairMoments], UpdateMoments | None]] = {}
        self.starts = range(0, max(1, piece.numel), CHUNK)

    def chunk(self, start: int) -> bool:
        """Go over one chunk's elements.

        Args:
            start: One of `starts`.

        Returns:
            Whether it was the last one.
        """
        stop = min(start + CHUNK, self.piece.numel)
        views = tuple(self._views.values())
        moments = measure(views, self._indices, self._compared, start, stop)
        with self._lock:
            self._moments[start] = moments
            return len(self._moments) == len(self.starts)

    def part(self, options: Options) -> PieceResult:
        """Return the result once every chunk is done; decompose the matrix if requested.

        Chunks are summed in their own order, so that nothing depends on who was first.
        """
        chunks = [self._moments[start] for start in self.starts]
        moments = [reduce(add, column) for column in zip(*(c[0] for c in chunks), strict=True)]
        record: dict[str, Any] = {
            "pairs": {str(p): asdict(m) for p, m in zip(self.pairs, moments, strict=True)}
        }
        updates = [update for _, update in chunks if update is not None]
        if updates:
            record["update"] = asdict(reduce(add, updates))
        arrays: dict[str, np.ndarray] = {}
        if options.spectrum is not SpectrumKind.NONE and self.piece.matrix is not None:
            arrays = self._decompose(self.piece.matrix, moments, options, record)
        return PieceResult(record, arrays)

    def _decompose(
        self,
        shape: tuple[int, int],
        moments: Sequence[PairMoments],
        options: Options,
        record: dict[str, Any],
    ) -> dict[str, np.ndarray]:
        """Add what singular values tell of every pair whose numbers are all finite."""
        from surgery.stats.spectral import Spectral

        spectral = Spectral(self.piece.name, shape, self._views, options)
        finite = {p: m.metrics() for p, m in zip(self.pairs, moments, strict=True) if m.finite}
        record["spectra"] = {
            str(pair): spectral.pair(pair, result["rounding_norm"])
            for pair, result in finite.items()
        }
        if self._compared is not None:
            first, second = (self.pairs[i] for i in self._compared)
            if first in finite and second in finite:
                record["subspaces"] = spectral.update(first, second)
        return spectral.arrays
