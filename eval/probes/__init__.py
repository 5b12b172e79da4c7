"""Probes put to a suite's questions: what is asked, kept, graded and made into tables."""
