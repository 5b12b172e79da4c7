"""Names of the tables' columns. They are an interface: add at the end, never rename."""

from __future__ import annotations

from typing import Final

_MOMENTS = (
    "norm_before", "norm_after", "delta_norm", "relative_delta", "cosine", "angle", "random_angle",
    "max_abs_delta", "mean_delta", "std_delta", "changed", "changed_1e5", "changed_bf16",
    "rounding_norm", "rounding_ratio",
)  # fmt: skip
_SPECTRUM = (
    "spectral_norm", "nuclear_norm", "stable_rank", "effective_rank", "condition_number",
    "log_volume", "top_energy",
)  # fmt: skip

TENSORS: Final = (
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

LAYERS: Final = ("component", "layer", *_POOLED)
"""`layers.csv`: one row per component, layer, group of modules and pair."""

REGIONS: Final = ("component", "region", "layers", *_POOLED)
"""`regions.csv`: the same for early, mid and late, whole components, and the whole model."""

_OVERLAP = (
    "cosine", "sign_agreement", "changed_first", "changed_second", "changed_both",
    "overlap", "overlap_chance", "overlap_ratio", "cosine_chance", "cosine_rounding",
)  # fmt: skip
_SUBSPACES = (
    "subspace_overlap_left", "subspace_overlap_right",
    "subspace_chance_left", "subspace_chance_right",
)  # fmt: skip

UPDATES: Final = (
    "tensor", "component", "layer", "module", "leaf", "first", "second", "numel",
    *_OVERLAP, "subspace_rank", *_SUBSPACES,
)  # fmt: skip
"""`updates.csv`: two updates compared, one row per tensor."""

_POOLED_UPDATES = (
    "group", "first", "second", "tensors", "numel", *_OVERLAP,
    *(f"mean_{name}" for name in _SUBSPACES),
)  # fmt: skip

UPDATE_LAYERS: Final = ("component", "layer", *_POOLED_UPDATES)
"""`update_layers.csv`: the same per component, layer and group of modules."""

UPDATE_REGIONS: Final = ("component", "region", "layers", *_POOLED_UPDATES)
"""`update_regions.csv`: the same for regions, components and the whole model."""
