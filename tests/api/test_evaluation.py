"""The harness from Python: in one process, without a guard for the main module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import surgery
from eval import compare, evaluate, load_suite, run_probe, run_sweep
from eval.suites.table import Choice
from surgery.errors import SurgeryError
from surgery.runs import RunKind

if TYPE_CHECKING:
    from pathlib import Path


def test_references_recipes_and_plans_are_variants_and_come_back(tmp_path: Path) -> None:
    recipe = surgery.load_recipe("specimen/in-rl-in")
    models = ["specimen:in", "specimen:rl", recipe, surgery.make_plan("specimen/rl-in-in")]
    scores = evaluate(
        models, suite="specimen", samples=2, against="specimen:in", out=tmp_path / "run"
    )
    assert scores.kind is RunKind.EVALUATION
    names = ["in", "rl", "specimen/in-rl-in", "specimen/rl-in-in"]
    assert scores.df["variant"].unique().tolist() == names
    assert set(scores.pairs["against"]) == {"in"}
    assert scores.plot() is not None and (tmp_path / "run" / "scores.png").is_file()
    read = surgery.load_run(tmp_path / "run")
    assert read.scores["value"].tolist() == pytest.approx(scores.df["value"].tolist(), nan_ok=True)
    again = compare(tmp_path / "run", against="rl")
    assert set(again.pairs["against"]) == {"rl"}


def test_names_of_a_mapping_and_a_suite_of_ones_own(tmp_path: Path) -> None:
    suite = load_suite("specimen", Choice(1, 7))
    scores = evaluate({"before": "specimen:in"}, suite)
    assert scores.df["variant"].unique().tolist() == ["before"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": "rll"}, "against: there is no 'rll'"),
        ({"grader": "papr"}, "Did you mean 'paper'"),
        ({"suite": "specimn"}, "Did you mean 'specimen'"),
        ({"judge": "me"}, "'me' is not MODEL@URL"),
        ({"device": "gpu"}, "there is no device 'gpu'"),
    ],
)
def test_a_wrong_argument_is_one_sentence(options: dict[str, str], message: str) -> None:
    with pytest.raises(SurgeryError, match=message):
        evaluate(["specimen:in", "specimen:rl"], **{"suite": "specimen", "samples": 1, **options})


def test_a_probe_of_each_kind(tmp_path: Path) -> None:
    ablation = run_probe(
        "ablation", "specimen:in", suite="specimen", samples=1, layers="0", out=tmp_path / "a"
    )
    assert set(ablation.layers["layer"].dropna()) == {0}
    assert surgery.load_run(tmp_path / "a").kind is RunKind.ABLATION
    swap = run_probe("vision-swap", "specimen:rl", pairs="specimen", samples=1, layers="7")
    assert {"source", "target"} <= set(swap.layers["metric"])
    attention = run_probe("attention", ["specimen:in", "specimen:rl"], suite="specimen", samples=1)
    assert "rl - in" in set(attention.layers["model"]) and len(attention.heads)


@pytest.mark.parametrize(
    ("probe", "models", "options", "message"),
    [
        ("ablate", "specimen:in", {}, "there is no 'ablate'"),
        ("ablation", "specimen:in", {}, "ablation needs a suite"),
        ("vision-swap", "specimen:in", {}, "vision-swap needs pairs"),
        ("ablation", ["specimen:in", "specimen:rl"], {"suite": "specimen"}, "takes one model"),
    ],
)
def test_a_wrong_probe_is_one_sentence(
    probe: str, models: object, options: dict[str, str], message: str
) -> None:
    with pytest.raises(SurgeryError, match=message):
        run_probe(probe, models, **options)


def test_a_sweep_from_its_yaml(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "models: {in: specimen:in, rl: specimen:rl}\nbase: in\ndonor: rl\n"
        "suites: [specimen]\nsamples: 1\nvariants: {grid: {regions: [early]}}\n"
    )
    scores = run_sweep(tmp_path / "sweep.yaml")
    assert scores.recovery["variant"].nunique() == 1
