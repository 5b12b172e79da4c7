"""Faults cost one paragraph, and leave nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.probing import ABLATION, ATTENTION, SWAP, bare, pair, refused

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Surgery = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ablation", "--suite", "specimen"), "MODEL"),
        (("ablation", "specimen:in"), "--suite: required: name a suite"),
        (("attention", "specimen:in"), "--suite: required: name a suite"),
        (("vision-swap", "specimen:in"), "Missing option '--pairs'"),
        (("ablation", "specimen:in", "--suite", "specimn"), "Did you mean 'specimen'?"),
        (("ablation", "specimen:im", "--suite", "specimen"), "Expected one of: base, in, rl"),
        (("attention", "specimen:in", "specimen:im", "--suite", "specimen"),
         "Expected one of: base, in, rl"),
        (("vision-swap", "specimen:im", "--pairs", "specimen"), "Expected one of: base, in, rl"),
        (("ablation", "nowhere", "--suite", "specimen"), "neither a folder that exists nor a Hub"),
        ((*ABLATION, "--layers", "20:30"), "language has 9 layers, 0..8"),
        ((*SWAP, "--pairs", "specimen", "--layers", "9"), "language has 9 layers, 0..8"),
        ((*ABLATION, "--layers", "midd"), "Did you mean 'mid'?"),
        ((*ABLATION, "--what", "head"), "'head' is not one of"),
        ((*ABLATION, "--score", "logprop"), "'logprop' is not one of"),
        ((*ABLATION, "--grader", "papr"), "Did you mean 'paper'?"),
        ((*ABLATION, "--style", "plane"), "Did you mean 'plain'?"),
        ((*ABLATION, "--device", "gpu"), "no device 'gpu'"),
        ((*SWAP, "--pairs", "specimen", "--dtype", "bf16"), "no dtype 'bf16'"),
        ((*SWAP, "--pairs", "nowhere"), "nowhere holds no pairs. Expected one folder per task"),
        ((*SWAP, "--pairs", "specimen", "--mode", "to"), "'to' is not one of"),
        ((*ATTENTION, "--suite", "specimen"), "a probe takes one suite"),
        (("attention", "own=specimen:rl", *ATTENTION[2:]), "'own' is a reserved name"),
        (("attention", "a - b=specimen:rl", *ATTENTION[2:]), "'a - b' is a reserved name"),
        ((*ATTENTION, "--text", "rl"), "no texts 'rl'. Expected one of: own, in"),
        ((*ATTENTION, "in=specimen:rl"), "two variants are called 'in'"),
        ((*ABLATION, "--model", "in"), "is not NAME=REF"),
    ],
)  # fmt: skip
def test_faults_cost_one_paragraph_and_leave_nothing(
    surgery: Surgery, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = surgery("probe", *arguments, "--out", "run")
    refused(done, message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [ABLATION, (*SWAP, "--pairs", "specimen"), ATTENTION])
def test_cuda_that_is_not_there(
    surgery: Surgery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = surgery("probe", *command, "--device", "cuda", "--out", "run")
    assert done.returncode == 2
    assert "no CUDA device" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (pair(meta=["red", "blue"]), "data.jsonl:1: 'meta' is not an object"),
        (pair(meta={}), "'meta' has nothing. Expected one of target_answer and source_answer"),
        (pair(meta={"target_answer": "red"}), "'meta' has target_answer. Expected one of"),
        (pair(meta={"target_bbox_xyxy": [1, 2], "source_bbox_xyxy": [1, 2, 3, 4]}),
         "[1, 2] is not a box. Expected [x1, y1, x2, y2]"),
        (pair(meta={"target_bbox_xyxy": [0, 0, 9, 9], "source_bbox_xyxy": [1, 2, 3, 4],
                    "iou_threshold": 50}), "iou_threshold is 50. Expected 0 to 1"),
        (pair(source_image=None), "expected one target_image and one source_image"),
        (pair(source_image="green.png"), "'green.png' cannot be read"),
        (pair(source_image="../../secret.png"), "points outside"),
        ({"id": "a", "prompt": "?"}, "has no column 'meta'"),
    ],
)  # fmt: skip
def test_a_pair_that_cannot_be_read_is_named_by_its_line(
    surgery: Surgery, pairs: Callable[..., Path], tmp_path: Path, row: dict, message: str
) -> None:
    pairs(row)
    done = surgery("probe", "vision-swap", "specimen:in", "--pairs", "pairs", "--out", "run")
    assert done.returncode == 2
    assert message in bare(done)
    assert "colour/data.jsonl:1" in bare(done)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_two_pairs_of_one_name(
    surgery: Surgery, pairs: Callable[..., Path], tmp_path: Path
) -> None:
    pairs(pair(), pair())
    done = surgery("probe", "vision-swap", "specimen:in", "--pairs", "pairs", "--out", "run")
    assert done.returncode == 2
    assert "task 'colour' has two pairs 'a'" in bare(done)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"task": "sums", "sample": "else", "text": "3"}\n',
            "no text for any of the samples",
        ),
        ('{"task": "sums", "sample": "12", "text": ""}\n', "no text for any of the samples"),
        ('{"task": "sums", "text": "3"}\n', "said.jsonl:1 has no column 'sample'"),
        ("3\n", "said.jsonl:1 is not a JSON object"),
        ("{\n", "said.jsonl:1 is not JSON"),
        ("", "no text for any of the samples"),
    ],
)
def test_texts_that_cannot_be_used(
    surgery: Surgery, sums: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "said.jsonl").write_text(text)
    done = surgery("probe", "attention", "specimen:in", "--suite", "mine.yaml", "--text",
                   "said.jsonl", "--out", "run")  # fmt: skip
    assert done.returncode == 2
    assert message in bare(done)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_way_of_the_folder(surgery: Surgery, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    done = surgery("probe", *ABLATION, "--out", "run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run").read_text() == "mine"
