"""Merges at the same time in one process: the same bytes, and torch's threads as they were."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch

from tests.execute.merging import merge, recipe_text
from tests.families import save_tiny

if TYPE_CHECKING:
    from pathlib import Path

STEPS = "  - merge: language\n    method: karcher\n    models: [in, rl, base]"


def test_merges_at_the_same_time_give_what_each_gives_alone(tmp_path: Path) -> None:
    models = {
        name: save_tiny("llama", tmp_path / name, seed=i, hidden_size=256, intermediate_size=1024)
        for i, name in enumerate(("in", "rl", "base"))
    }
    text = recipe_text(models, STEPS)

    def merged(name: str) -> tuple[str, int]:
        merge(text, tmp_path / name, workers=2)
        return name, torch.get_num_threads()

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        merged("alone")
        with ThreadPoolExecutor(2) as pool:
            together = list(pool.map(merged, "abcd"))
        assert [threads for _, threads in together] == [3] * 4
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    alone = (tmp_path / "alone" / "model.safetensors").read_bytes()
    for name, _ in together:
        assert (tmp_path / name / "model.safetensors").read_bytes() == alone
