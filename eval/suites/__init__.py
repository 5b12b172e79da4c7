"""Benchmarks: one file each, rows to samples."""
