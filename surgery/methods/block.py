"""The size in which tensors stream."""

BLOCK = 1 << 18
"""Elements in a block: small enough that it and its float32 copies stay in a core's cache."""
