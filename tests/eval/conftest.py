"""An untrained model of the specimen's make: it says nonsense, but through the real code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with tokenizer, template and image processor."""
    from tests.specimen.training import build

    folder = tmp_path_factory.mktemp("untrained")
    tokenizer = build.build_tokenizer()
    build.save(build.build_model(tokenizer, seed=0), tokenizer, folder)
    return folder
