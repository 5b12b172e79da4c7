"""Training configurations: refusals, their positions and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from surgery.arch.site import Component
from surgery.errors import RecipeError
from surgery.train.load import load_grpo, load_sft

if TYPE_CHECKING:
    from pathlib import Path

    from surgery.train.load import Config

SFT = """\
model: specimen:in
data:
  suites: [specimen]
  samples: 8
freeze: [vision, "language[mid]"]
steps: 2
batch: 4
lr: 1.0e-4
"""
GRPO = SFT + "rewards: {exact: 1}\ngroup: 2\n"


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def run(text: str, **changes: Any) -> Config[Any]:
        path = tmp_path / "train.yaml"
        path.write_text(text)
        return (load_grpo if "rewards" in text else load_sft)(path, changes)

    return run


def test_a_whole_one(read: Any) -> None:
    config = read(GRPO + "regions: {cuts: [2, 5]}\n")
    assert [str(s) for s in config.selectors] == ["vision", "language[mid]"]
    assert not config.inverse
    assert config.cuts == {Component.LANGUAGE: (2, 5)}
    assert config.model.temperature == 1.0


def test_train_names_what_learns(read: Any) -> None:
    config = read(SFT.replace("freeze", "train"))
    assert config.inverse and len(config.selectors) == 2


def test_the_command_line_has_the_last_word(read: Any) -> None:
    config = read(SFT.replace("freeze", "train"), freeze=["language[late]"], seed=7, model="x/y")
    assert [str(s) for s in config.selectors] == ["language[late]"]
    assert not config.inverse and config.model.train is None
    assert (config.model.seed, config.model.model) == (7, "x/y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SFT.replace("lr:", "learning_rate:"), r":8:1: unknown key 'learning_rate' in the train"),
        (SFT.replace("steps: 2", "steps: 0"), r":6:8: steps: expected 1 or more, found 0"),
        (SFT.replace("batch: 4", "batch: four"), r":7:8: batch: expected a whole number"),
        (SFT.replace("lr: 1.0e-4\n", ""), r"the training needs 'lr'"),
        (SFT.replace("mid", "middle"), r":5:\d+: .*'middle'"),
        (SFT.replace("vision,", "vison,"), r"unknown component 'vison'. Did you mean 'vision'\?"),
        (SFT + "train: language\n", r"set freeze .* or train .*, not both"),
        (SFT + "micro_batch: 3\n", r":9:1: .*micro_batch 3 does not divide batch 4"),
        (SFT + "rewards: {exact: 1}\ngroup: 3\n", r":7:1: .*group 3 must divide it; found 4"),
        (SFT + "log_to: [wandbb]\n", r"unknown value 'wandbb'. Did you mean 'wandb'\?"),
        (SFT.replace("suites: [specimen]", "suites: []"), r"suites: expected at least one entry"),
        (SFT.replace("  samples", "  sample"), r"unknown key 'sample' in data. Did you mean"),
        ("- 1\n", r"the training: expected a mapping"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(read: Any, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        read(text)
    assert "train.yaml:" in str(caught.value)


def test_a_supervised_configuration_knows_no_rewards(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(GRPO)
    with pytest.raises(RecipeError, match="unknown key 'rewards'"):
        load_sft(tmp_path / "train.yaml")
