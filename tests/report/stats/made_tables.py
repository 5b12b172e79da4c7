"""Tables of a comparison that never was, as large or as small as a test wants them."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from surgery.arch.regions import regions
from surgery.runs import RunKind, RunTables

Cuts = dict[str, dict[str, tuple[int, int]]]
_PARTS = {
    "attention": {
        "q_proj.weight": (48, 48),
        "q_proj.bias": (48,),
        "k_proj.weight": (16, 48),
        "v_proj.weight": (16, 48),
        "o_proj.weight": (48, 48),
    },
    "mlp": {
        "gate_proj.weight": (96, 48),
        "up_proj.weight": (96, 48),
        "down_proj.weight": (48, 96),
    },
    "norm": {"input_layernorm.weight": (48,), "post_attention_layernorm.weight": (48,)},
}
_SINGLE = {
    ("vision", "embedding", "patch_embed.proj.weight"): (48, 72),
    ("projector", "mlp", "mlp.0.weight"): (96, 96),
    ("embedding", "embedding", "embed_tokens.weight"): (200, 48),
    ("norm", "norm", "norm.weight"): (48,),
    ("head", "other", "lm_head.weight"): (200, 48),
}
_PAIRS = {"base..in": 3e-2, "in..rl": 4e-4, "base..rl": 3.1e-2}


def make_tables(
    vision: int = 4,
    language: int = 9,
    pairs: int = 2,
    *,
    single: bool = True,
    spectrum: str = "full",
    frozen: bool = False,
) -> RunTables:
    """Tables with every column that the pictures read; `frozen` leaves vision as it was."""
    rng = np.random.default_rng(0)
    names = list(_PAIRS)[:pairs]
    stacks = {"vision": vision, "language": language}
    cuts = {
        c: {str(k): (r.start, r.stop) for k, r in regions(n).items()}
        for c, n in stacks.items()
        if n
    }
    sites = [
        (c, n, module, leaf, shape)
        for c, count in stacks.items()
        for n in range(count)
        for module, leaves in _PARTS.items()
        for leaf, shape in leaves.items()
    ]
    if single:
        sites += [(c, None, module, leaf, shape) for (c, module, leaf), shape in _SINGLE.items()]
    spectra: dict[str, Any] = {}
    rows = [
        _tensor(rng, site, pair, stacks, spectrum, spectra, frozen)
        for site in sites
        for pair in names
    ]
    tensors = pd.DataFrame(rows)
    layers = _grouped(tensors)
    compared = list(combinations(names, 2))
    updates = [_updates(rng, layers, first, second, spectrum) for first, second in compared]
    return RunTables(
        RunKind.STATISTICS,
        {"pairs": names, "regions": cuts},
        {
            "tensors": tensors,
            "layers": layers,
            "regions": _regions(tensors, cuts),
            "update_layers": pd.concat(updates) if updates else pd.DataFrame(),
        },
        spectra,
    )


def _tensor(
    rng: Any, site: Any, pair: str, stacks: Any, spectrum: str, spectra: Any, frozen: bool
) -> dict[str, Any]:
    component, layer, module, leaf, shape = site
    name = f"{component}.{'' if layer is None else f'layers.{layer}.'}{module}.{leaf}"
    depth = 0.5 if layer is None else (layer + 0.5) / stacks[component]
    size = _PAIRS[pair] * (0.4 + np.exp(-((depth - 0.6) ** 2) / 0.05)) * rng.lognormal(0, 0.15)
    if frozen and component == "vision":
        size = 0.0
    numel = int(np.prod(shape))
    before = np.sqrt(numel) * 0.02
    delta = before * size
    row: dict[str, Any] = {
        "tensor": name, "component": component, "layer": layer, "module": module, "leaf": leaf,
        "pair": pair, "shape": "x".join(map(str, shape)), "numel": numel, "norm_before": before,
        "norm_after": before, "delta_norm": delta, "relative_delta": size,
        "cosine": np.cos(size), "angle": np.rad2deg(size),
        "changed": min(1.0, 40 * size), "changed_1e5": min(1.0, 25 * size),
        "changed_bf16": min(1.0, 10 * size), "rounding_norm": before * 1.6e-3,
        "rounding_ratio": size / 1.6e-3, "random_spectral_norm": np.nan, "resolved": np.nan,
        "spectral_shift": np.nan, "rotation_left_mean": np.nan, "rotation_right_mean": np.nan,
    }  # fmt: skip
    if spectrum == "none" or len(shape) != 2:
        return row
    m, n = min(shape), max(shape)
    row["random_spectral_norm"] = delta * (np.sqrt(m) + np.sqrt(n)) / np.sqrt(m * n)
    noise = rng.normal(size=(m, n))
    noise += 8 * rng.normal(size=(m, 2)) @ rng.normal(size=(2, n)) / np.sqrt(m)
    values = np.linalg.svd(noise, compute_uv=False)
    values *= delta / np.linalg.norm(values)
    values = values if spectrum == "full" else values[:8]
    spectra[f"{name}/{pair}/delta"] = values
    row["resolved"] = len(values) if size else 0
    row["spectral_shift"] = 0.4 * size
    row["rotation_left_mean"] = np.rad2deg(2 * size)
    row["rotation_right_mean"] = np.rad2deg(1.8 * size)
    return row


def _pool(rows: pd.DataFrame) -> dict[str, Any]:
    def share(column: str) -> float:
        return float((rows[column] * rows["numel"]).sum() / rows["numel"].sum())

    def norm(column: str) -> float:
        return float(np.sqrt((rows[column] ** 2).sum()))

    delta, before, alone = norm("delta_norm"), norm("norm_before"), norm("rounding_norm")
    return {
        "tensors": len(rows), "numel": int(rows["numel"].sum()), "norm_before": before,
        "delta_norm": delta, "relative_delta": delta / before, "cosine": np.cos(delta / before),
        "angle": np.rad2deg(delta / before), "rounding_norm": alone,
        "rounding_ratio": delta / alone, "changed": share("changed"),
        "changed_1e5": share("changed_1e5"), "changed_bf16": share("changed_bf16"),
        "mean_spectral_shift": rows["spectral_shift"].mean(),
        "mean_rotation_left": rows["rotation_left_mean"].mean(),
        "mean_rotation_right": rows["rotation_right_mean"].mean(),
    }  # fmt: skip


def _grouped(tensors: pd.DataFrame) -> pd.DataFrame:
    out = []
    for (component, layer, pair), rows in tensors.groupby(
        ["component", "layer", "pair"], dropna=False, sort=False
    ):
        place = {"component": component, "layer": layer, "pair": pair}
        out.append({**place, "group": "all", **_pool(rows)})
        for module, some in rows.groupby("module", sort=False):
            out.append({**place, "group": module, **_pool(some)})
    return pd.DataFrame(out)


def _regions(tensors: pd.DataFrame, cuts: Cuts) -> pd.DataFrame:
    out = []
    for pair, rows in tensors.groupby("pair", sort=False):
        out.append({"component": "all", "region": "all", "layers": "", "group": "all",
                    "pair": pair, **_pool(rows)})  # fmt: skip
        for component, some in rows.groupby("component", sort=False):
            ranges = {**cuts.get(str(component), {}), "all": None}
            for region, span in ranges.items():
                inside = some if span is None else some[some["layer"].between(*span, "left")]
                if inside.empty:
                    continue
                layers = "" if span is None else f"{span[0]}-{span[1] - 1}"
                out.append({"component": component, "region": region, "layers": layers,
                            "group": "all", "pair": pair, **_pool(inside)})  # fmt: skip
    return pd.DataFrame(out)


def _updates(
    rng: Any, layers: pd.DataFrame, first: str, second: str, spectrum: str
) -> pd.DataFrame:
    rows = layers[layers["pair"] == first]
    n = len(rows)
    out = rows[["component", "layer", "group", "tensors", "numel"]].assign(
        first=first,
        second=second,
        cosine=rng.normal(0.04, 0.02, n),
        sign_agreement=rng.normal(0.53, 0.01, n),
    )
    matrices = (out["group"] != "norm") & (out["component"] != "norm") & (spectrum != "none")
    for side in ("left", "right"):
        out[f"mean_subspace_overlap_{side}"] = np.where(matrices, rng.uniform(0.1, 0.4, n), np.nan)
        out[f"mean_subspace_chance_{side}"] = np.where(matrices, 0.08, np.nan)
    return out
