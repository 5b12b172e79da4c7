"""Damaged inputs for every command: each gives one paragraph or a result."""
