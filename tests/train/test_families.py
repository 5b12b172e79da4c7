"""Families other than the specimen's: trained through TRL with a frozen region."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from surgery.arch import resolve
from surgery.arch.site import Component
from surgery.checkpoint.open import open_checkpoint
from surgery.train.example import Example, SampledResponse
from surgery.train.load import load_grpo, load_sft
from surgery.train.run import train_grpo, train_sft
from tests.eval.samples import picture
from tests.processors import save_whole

if TYPE_CHECKING:
    from pathlib import Path

TRAINING = """\
model: {start}
data: {{suites: [specimen], samples: 4}}
freeze: [vision, "language[late]"]
steps: 1
batch: 4
lr: 1.0e-2
weight_decay: 0.5
"""
REWARDS = "rewards: {chance: 1}\ngroup: 2\nmax_new_tokens: 6\n"


def examples() -> list[Example]:
    """Two with an image, of different sizes, and two without."""
    results = []
    for number, size in enumerate([(28, 28), (56, 28), None, None]):
        text = {"type": "text", "text": "tell " * (number + 1)}
        image = [] if size is None else [{"type": "image", "text": None}]
        turn = {"role": "user", "content": [*image, text]}
        files = () if size is None else (picture("red", size).data,)
        results.append(Example(f"q{number}", (turn,), files, "it is red"))
    return results


def moved_components(start: Path, end: Path) -> set[tuple[Component, int | None]]:
    """Components and layers of which a tensor in the files differs; names are the same."""
    with open_checkpoint(str(start)) as checkpoint:
        sites = resolve(checkpoint.info.config, checkpoint.info.tensors).sites
    before, after = (load_file(folder / "model.safetensors") for folder in (start, end))
    assert before.keys() == after.keys()
    return {
        (sites[name].component, sites[name].layer)
        for name in before
        if not torch.equal(before[name], after[name])
    }


@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen2_vl", "qwen3_vl", "gemma3"])
@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_a_region_stands_still_and_the_rest_learns(kind: str, family: str, tmp_path: Path) -> None:
    start = save_whole(family, tmp_path / "start")
    path = tmp_path / "train.yaml"
    if kind == "sft":
        path.write_text(TRAINING.format(start=start))
        trained = train_sft(load_sft(path), examples(), tmp_path / "run")
    else:
        path.write_text(TRAINING.format(start=start) + REWARDS)

        def chance(sampled_response: SampledResponse) -> float:
            return sampled_response.chance

        trained = train_grpo(load_grpo(path), examples(), {"chance": chance}, tmp_path / "run")
    moved = moved_components(start, trained.folder)
    layers = {layer for component, layer in moved if component is Component.LANGUAGE}
    assert layers == {0, 1}  # of four; the last third of them is two
    assert (Component.PROJECTOR, None) in moved
    assert all(component is not Component.VISION for component, _ in moved)
