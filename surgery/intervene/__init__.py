"""Causal probes: a loaded model changed for the length of a `with` block, many changes at once.

A block changes the model object itself, so no other thread may run that model meanwhile. Other
models in the process are not touched.
"""

from __future__ import annotations

from surgery.intervene.ablation import Ablation, Branch, Off
from surgery.intervene.blocks import Blocks, Intact
from surgery.intervene.decoder import Decoder
from surgery.intervene.images import ImageTokens, seen_once
from surgery.intervene.swap import Mode, Seen, VisionSwap, Watch

__all__ = [
    "Ablation",
    "Blocks",
    "Branch",
    "Decoder",
    "ImageTokens",
    "Intact",
    "Mode",
    "Off",
    "Seen",
    "VisionSwap",
    "Watch",
    "seen_once",
]  # fmt: skip
