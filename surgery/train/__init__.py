"""Training with frozen parts of a model: SFT and GRPO."""
