"""What the tests of the hub share: a client and a folder to publish."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi

from tests.hub.made import CARD

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub import Hub


@pytest.fixture
def api(hub: Hub) -> HfApi:
    return HfApi()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A card, a config, two large files and a picture below."""
    made = tmp_path / "made"
    (made / "figures").mkdir(parents=True)
    (made / "README.md").write_text(CARD)
    (made / "config.json").write_text("{}")
    for seed, name in enumerate(("a.safetensors", "b.safetensors", "figures/one.png")):
        (made / name).write_bytes(random.Random(seed).randbytes(20_000 + seed))
    return made
