"""Causal probes: a loaded model changed for the length of a `with` block, many changes at once."""

from __future__ import annotations

from surgery.probe.ablation import Ablation, Branch, Off
from surgery.probe.blocks import Blocks, Plain
from surgery.probe.decoder import Decoder
from surgery.probe.images import ImageTokens, seen_once
from surgery.probe.swap import Mode, Seen, VisionSwap, Watch

__all__ = [
    "Ablation", "Blocks", "Branch", "Decoder", "ImageTokens", "Mode", "Off", "Plain", "Seen",
    "VisionSwap", "Watch", "seen_once",
]  # fmt: skip
