"""What the tests of the hub share: a client and a folder to publish."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi

from tests.hub.made import CARD
from tests.hub.merges import COPY, merged, packed, sleepless

if TYPE_CHECKING:
    from pathlib import Path

    from surgery.hub.package import Package
    from tests.hub import Hub


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited for the hub, without waiting."""
    return sleepless(monkeypatch)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Four shards, all of the shipped checkpoints, ready to be sent."""
    return packed(merged(tmp_path_factory.mktemp("publish") / "out", COPY))


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
