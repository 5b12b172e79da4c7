"""Publishing with scores: merges, and the variants of a sweep."""

from eval.publishing.model import publish_model
from eval.publishing.sweep import publish_sweep

__all__ = ["publish_model", "publish_sweep"]
