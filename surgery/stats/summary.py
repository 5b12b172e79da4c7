"""The summary of a study: models, pairs, regions, totals, versions; plain values for JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from surgery.runs import hardware, versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from surgery.stats.subject import StudySubject


def summarize(
    subject: StudySubject,
    nonfinite: Sequence[str],
    bounds: Mapping[str, Mapping[str, tuple[int, int]]],
    regions: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what the run's header holds.

    Args:
        subject: What was studied.
        nonfinite: Names of the tensors that hold NaN or infinity.
        bounds: Half-open layers of every region of every component that has some.
        regions: Rows of `regions.csv`.
    """
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
        "nonfinite": list(nonfinite),
        "versions": versions("torch", "numpy", "scipy", "numba"),
        "hardware": hardware(),
    }


def _totals(regions: Sequence[Mapping[str, Any]], pair: str) -> dict[str, dict[str, Any]]:
    """Return pooled norms of whole components and of the whole model."""
    columns = ("numel", "delta_norm", "relative_delta", "cosine", "changed", "rounding_ratio")
    return {
        row["component"]: {name: _plain(row.get(name)) for name in columns}
        for row in regions
        if row["region"] == "all" and row["group"] == "all" and row["pair"] == pair
    }


def _plain(value: Any) -> Any:
    """Return None for what JSON has no number for: NaN and infinity."""
    return value if value is None or math.isfinite(value) else None
