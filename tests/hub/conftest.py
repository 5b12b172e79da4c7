"""Shared fixtures of the hub's tests: a client and a folder to publish."""

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
    """The durations of waits for the hub, without waiting."""
    return sleepless(monkeypatch)


@pytest.fixture(scope="session")
def merge_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Four shards, all of the shipped checkpoints, ready to be sent."""
    return packed(merged(tmp_path_factory.mktemp("publish") / "out", COPY))


@pytest.fixture
def api(hub: Hub) -> HfApi:
    return HfApi()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A card, a config, two large files and a picture below."""
    output = tmp_path / "made"
    (output / "figures").mkdir(parents=True)
    (output / "README.md").write_text(CARD)
    (output / "config.json").write_text("{}")
    for seed, name in enumerate(("a.safetensors", "b.safetensors", "figures/one.png")):
        (output / name).write_bytes(random.Random(seed).randbytes(20_000 + seed))
    return output
