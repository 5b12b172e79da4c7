"""Variants times suites: their selection, resumable evaluation, and tables."""
