"""Figures of probes: the effect of each layer, along depth."""
