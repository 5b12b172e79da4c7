"""Causal probes: temporary changes of a loaded model, many changes in one batch.

A block changes the model object itself, so no other thread may run that model meanwhile. Other
models in the process are not touched.
"""

from __future__ import annotations

from surgery.intervene.ablation import Ablation, Branch, Off
from surgery.intervene.blocks import Blocks, Intact
from surgery.intervene.decoder import Decoder
from surgery.intervene.images import ImageTokens, seen_once
from surgery.intervene.swap import ImageCache, Mode, VisionSwap, Watch

__all__ = [
    "Ablation",
    "Blocks",
    "Branch",
    "Decoder",
    "ImageCache",
    "ImageTokens",
    "Intact",
    "Mode",
    "Off",
    "VisionSwap",
    "Watch",
    "seen_once",
]  # fmt: skip
