"""Open up a vision-language model and see what reinforcement learning changed in it."""

__version__ = "0.1.0"
