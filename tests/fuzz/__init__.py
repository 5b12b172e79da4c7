"""Damaged inputs for every command: whatever is read, one paragraph or a result comes out."""
