from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd
import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Surgery = Callable[..., subprocess.CompletedProcess[str]]

SPECIMEN = ["--base=specimen:base", "--in=specimen:in", "--rl=specimen:rl"]
FILES = {
    "tensors.csv", "layers.csv", "regions.csv", "updates.csv", "update_layers.csv",
    "update_regions.csv", "spectra.npz", "run.json",
}  # fmt: skip
FIGURES = {"profile", "modules", "spectra", "sparsity", "subspaces", "drift"}


def test_the_specimen(surgery: Surgery, tmp_path: Path) -> None:
    done = surgery("stats", *SPECIMEN, "--out", "found", "--top", 8, "--svg")
    assert done.returncode == 0, done.stderr
    assert "language  early   0" in done.stdout
    assert "whole model" in done.stdout
    assert "tables, figures and run.json are in found" in done.stdout
    assert "base..in, in..rl, base..rl; 164 tensors" in done.stderr
    output = {path.name for path in (tmp_path / "found").iterdir()}
    pictures = {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    assert output - {".parts", ".lock"} == FILES | pictures
    tensors = pd.read_csv(tmp_path / "found" / "tensors.csv")
    assert len(tensors) == 3 * 164
    frozen = tensors[(tensors.component == "vision") & (tensors.pair == "in..rl")]
    assert (frozen.delta_norm == 0).all()


def test_json_is_json_and_says_what_was_found(surgery: Surgery, tmp_path: Path) -> None:
    done = surgery("stats", *SPECIMEN[1:], "--out", "x", "--spectrum", "none", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert record["pairs"] == ["in..rl"]
    assert record["totals"]["in..rl"]["all"]["changed"] == pytest.approx(0.722, abs=0.01)
    assert "updates.csv" not in record["files"]
    written = json.loads((tmp_path / "x" / "run.json").read_text())
    assert written["models"]["rl"]["family"] == "qwen2_5_vl"
    assert written["regions"]["language"] == {"early": [0, 3], "mid": [3, 6], "late": [6, 9]}
    assert set(written["versions"]) >= {"vlm-surgery", "torch", "numpy", "numba"}


def test_other_names_pairs_cuts_and_parts(surgery: Surgery, tmp_path: Path) -> None:
    done = surgery(
        "stats", "--model", "sft=specimen:in", "--model", "grpo=specimen:rl", "--pair",
        "grpo..sft", "--select", "language[early].mlp", "--cuts", "vision=1,3", "--cuts", "2,5",
        "--spectrum", "none", "--quiet", "--out", "x",
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    tensors = pd.read_csv(tmp_path / "x" / "tensors.csv")
    assert set(tensors.pair) == {"grpo..sft"}
    assert set(tensors.layer) == {0, 1}
    assert set(tensors.module) == {"mlp"}
    regions = json.loads((tmp_path / "x" / "run.json").read_text())["regions"]
    assert regions == {"language": {"early": [0, 2], "mid": [2, 5], "late": [5, 9]}}
    table = pd.read_csv(tmp_path / "x" / "regions.csv").query("component == 'language'")
    assert set(table.region) == {"early", "all"}
    assert set(table.layers) == {"0-1"}


def test_a_second_run_reads_nothing_again(surgery: Surgery, tmp_path: Path) -> None:
    surgery("stats", *SPECIMEN, "--out", "x", "--spectrum", "none", "-q")
    before = (tmp_path / "x" / "tensors.csv").read_bytes()
    done = surgery("stats", *SPECIMEN, "--out", "x", "--spectrum", "none")
    assert "164 of them measured earlier" in done.stderr
    assert (tmp_path / "x" / "tensors.csv").read_bytes() == before
    # Two models have no second update, and no table of one from an earlier run.
    surgery("stats", *SPECIMEN[1:], "--out", "x", "--spectrum", "none", "-q")
    assert not (tmp_path / "x" / "updates.csv").exists()
    assert not (tmp_path / "x" / "subspaces.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rl=specimen:rl"], "two or three checkpoints can be compared, found 1: rl"),
        ([*SPECIMEN, "--model=x=specimen:in"], "found 4: base, in, rl, x"),
        ([*SPECIMEN, "--pair=in-rl"], "pair 'in-rl' is not BEFORE..AFTER"),
        ([*SPECIMEN, "--select=langauge"], "Did you mean 'language'?"),
        ([*SPECIMEN, "--cuts=5,2"], "cuts [5, 2] do not cut 9 layers into three regions"),
        ([*SPECIMEN, "--cuts=visoin=1,2"], "Did you mean 'vision'?"),
        ([*SPECIMEN, "--cuts=4"], "'4' is not A,B"),
        ([*SPECIMEN, "--device=tpu"], "device 'tpu' cannot be used here"),
        ([*SPECIMEN, "--in=nowhere"], "neither a folder that exists nor a Hub id"),
    ],
)
def test_mistakes_cost_a_paragraph_and_nothing_else(
    surgery: Surgery, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = surgery("stats", *arguments, "--out", "x")
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_figure_that_cannot_be_written_is_told(surgery: Surgery, tmp_path: Path) -> None:
    surgery("stats", *SPECIMEN, "--out", "x", "--spectrum", "none", "-q")
    (tmp_path / "x" / "profile.png").unlink()
    (tmp_path / "x" / "profile.png").mkdir()
    done = surgery("stats", *SPECIMEN, "--out", "x", "--spectrum", "none")
    assert done.returncode == 2
    assert "profile.png: cannot be written" in done.stderr
    assert not list((tmp_path / "x").glob(".*.tmp"))


def test_a_folder_of_ones_own_is_left_alone(surgery: Surgery, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "updates.csv").write_text("mine")
    done = surgery("stats", *SPECIMEN[1:], "--out", "x", "--spectrum", "none")
    assert done.returncode == 2
    assert "holds no run of 'surgery stats'" in done.stderr
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["updates.csv"]


def test_a_file_in_the_way_of_the_folder(surgery: Surgery, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    done = surgery("stats", *SPECIMEN, "--out", "x", "--spectrum", "none")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert (tmp_path / "x").read_text() == "mine"
