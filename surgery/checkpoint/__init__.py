"""Checkpoints: headers and byte ranges in; shards, index and ledger out."""
