"""Ways to get answers out of a model."""
