"""Probes on a suite's questions: asking, storing, grading, tables."""
