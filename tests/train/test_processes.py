"""Two processes, as a launcher starts them: one result, written once."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TRAINING = """\
model: specimen:in
data: {suites: [specimen], tasks: {arithmetic: 1, read: 1}, samples: 16}
freeze: [vision, "language[mid]"]
steps: 2
batch: 8
lr: 1.0e-3
weight_decay: 0.1
checkpoint_every: 1
"""
REWARDS = "rewards: {random: 1}\ngroup: 4\nmax_new_tokens: 8\n"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_two_processes_train_one_model(tmp_path: Path, kind: str) -> None:
    text = TRAINING + (REWARDS if kind == "grpo" else "")
    (tmp_path / "train.yaml").write_text(text)
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
    ]
    done = subprocess.run(
        [*launcher, "-m", "surgery.cli.main", "train", kind, "train.yaml", "--out", "run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("frozen and unchanged, bit for bit") == 1
    with (tmp_path / "run" / "log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2"]
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
