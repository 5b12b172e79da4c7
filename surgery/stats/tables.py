"""Measured tensors to tidy tables: rows of tensors, and layers and regions pooled from them.

Names of columns are an interface: add at the end, never rename.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from surgery.arch.regions import regions
from surgery.arch.site import Component
from surgery.runs import RunKind, RunTables
from surgery.stats.moments import PairMoments, UpdateMoments
from surgery.stats.summary import summarize
from surgery.text import layer_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from surgery.recipe.select import Cuts
    from surgery.stats.align import Piece
    from surgery.stats.options import CheckpointPair
    from surgery.stats.parts import PieceResult
    from surgery.stats.subject import StudySubject

_MOMENTS = (
    "norm_before", "norm_after", "delta_norm", "relative_delta", "cosine", "angle", "random_angle",
    "max_abs_delta", "mean_delta", "std_delta", "changed", "changed_1e5", "changed_bf16",
    "rounding_norm", "rounding_ratio",
)  # fmt: skip
_SPECTRUM = (
    "spectral_norm", "nuclear_norm", "stable_rank", "effective_rank", "condition_number",
    "log_volume", "top_energy",
)  # fmt: skip

TENSOR_COLUMNS: Final = (
    "tensor", "component", "layer", "module", "leaf", "pair", "shape", "numel",
    "dtype_before", "dtype_after", *_MOMENTS, "nonfinite_before", "nonfinite_after",
    "spectrum", "top", "resolved", "above_rounding",
    *_SPECTRUM, *(f"random_{name}" for name in _SPECTRUM), "spectral_shift",
    "rotation_left_mean", "rotation_left_max", "rotation_right_mean", "rotation_right_max",
)  # fmt: skip
"""`tensors.csv`: one row per tensor and pair."""

_POOLED = (
    "group", "pair", "tensors", "numel", *_MOMENTS,
    "mean_tensor_delta_norm", "mean_tensor_relative_delta", "mean_tensor_cosine",
    "spectral_norm", "nuclear_norm", "mean_stable_rank", "mean_effective_rank",
    "mean_random_stable_rank", "mean_random_effective_rank",
    "mean_spectral_shift", "mean_rotation_left", "mean_rotation_right", "nonfinite_tensors",
)  # fmt: skip

LAYER_COLUMNS: Final = ("component", "layer", *_POOLED)
"""`layers.csv`: one row per component, layer, group of modules and pair."""

REGION_COLUMNS: Final = ("component", "region", "layers", *_POOLED)
"""`regions.csv`: the same for early, mid and late, whole components, and the whole model."""

_OVERLAP = (
    "cosine", "sign_agreement", "changed_first", "changed_second", "changed_both",
    "overlap", "overlap_chance", "overlap_ratio", "cosine_chance", "cosine_rounding",
)  # fmt: skip
_SUBSPACES = (
    "subspace_overlap_left", "subspace_overlap_right",
    "subspace_chance_left", "subspace_chance_right",
)  # fmt: skip

UPDATE_COLUMNS: Final = (
    "tensor", "component", "layer", "module", "leaf", "first", "second", "numel",
    *_OVERLAP, "subspace_rank", *_SUBSPACES,
)  # fmt: skip
"""`updates.csv`: two updates compared, one row per tensor."""

_POOLED_UPDATES = (
    "group", "first", "second", "tensors", "numel", *_OVERLAP,
    *(f"mean_{name}" for name in _SUBSPACES),
)  # fmt: skip

UPDATE_LAYER_COLUMNS: Final = ("component", "layer", *_POOLED_UPDATES)
"""`update_layers.csv`: the same per component, layer and group of modules."""

UPDATE_REGION_COLUMNS: Final = ("component", "region", "layers", *_POOLED_UPDATES)
"""`update_regions.csv`: the same for regions, components and the whole model."""

ALL = "all"

ORDER = list(Component)
"""Components from the picture to the answer."""


@dataclass(frozen=True)
class MeasuredTensor:
    """One tensor under one pair, or under two updates.

    Attributes:
        piece: The tensor.
        label: The pair, or the two that are compared, as the rows say it.
        moments: Its sums.
        spectral: What its singular values gave, by column; empty without.
    """

    piece: Piece
    label: Mapping[str, str]
    moments: PairMoments | UpdateMoments
    spectral: Mapping[str, Any]

    @property
    def finite(self) -> bool:
        """Check whether every value in it is a number."""
        return self.moments.finite


def assemble(subject: StudySubject, parts: Mapping[str, PieceResult]) -> RunTables:
    """Make tables of measured tensors.

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
    nonfinite = sorted({item.piece.name for item in measured if not item.finite})
    return RunTables(
        kind=RunKind.STATISTICS,
        summary=summarize(subject, nonfinite, bounds, regions),
        tables={
            "tensors": tensor_rows(measured, {str(pair): pair for pair in subject.pairs}),
            "layers": frame(layer_rows(measured, pool_pairs), LAYER_COLUMNS),
            "regions": frame(regions, REGION_COLUMNS),
            "updates": update_rows(updates),
            "update_layers": frame(layer_rows(updates, pool_updates), UPDATE_LAYER_COLUMNS),
            "update_regions": frame(
                region_rows(updates, pool_updates, bounds), UPDATE_REGION_COLUMNS
            ),
        },
        arrays={
            name: array
            for piece in subject.pieces
            for name, array in parts[piece.name].arrays.items()
        },
    )


def _pairs(subject: StudySubject, parts: Mapping[str, PieceResult]) -> Iterator[MeasuredTensor]:
    for piece in subject.pieces:
        record = parts[piece.name].record
        for pair, sums in record["pairs"].items():
            spectral = record.get("spectra", {}).get(pair, {})
            yield MeasuredTensor(piece, {"pair": pair}, PairMoments(**sums), spectral)


def _updates(subject: StudySubject, parts: Mapping[str, PieceResult]) -> Iterator[MeasuredTensor]:
    for piece in subject.pieces:
        record = parts[piece.name].record
        if "update" in record:
            label = {"first": str(subject.pairs[0]), "second": str(subject.pairs[1])}
            moments = UpdateMoments(**record["update"])
            yield MeasuredTensor(piece, label, moments, record.get("subspaces", {}))


def tensor_rows(
    measured: Sequence[MeasuredTensor], pairs: Mapping[str, CheckpointPair]
) -> pd.DataFrame:
    """`tensors.csv`."""
    rows = []
    for piece in measured:
        pair = pairs[piece.label["pair"]]
        headers = piece.piece.headers
        rows.append(
            _place(piece.piece)
            | dict(piece.label)
            | {
                "shape": "x".join(map(str, piece.piece.shape)),
                "numel": piece.piece.numel,
                "dtype_before": headers[pair.before].dtype.torch_name,
                "dtype_after": headers[pair.after].dtype.torch_name,
            }
            | piece.moments.metrics()
            | dict(piece.spectral)
        )
    return frame(rows, TENSOR_COLUMNS)


def update_rows(measured: Sequence[MeasuredTensor]) -> pd.DataFrame:
    """Return `updates.csv`."""
    rows = [
        _place(piece.piece)
        | dict(piece.label)
        | {"numel": piece.piece.numel}
        | piece.moments.metrics()
        | dict(piece.spectral)
        for piece in measured
    ]
    return frame(rows, UPDATE_COLUMNS)


def _place(piece: Piece) -> dict[str, Any]:
    site = piece.site
    return {
        "tensor": piece.name,
        "component": str(site.component),
        "layer": site.layer,
        "module": str(site.module),
        "leaf": site.leaf if piece.index is None else f"{site.leaf}[{piece.index}]",
    }


def layer_rows(
    measured: Sequence[MeasuredTensor], pool: Callable[[Sequence[MeasuredTensor]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return one row per component, layer, group of modules and label.

    Args:
        measured: Rows of tensors.
        pool: What to make of those that belong together.
    """
    groups: dict[tuple[Any, ...], list[MeasuredTensor]] = defaultdict(list)
    for piece in measured:
        site = piece.piece.site
        for group in (ALL, str(site.module)):
            groups[str(site.component), site.layer, group, *piece.label.items()].append(piece)
    return [
        {"component": component, "layer": layer, "group": group, **dict(label), **pool(members)}
        for (component, layer, group, *label), members in groups.items()
    ]


def region_rows(
    measured: Sequence[MeasuredTensor],
    pool: Callable[[Sequence[MeasuredTensor]], dict[str, Any]],
    bounds: Mapping[str, Mapping[str, tuple[int, int]]],
) -> list[dict[str, Any]]:
    """Return one row per region, group and label; then whole components and the whole model.

    Args:
        measured: Rows of tensors.
        pool: What to make of those that belong together.
        bounds: Half-open layers of every region of every component that has some.
    """
    groups: dict[tuple[Any, ...], list[MeasuredTensor]] = defaultdict(list)
    for piece in measured:
        site = piece.piece.site
        component = str(site.component)
        wholes = [(component, ALL), (ALL, ALL)]
        for region, (first, end) in bounds.get(component, {}).items():
            if site.layer is not None and first <= site.layer < end:
                wholes.append((component, region))
        for component_, region in wholes:
            for group in (ALL, str(site.module)):
                groups[component_, region, group, *piece.label.items()].append(piece)
    ordered = sorted(groups.items(), key=lambda item: _rank(item[0], list(bounds)))
    return [
        {
            "component": component,
            "region": region,
            "layers": "" if component == ALL else layer_ranges(_numbers(members)),
            "group": group,
            **dict(label),
            **pool(members),
        }
        for (component, region, group, *label), members in ordered
    ]


def _numbers(members: Sequence[MeasuredTensor]) -> Iterator[int]:
    return (m.piece.site.layer for m in members if m.piece.site.layer is not None)


def _rank(key: tuple[Any, ...], stacks: Sequence[str]) -> tuple[int, int]:
    """Return the rank of a row: stacks with their regions, other components, the model."""
    component, region = key[0], key[1]
    place = len(stacks) + 1 if component == ALL else len(stacks)
    if component in stacks:
        place = stacks.index(component)
    return place, ("early", "mid", "late", ALL).index(region)


def pool_pairs(members: Sequence[MeasuredTensor]) -> dict[str, Any]:
    """Return one row of many tensors under one pair.

    Norms pool as the root of the sum of squares, cosines from pooled dot products: as if the
    tensors were one long vector. Singular values pool as those of the block-diagonal matrix. The
    plain means over tensors are those that the scripts of arXiv 2602.12395 print.
    """
    finite = [member for member in members if member.finite]
    moments = reduce(add, (member.moments for member in finite)) if finite else None
    metrics = [member.moments.metrics() for member in finite]
    row = dict(moments.metrics()) if moments is not None else {}
    row |= {
        "tensors": len(members),
        "numel": sum(member.piece.numel for member in members),
        "nonfinite_tensors": len(members) - len(finite),
    }
    for name in ("delta_norm", "relative_delta", "cosine"):
        row[f"mean_tensor_{name}"] = _mean(values[name] for values in metrics)
    return row | _pool_spectra([member.spectral for member in finite if member.spectral])


def _pool_spectra(spectra: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the pooled columns of singular values."""
    if not spectra:
        return {}
    row = {
        "spectral_norm": max(values["spectral_norm"] for values in spectra),
        "nuclear_norm": sum(values["nuclear_norm"] for values in spectra),
        "mean_rotation_left": _mean(values["rotation_left_mean"] for values in spectra),
        "mean_rotation_right": _mean(values["rotation_right_mean"] for values in spectra),
        "mean_spectral_shift": _mean(values["spectral_shift"] for values in spectra),
    }
    for name in ("stable_rank", "effective_rank"):
        # The null of the same matrices: where only the largest values are known, some lack a rank.
        finite = [values for values in spectra if not math.isnan(values[name])]
        row[f"mean_{name}"] = _mean(values[name] for values in finite)
        row[f"mean_random_{name}"] = _mean(values[f"random_{name}"] for values in finite)
    return row


def pool_updates(members: Sequence[MeasuredTensor]) -> dict[str, Any]:
    """Return one row of many tensors under two updates, pooled like one long vector."""
    finite = [member for member in members if member.finite]
    row: dict[str, Any] = {}
    if finite:
        row = dict(reduce(add, (member.moments for member in finite)).metrics())
    row |= {"tensors": len(members), "numel": sum(member.piece.numel for member in members)}
    spectra = [member.spectral for member in finite if member.spectral]
    for side in ("left", "right"):
        for name in (f"subspace_overlap_{side}", f"subspace_chance_{side}"):
            row[f"mean_{name}"] = _mean(values[name] for values in spectra)
    return row


def _mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are numbers; NaN where there is none."""
    finite = [value for value in values if not math.isnan(value)]
    return sum(finite) / len(finite) if finite else math.nan


def region_bounds(
    layers: Mapping[Component, int], cuts: Cuts
) -> dict[str, dict[str, tuple[int, int]]]:
    """Return the half-open layers of early, mid and late, for every component that has layers."""
    return {
        str(component): {
            str(region): (span.start, span.stop)
            for region, span in regions(count, cuts.get(component)).items()
            if span
        }
        for component, count in sorted(layers.items(), key=lambda item: ORDER.index(item[0]))
        if count
    }


def frame(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> pd.DataFrame:
    """Return rows as a table of these columns, absent values empty."""
    table = pd.DataFrame.from_records(list(rows)).reindex(columns=list(names))
    if "layer" in names:
        table["layer"] = table["layer"].astype("Int64")
    return table
