"""Pooling: as if the tensors of a group were one long vector, or one block-diagonal matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.torch import load_file

from surgery.arch.site import Component
from surgery.checkpoint.open import open_checkpoint
from surgery.stats import tables
from surgery.stats.options import Options, SpectrumKind
from surgery.stats.study import Study
from surgery.stats.tables import _pool_spectra

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from surgery.runs import RunTables

    Pair = Callable[[str], dict[str, Path]]


def studied(models: dict[str, Path], **options: Any) -> RunTables:
    opened = {name: open_checkpoint(str(path)) for name, path in models.items()}
    try:
        return Study(opened, Options(**options)).run()
    finally:
        for checkpoint in opened.values():
            checkpoint.close()


@pytest.fixture(scope="module")
def models(pair: Pair) -> dict[str, Path]:
    return pair("qwen2_5_vl")


@pytest.fixture(scope="module")
def stats(models: dict[str, Path]) -> RunTables:
    return studied(models, spectrum=SpectrumKind.FULL, top=4)


def vector(folder: Path, pattern: str) -> np.ndarray:
    """All tensors whose names hold `pattern`, one after the other, in float64."""
    stored = load_file(folder / "model.safetensors")
    return np.concatenate([t.double().numpy().ravel() for n, t in stored.items() if pattern in n])


def single_row(table: pd.DataFrame, **location: Any) -> dict[str, Any]:
    for name, value in location.items():
        table = table[table[name].isna() if value is None else table[name] == value]
    assert len(table) == 1
    return dict(table.iloc[0])


def test_columns_are_the_promised_ones(stats: RunTables) -> None:
    assert tuple(stats.tensors.columns) == tables.TENSOR_COLUMNS
    assert tuple(stats.layers.columns) == tables.LAYER_COLUMNS
    assert tuple(stats.regions.columns) == tables.REGION_COLUMNS
    assert tuple(stats.updates.columns) == tables.UPDATE_COLUMNS
    assert tuple(stats.update_layers.columns) == tables.UPDATE_LAYER_COLUMNS
    assert tuple(stats.update_regions.columns) == tables.UPDATE_REGION_COLUMNS
    # every column holds something on real models
    for name in ("tensors", "layers", "regions", "updates", "update_layers", "update_regions"):
        table = getattr(stats, name)
        assert not [c for c in table.columns if table[c].isna().all()], name


def test_a_layer_pools_like_one_vector(stats: RunTables, models: dict[str, Path]) -> None:
    names = ("base", "in", "rl")
    base, in_, rl = (vector(models[n], "model.layers.2.") for n in names)
    row = single_row(stats.layers, component="language", layer=2, group="all", pair="in..rl")
    delta = rl - in_
    assert row["numel"] == delta.size
    assert row["delta_norm"] == pytest.approx(np.linalg.norm(delta), rel=1e-6)
    assert row["norm_before"] == pytest.approx(np.linalg.norm(in_), rel=1e-6)
    cosine = in_ @ rl / np.linalg.norm(in_) / np.linalg.norm(rl)
    assert row["cosine"] == pytest.approx(cosine, rel=1e-6)
    assert row["mean_delta"] == pytest.approx(delta.mean(), abs=1e-8)
    assert row["std_delta"] == pytest.approx(delta.std(), rel=1e-6)
    assert row["max_abs_delta"] == pytest.approx(np.abs(delta).max(), rel=1e-6)
    assert row["changed"] == np.mean(delta != 0)
    first, second = in_ - base, delta
    row = single_row(stats.update_layers, component="language", layer=2, group="all")
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert row["cosine"] == pytest.approx(cosine, rel=1e-5)
    both = (first != 0) & (second != 0)
    agree = np.sign(first[both]) == np.sign(second[both])
    assert row["sign_agreement"] == pytest.approx(agree.mean())


def test_the_reference_means_stand_beside_it(stats: RunTables) -> None:
    tensors = stats.tensors.query("component == 'language' and layer == 1 and pair == 'in..rl'")
    row = single_row(stats.layers, component="language", layer=1, group="all", pair="in..rl")
    for name in ("delta_norm", "relative_delta", "cosine"):
        assert row[f"mean_tensor_{name}"] == pytest.approx(tensors[name].mean(), rel=1e-12)
    assert row["mean_tensor_delta_norm"] < row["delta_norm"]
    assert row["spectral_norm"] == tensors["spectral_norm"].max()
    assert row["nuclear_norm"] == pytest.approx(tensors["nuclear_norm"].sum())


def test_nulls_are_means_over_the_same_matrices() -> None:
    """With only the largest values, small matrices have a rank and large matrices none."""
    names = ("spectral_norm", "nuclear_norm", "spectral_shift", "stable_rank",
             "random_stable_rank", "rotation_left_mean", "rotation_right_mean")  # fmt: skip
    known_names = dict.fromkeys(names, 1.0)
    small = known_names | {"effective_rank": 7.0, "random_effective_rank": 9.0}
    large = known_names | {"effective_rank": math.nan, "random_effective_rank": 90.0}
    pooled = _pool_spectra([small, large])
    assert (pooled["mean_effective_rank"], pooled["mean_random_effective_rank"]) == (7, 9)
    assert pooled["mean_random_stable_rank"] == 1


def test_groups_add_up(stats: RunTables) -> None:
    layers = stats.layers.query("pair == 'in..rl' and component == 'language' and layer == 0")
    whole = layers[layers.group == "all"].iloc[0]
    groups = layers[layers.group != "all"]
    assert set(groups.group) == {"attention", "mlp", "norm"}
    assert groups.numel.sum() == whole.numel
    assert math.sqrt((groups.delta_norm**2).sum()) == pytest.approx(whole.delta_norm)


def test_nothing_is_skipped(stats: RunTables, models: dict[str, Path]) -> None:
    base, rl = (vector(models[n], "") for n in ("base", "rl"))
    row = single_row(stats.regions, component="all", region="all", group="all", pair="base..rl")
    assert row["numel"] == base.size
    assert row["delta_norm"] == pytest.approx(np.linalg.norm(rl - base), rel=1e-6)
    leaves = set(stats.tensors.leaf)
    assert {"q_proj.bias", "q_proj.weight"} <= leaves
    assert {"embedding", "norm"} <= set(stats.tensors.component)


def test_regions_are_the_recipes_own(stats: RunTables, models: dict[str, Path]) -> None:
    language = stats.regions.query("component == 'language' and group == 'all'")
    pair = language[language.pair == "in..rl"]
    assert list(zip(pair.region, pair.layers, strict=True)) == [
        ("early", "0"), ("mid", "1"), ("late", "2-3"), ("all", "0-3"),
    ]  # fmt: skip
    cut = studied(models, spectrum=SpectrumKind.NONE, cuts={Component.LANGUAGE: (2, 3)})
    assert cut.summary["regions"]["language"] == {"early": [0, 2], "mid": [2, 3], "late": [3, 4]}
    early = single_row(
        cut.regions, component="language", region="early", group="all", pair="in..rl"
    )
    parts = stats.layers.query("component == 'language' and group == 'all' and pair == 'in..rl'")
    both = parts[parts.layer < 2].delta_norm
    assert early["delta_norm"] == pytest.approx(math.sqrt((both**2).sum()))


def test_totals_are_the_whole(stats: RunTables) -> None:
    row = single_row(
        stats.regions, component="language", region="all", group="all", pair="base..in"
    )
    assert stats.summary["totals"]["base..in"]["language"]["delta_norm"] == row["delta_norm"]
    assert stats.summary["parameters"] == stats.summary["totals"]["base..in"]["all"]["numel"]
