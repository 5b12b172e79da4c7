"""Training with parts of a model held still: supervised, and by reinforcement."""
