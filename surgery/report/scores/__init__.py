"""Figures of scores: variants by metric, recovery, single layers."""
