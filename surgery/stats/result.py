"""What a study found: tables, spectra and a summary, and how they are written."""

from __future__ import annotations

import json
import math
import platform
import secrets
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

import surgery
from surgery.checkpoint.failure import explained
from surgery.stats import columns
from surgery.stats.moments import PairMoments, UpdateMoments
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
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from surgery.checkpoint.source import CheckpointInfo
    from surgery.stats.align import Alignment
    from surgery.stats.options import Options
    from surgery.stats.pairs import Pair
    from surgery.stats.parts import Part

TABLES: Final = ("tensors", "layers", "regions", "updates", "update_layers", "update_regions")
SPECTRA: Final = "spectra.npz"
SUMMARY: Final = "summary.json"


@dataclass(frozen=True)
class Stats:
    """What a study found. Columns: `surgery.stats.columns`.

    Attributes:
        tensors: One row per tensor and pair.
        layers: One row per component, layer, group of modules and pair.
        regions: One row per region, component and the whole model, group and pair.
        updates: The first two pairs' updates compared, one row per tensor; empty for one pair.
        update_layers: The same per component, layer and group.
        update_regions: The same per region, component and the whole model.
        spectra: Singular values and principal angles in degrees: `TENSOR/PAIR/delta`,
            `TENSOR/MODEL/weight`, `TENSOR/PAIR/angles_left` and `angles_right`.
        summary: Models, pairs, regions, totals, versions; plain values for JSON.
    """

    tensors: pd.DataFrame
    layers: pd.DataFrame
    regions: pd.DataFrame
    updates: pd.DataFrame
    update_layers: pd.DataFrame
    update_regions: pd.DataFrame
    spectra: Mapping[str, np.ndarray]
    summary: Mapping[str, Any]

    def write(self, folder: Path) -> list[Path]:
        """Write csv tables, `spectra.npz` and `summary.json`; each file appears whole or not.

        What an earlier run wrote and this one has nothing of is removed.

        Args:
            folder: Made where it does not exist.

        Returns:
            The files.

        Raises:
            ExecutionError: If the folder cannot be written.
        """
        written = []
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in TABLES:
                table: pd.DataFrame = getattr(self, name)
                path = folder / f"{name}.csv"
                if table.empty:
                    path.unlink(missing_ok=True)
                    continue
                written.append(_replace(path, partial(_write_csv, table)))
            if self.spectra:
                written.append(_replace(folder / SPECTRA, partial(_write_npz, self.spectra)))
            else:
                (folder / SPECTRA).unlink(missing_ok=True)
            text = json.dumps(self.summary, indent=2, ensure_ascii=False) + "\n"
            written.append(_replace(folder / SUMMARY, lambda path: path.write_text(text, "utf-8")))
        return written


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, lineterminator="\n")


def _write_npz(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _replace(path: Path, write: Callable[[Path], object]) -> Path:
    """Write beside the path, then put it in place."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def assemble(
    alignment: Alignment,
    models: Mapping[str, CheckpointInfo],
    pairs: Sequence[Pair],
    options: Options,
    parts: Mapping[str, Part],
) -> Stats:
    """Measured tensors to tables.

    Args:
        alignment: The tensors.
        models: Headers by name.
        pairs: What was compared.
        options: How.
        parts: What was measured, by the piece's name.
    """
    measured = list(_pairs(alignment, parts))
    updates = list(_updates(alignment, pairs, parts))
    first = next(iter(alignment.architectures.values()))
    bounds = region_bounds(first.layers, options.cuts)
    regions = region_rows(measured, pool_pairs, bounds)
    return Stats(
        tensors=tensor_rows(measured, {str(pair): pair for pair in pairs}),
        layers=frame(layer_rows(measured, pool_pairs), columns.LAYERS),
        regions=frame(regions, columns.REGIONS),
        updates=update_rows(updates),
        update_layers=frame(layer_rows(updates, pool_updates), columns.UPDATE_LAYERS),
        update_regions=frame(region_rows(updates, pool_updates, bounds), columns.UPDATE_REGIONS),
        spectra={name: array for part in parts.values() for name, array in part.arrays.items()},
        summary=_summary(alignment, models, pairs, options, measured, bounds, regions),
    )


def _pairs(alignment: Alignment, parts: Mapping[str, Part]) -> Iterator[Measured]:
    for piece in alignment.pieces:
        record = parts[piece.name].record
        for pair, sums in record["pairs"].items():
            spectral = record.get("spectra", {}).get(pair, {})
            yield Measured(piece, {"pair": pair}, PairMoments(**sums), spectral)


def _updates(
    alignment: Alignment, pairs: Sequence[Pair], parts: Mapping[str, Part]
) -> Iterator[Measured]:
    for piece in alignment.pieces:
        record = parts[piece.name].record
        if "update" in record:
            label = {"first": str(pairs[0]), "second": str(pairs[1])}
            moments = UpdateMoments(**record["update"])
            yield Measured(piece, label, moments, record.get("subspaces", {}))


def _summary(
    alignment: Alignment,
    models: Mapping[str, CheckpointInfo],
    pairs: Sequence[Pair],
    options: Options,
    measured: Sequence[Measured],
    bounds: Mapping[str, Mapping[str, tuple[int, int]]],
    regions: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    architectures = alignment.architectures
    return {
        "models": {
            name: {
                "reference": str(info.reference),
                "revision": info.revision,
                "fingerprint": info.fingerprint,
                "family": architectures[name].family,
            }
            for name, info in models.items()
        },
        "pairs": [str(pair) for pair in pairs],
        "selector": str(options.selector) if options.selector else "*",
        "spectrum": str(options.spectrum),
        "top": options.top,
        "regions": {name: {r: list(span) for r, span in b.items()} for name, b in bounds.items()},
        "tensors": len(alignment.pieces),
        "parameters": sum(piece.numel for piece in alignment.pieces),
        "totals": {str(pair): _totals(regions, str(pair)) for pair in pairs},
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
