"""Seeded sampling that does not depend on the rest of a batch.

Adding Gumbel noise to log-probabilities and taking the largest draws from their distribution
(Gumbel 1954; Maddison et al. 2014, arXiv 1411.0030, section 2). Every row has a generator of its
own, seeded by its question, so a row says the same alone and in company.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, TopPLogitsWarper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.generation import Generation


class _Gumbel(LogitsProcessor):  # type: ignore[misc, unused-ignore]
    """Scores that are largest at a token drawn from their softmax."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        noise = torch.stack(
            [
                torch.empty(scores.shape[-1]).exponential_(generator=generator)
                for generator in self._generators
            ]
        )
        # -log of an exponential variate is Gumbel distributed.
        return scores.float() - noise.clamp_min(1e-20).log().to(scores.device)


class _Cooled(LogitsProcessor):  # type: ignore[misc, unused-ignore]
    def __init__(self, temperature: float) -> None:
        self._temperature = temperature

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        return scores.float() / self._temperature


def seeded(keys: Sequence[str], generation: Generation) -> LogitsProcessorList:
    """Return a logits processor that makes greedy decoding sample.

    Args:
        keys: One per row; rows with equal keys draw equal noise.
        generation: Temperature, nucleus and seed.
    """
    steps: list[Any] = [_Cooled(generation.temperature)]
    if generation.top_p < 1:
        steps.append(TopPLogitsWarper(generation.top_p))
    seeds = [_seed(key, generation.seed) for key in keys]
    return LogitsProcessorList([*steps, _Gumbel(seeds)])


def _seed(key: str, seed: int) -> int:
    return int.from_bytes(sha256(f"{seed}\0{key}".encode()).digest()[:7], "big")
