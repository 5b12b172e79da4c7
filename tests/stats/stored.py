"""Checkpoints of hand-made tensors, and a slow, obvious float64 version of every sum."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import save_file

from surgery.checkpoint.local import LocalCheckpoint
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

ROOT = Path(__file__).parents[2]


def save(folder: Path, tensors: Mapping[str, torch.Tensor]) -> LocalCheckpoint:
    """A checkpoint folder with these tensors, opened."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    return LocalCheckpoint(folder)


def numbers(tensor: torch.Tensor) -> np.ndarray:
    """Flat, in float64."""
    return tensor.detach().reshape(-1).double().numpy()


def bf16_spacing(value: float) -> float:
    """Distance from `value` to the next bf16 away from zero; 0 at 0."""
    if value == 0:
        return 0.0
    power = max(math.floor(math.log2(abs(value))), -126)
    if abs(value) >= 2.0 ** (power + 1):
        power += 1  # log2 rounds up just below a power of two
    if power > -126 and abs(value) < 2.0**power:
        power -= 1
    return 2.0 ** (power - 7)


def pair_metrics(before: torch.Tensor, after: torch.Tensor) -> dict[str, float]:
    """Every measure of a pair by its definition; finite, not all zero, not empty."""
    x, y = numbers(before), numbers(after)
    d = y - x
    norm = np.linalg.norm
    # Half the chord between the unit vectors is the sine of half the angle.
    chord = norm(x / norm(x) - y / norm(y))
    spacings = [bf16_spacing(float(v)) ** 2 for v in y]
    rounding = math.sqrt(math.fsum(spacings) / 12)
    return {
        "norm_before": norm(x),
        "norm_after": norm(y),
        "delta_norm": norm(d),
        "relative_delta": norm(d) / norm(x),
        "cosine": float(x @ y) / norm(x) / norm(y),
        "angle": math.degrees(2 * math.asin(chord / 2)),
        "random_angle": math.degrees(math.atan(norm(d) / norm(x))),
        "max_abs_delta": np.abs(d).max(),
        "mean_delta": d.mean(),
        "std_delta": d.std(),
        "changed": (x != y).mean(),
        "changed_1e5": (np.abs(d) > 1e-5).mean(),
        "changed_bf16": (np.abs(d) > 1e-3 * np.maximum(np.abs(x), np.abs(y))).mean(),
        "rounding_norm": rounding,
        "rounding_ratio": norm(d) / rounding,
        "nonfinite_before": 0,
        "nonfinite_after": 0,
    }


def update_metrics(
    first: np.ndarray, second: np.ndarray, shared: np.ndarray, sign: int = -1
) -> dict[str, float]:
    """Every measure of two deltas by its definition, in float64."""
    item, two = first != 0, second != 0
    both = item & two
    share = float(both.mean())
    rounding = sign * math.fsum(bf16_spacing(float(v)) ** 2 for v in shared) / 12
    independent = item.mean() * two.mean()
    return {
        "cosine": float(first @ second) / np.linalg.norm(first) / np.linalg.norm(second),
        "sign_agreement": float((np.sign(first) == np.sign(second))[both].mean()),
        "changed_first": float(item.mean()),
        "changed_second": float(two.mean()),
        "changed_both": share,
        "overlap": float(both.sum() / (item | two).sum()),
        "overlap_chance": float(independent / (item.mean() + two.mean() - independent)),
        "overlap_ratio": float(share / independent),
        "cosine_chance": 1 / math.sqrt(first.size),
        "cosine_rounding": rounding / np.linalg.norm(first) / np.linalg.norm(second),
    }


def run_python(code, *arguments, **environment):
    """Run Python source in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip
