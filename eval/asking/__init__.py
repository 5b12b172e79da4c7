"""The loop that asks models questions, with its sessions, stores and processes."""
