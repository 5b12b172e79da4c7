"""Shared by all tests: quiet libraries, one thread, a private cache, tiny real pairs."""

from __future__ import annotations

import os
import signal
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# A slow machine is no defect; and where a failure stops others, examples are the same every time.
settings.register_profile("patient", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("patient")

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# Children of a run in the background (`nohup ... &`) would ignore the signals that it ignores.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.hub import Hub


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


def _for_processes(tmp_path: Path, address: str) -> dict[str, str]:
    """Environment that directs a process's client to the hub, before it imports it."""
    return {
        "HF_ENDPOINT": address,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_ASSETS_CACHE": str(tmp_path / "assets"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
    }


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A model hub on loopback, empty, with the real client set to it and a token in the air."""
    from huggingface_hub import close_session, constants, hf_api

    from tests.hub import TOKEN, Hub, serve

    hub = Hub()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    with serve(hub) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        for name, value in _for_processes(tmp_path, address).items():
            monkeypatch.setenv(name, value)
        # The functions of the package are methods of one object that was made at its import.
        monkeypatch.setattr(hf_api.api, "endpoint", address)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield hub
        close_session()
    assert hub.crashes == []
