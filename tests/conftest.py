"""What every test shares: quiet libraries, one thread, a cache of its own, tiny real pairs."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import pytest

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def _quiet(tmp_path_factory: pytest.TempPathFactory) -> None:
    import torch
    from transformers.utils import logging

    os.environ["VLM_SURGERY_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    torch.set_num_threads(1)
    logging.disable_progress_bar()


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Path]]:
    """IN, RL and Base of a tiny real model of a family, three seeds, made once."""
    from tests.families import save_tiny

    @cache
    def make(family: str) -> dict[str, Path]:
        root = tmp_path_factory.mktemp(family)
        return {
            name: save_tiny(family, root / name, seed=seed)
            for seed, name in enumerate(("base", "in", "rl"))
        }

    return make
