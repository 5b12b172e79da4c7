"""Measured tensors to tables and a summary."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import surgery
from surgery.stats import columns
from surgery.stats.moments import PairMoments, UpdateMoments
from surgery.stats.result import Stats
from surgery.stats.tables import (
    Measured,
    frame,
    layer_rows,
    pool_pairs,
    pool_updates,
    region_bounds,
    region_rows,
    tensor_rows,
    update_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from surgery.checkpoint.source import CheckpointInfo
    from surgery.stats.align import Alignment, Piece
    from surgery.stats.options import Options
    from surgery.stats.pairs import Pair
    from surgery.stats.parts import Part


@dataclass(frozen=True)
class Subject:
    """What is studied.

    Attributes:
        models: Headers by name, in the order of training.
        pairs: What is compared.
        alignment: The tensors.
        options: How they are looked at.
    """

    models: Mapping[str, CheckpointInfo]
    pairs: tuple[Pair, ...]
    alignment: Alignment
    options: Options

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """What becomes one row each."""
        return self.alignment.pieces


def assemble(subject: Subject, parts: Mapping[str, Part]) -> Stats:
    """Measured tensors to tables.

    Args:
        subject: What was studied.
        parts: What was measured, by the piece's name.
    """
    measured = list(_pairs(subject, parts))
    updates = list(_updates(subject, parts))
    first = next(iter(subject.alignment.architectures.values()))
    present = {piece.site.component for piece in subject.pieces}
    layers = {name: count for name, count in first.layers.items() if name in present}
    bounds = region_bounds(layers, subject.options.cuts)
    regions = region_rows(measured, pool_pairs, bounds)
    return Stats(
        tensors=tensor_rows(measured, {str(pair): pair for pair in subject.pairs}),
        layers=frame(layer_rows(measured, pool_pairs), columns.LAYERS),
        regions=frame(regions, columns.REGIONS),
        updates=update_rows(updates),
        update_layers=frame(layer_rows(updates, pool_updates), columns.UPDATE_LAYERS),
        update_regions=frame(region_rows(updates, pool_updates, bounds), columns.UPDATE_REGIONS),
        spectra={
            name: array
            for piece in subject.pieces
            for name, array in parts[piece.name].arrays.items()
        },
        summary=_summary(subject, measured, bounds, regions),
    )


def _pairs(subject: Subject, parts: Mapping[str, Part]) -> Iterator[Measured]:
    for piece in subject.pieces:
        record = parts[piece.name].record
        for pair, sums in record["pairs"].items():
            spectral = record.get("spectra", {}).get(pair, {})
            yield Measured(piece, {"pair": pair}, PairMoments(**sums), spectral)


def _updates(subject: Subject, parts: Mapping[str, Part]) -> Iterator[Measured]:
    for piece in subject.pieces:
        record = parts[piece.name].record
        if "update" in record:
            label = {"first": str(subject.pairs[0]), "second": str(subject.pairs[1])}
            moments = UpdateMoments(**record["update"])
            yield Measured(piece, label, moments, record.get("subspaces", {}))


def _summary(
    subject: Subject,
    measured: Sequence[Measured],
    bounds: Mapping[str, Mapping[str, tuple[int, int]]],
    regions: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    alignment, options = subject.alignment, subject.options
    return {
        "models": {
            name: {
                "reference": str(info.reference),
                "revision": info.revision,
                "fingerprint": info.fingerprint,
                "family": alignment.architectures[name].family,
            }
            for name, info in subject.models.items()
        },
        "pairs": [str(pair) for pair in subject.pairs],
        "selector": str(options.selector) if options.selector else "*",
        "spectrum": str(options.spectrum),
        "top": options.top,
        "regions": {name: {r: list(span) for r, span in b.items()} for name, b in bounds.items()},
        "tensors": len(alignment.pieces),
        "parameters": sum(piece.numel for piece in alignment.pieces),
        "totals": {str(pair): _totals(regions, str(pair)) for pair in subject.pairs},
        "unmatched": list(alignment.unmatched),
        "guessed": list(alignment.guessed),
        "nonfinite": sorted({each.piece.name for each in measured if not each.finite}),
        "versions": {
            "vlm-surgery": surgery.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "scipy", "numba")},
        },
    }


def _totals(regions: Sequence[Mapping[str, Any]], pair: str) -> dict[str, dict[str, Any]]:
    """Pooled norms of whole components and of the whole model."""
    wanted = ("numel", "delta_norm", "relative_delta", "cosine", "changed", "rounding_ratio")
    return {
        row["component"]: {name: _plain(row.get(name)) for name in wanted}
        for row in regions
        if row["region"] == "all" and row["group"] == "all" and row["pair"] == pair
    }


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return value if value is None or math.isfinite(value) else None
