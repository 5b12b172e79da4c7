"""Plans and results as notebooks see them: bounded text, escaped HTML, tables and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import surgery
from surgery import specimen
from surgery.api.results import RunResult
from surgery.errors import ExecutionError, PlanError, SurgeryError
from surgery.report.export import MAX_LINES
from surgery.report.figures import FIGURES, _function
from surgery.runs import RunKind, RunTables
from surgery.specimen import path
from tests.specimen.training import build

MODELS = {"in": "specimen:in", "rl": "specimen:rl"}
HOSTILE = "<script>alert(1)</script>\x1b[31m"


@pytest.fixture(scope="module")
def stats() -> RunResult:
    return surgery.weight_stats(MODELS, spectrum="none")


def deep_models(folder: Path, layers: int) -> dict[str, str]:
    """Two models of the specimen's kind with many decoder layers."""
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    result = {}
    for seed, name in enumerate(("in", "rl")):
        torch.manual_seed(seed)
        config = AutoConfig.from_pretrained(path("in"))
        config.text_config.num_hidden_layers = layers
        config.text_config.layer_types = ["full_attention"] * layers
        model = Qwen2_5_VLForConditionalGeneration(config)
        model.save_pretrained(folder / name)
        result[name] = str(folder / name)
    return result


STEPS = "".join(
    f"""
  - transplant: language[{first}:{first + 3}].{module}
    from: rl"""
    for first, module in (
        (0, "attention"),
        (5, "mlp"),
        (20, "norm"),
        (33, "attention"),
        (60, "mlp"),
    )
)


def test_a_deep_plan_with_several_steps_fits_a_screen(tmp_path: Path) -> None:
    models = deep_models(tmp_path, 72)
    text = f"models: {{in: {models['in']}, rl: {models['rl']}}}\nbase: in\nsteps:{STEPS}\n"
    (tmp_path / "deep.yaml").write_text(text)
    plan = surgery.make_plan(tmp_path / "deep.yaml")
    lines = repr(plan).split("\n")
    assert 5 < len(lines) < 60 and max(map(len, lines)) <= 100
    assert "language" in repr(plan) and "R" in repr(plan)
    assert plan._repr_html_().startswith("<pre")
    assert set(plan.df[plan.df["source"] == "rl"]["step"]) == {1, 2, 3, 4, 5}


def test_names_of_others_are_escaped(tmp_path: Path) -> None:
    table = pd.DataFrame({"variant": [HOSTILE], "value": [1.0]})
    run = RunResult(RunKind.EVALUATION, {"variants": [{"name": HOSTILE}]}, {"scores": table})
    assert "<script>" not in run._repr_html_()
    assert "\x1b" not in repr(run)


def test_a_result_of_any_size_fits_a_screen() -> None:
    wide = pd.DataFrame(np.zeros((5000, 300)), columns=[f"column {n}" for n in range(300)])
    tables = {"layers": wide, **{f"table {n}": wide for n in range(80)}}
    run = RunResult(RunKind.STATISTICS, {"models": [f"m{n}" for n in range(900)]}, tables)
    assert len(repr(run).split("\n")) <= MAX_LINES < 60
    assert len(run._repr_html_()) < 20_000


def test_a_plan_is_merged_twice_and_verified(tmp_path: Path) -> None:
    plan = surgery.make_plan("specimen/in-rl-in")
    item, two = plan.merge(tmp_path / "deep" / "one"), plan.merge(tmp_path / "two")
    assert item.verify().ok and surgery.verify(two.path, inputs=False).ok
    weights = [(entry.path / "model.safetensors").read_bytes() for entry in (item, two)]
    assert weights[0] == weights[1]
    (tmp_path / "two" / "config.json").write_text("{}")
    with pytest.raises(ExecutionError, match=r"two failed verification: config\.json"):
        two.verify()


def test_a_plan_refuses_models_that_changed_since(tmp_path: Path) -> None:
    import shutil

    models = {name: str(tmp_path / name) for name in MODELS}
    for name, folder in models.items():
        shutil.copytree(path(name), folder)
    plan = surgery.make_plan("specimen/in-rl-in", models)
    tensors = build.load(Path(models["rl"]))[0].half()
    tensors.save_pretrained(models["rl"])
    with pytest.raises(PlanError, match="changed since the plan was made"):
        plan.merge(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_plan_is_put_into_a_loaded_model_and_taken_out(tmp_path: Path) -> None:
    model, _ = build.load(path("in"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    merged, _ = build.load(surgery.merge("specimen/in-rl-in", tmp_path / "merged").path)
    with surgery.make_plan("specimen/in-rl-in").applied_to(model) as changed:
        assert changed is model
        for name, value in merged.state_dict().items():
            assert torch.equal(model.state_dict()[name], value), name
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


def test_models_that_a_recipe_has_not_are_refused() -> None:
    recipe = surgery.load_recipe("specimen/in-rl-in")
    with pytest.raises(PlanError, match="has no model 'rll'"):
        surgery.make_plan(recipe, {"rll": "specimen:rl"})


def test_tables_are_attributes_and_completed(stats: RunResult) -> None:
    assert stats.df is stats.layers is stats.table("layers")
    assert {"layers", "tensors", "regions"} <= set(dir(stats))
    with pytest.raises(AttributeError, match=r"no table 'layer'\. Did you mean 'layers'"):
        stats.layer  # noqa: B018
    assert not stats.layers.query("component == 'language'").empty


def test_figures_are_drawn_by_name_and_shown_by_notebooks(stats: RunResult) -> None:
    figure: Any = stats.plot("profile")
    assert figure._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(SurgeryError, match=r"no figure 'profil'\. Did you mean 'profile'"):
        stats.plot("profil")
    with pytest.raises(SurgeryError, match="has nothing that the figure 'spectra' shows"):
        stats.plot("spectra")


def test_every_figure_of_the_registry_is_a_function() -> None:
    homes = [home for names in FIGURES.values() for home in names.values()]
    assert len(homes) > 10 and all(callable(_function(home)) for home in homes)


def test_saved_results_are_whole_and_nothing_else_is_touched(
    stats: RunResult, tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    names = {file.name for file in stats.save(folder)}
    assert {"layers.csv", "tensors.csv", "run.json", "profile.png"} <= names
    assert len(pd.read_csv(folder / "layers.csv")) == len(stats.layers)
    read = surgery.load_run(folder)
    assert read.summary["pairs"] == ["in..rl"]
    pd.testing.assert_frame_equal(read.layers, stats.layers, check_dtype=False)
    stats.save(folder)
    with pytest.raises(ExecutionError, match="holds no run of 'surgery stats'"):
        stats.save(surgery.merge("specimen/in-rl-in", tmp_path / "model").path)


def test_a_statistics_run_is_read_back(tmp_path: Path) -> None:
    written = surgery.weight_stats(MODELS, top=2, out=tmp_path / "run")
    read = surgery.load_run(tmp_path / "run")
    assert read.kind is RunKind.STATISTICS
    assert written.summary.items() <= read.summary.items()
    with pytest.raises(ExecutionError, match="with its inputs"):
        read.save(tmp_path / "run")
    for name, table in written.tables.items():
        if len(table):
            pd.testing.assert_frame_equal(read.table(name), table, check_dtype=False)
    assert read.arrays.keys() == written.arrays.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spectrum": "al"}, "spectrum: there is no 'al'"),
        ({"cuts": {"langage": (3, 6)}}, "Did you mean 'language'"),
        ({"pairs": ["in..rll"]}, "names 'rll'"),
    ],
)
def test_a_wrong_option_is_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SurgeryError, match=message):
        surgery.weight_stats(MODELS, **options)


def test_folders_that_are_no_finished_run(tmp_path: Path) -> None:
    for folder, message in (
        (tmp_path / "none", "is not a folder"),
        (tmp_path, "holds no run"),
        (specimen.path("in"), "holds no run"),
    ):
        with pytest.raises(SurgeryError, match=message):
            surgery.load_run(folder)
    surgery.weight_stats(MODELS, spectrum="none", out=tmp_path / "run")
    header = tmp_path / "run" / "run.json"
    text = header.read_text()
    header.write_text(json.dumps({**json.loads(text), "format": 99}))
    with pytest.raises(ExecutionError, match="has format 99; this version reads"):
        surgery.load_run(tmp_path / "run")
    header.unlink()
    with pytest.raises(ExecutionError, match="has not ended"):
        surgery.load_run(tmp_path / "run")


def test_copies_of_results_keep_their_tables(stats: RunResult) -> None:
    import copy
    import pickle

    for again in (copy.copy(stats), pickle.loads(pickle.dumps(stats))):
        assert len(again.layers) == len(stats.layers)
    assert isinstance(
        RunResult.of(RunTables(RunKind.PROFILE, {}, {"layers": stats.df})).df, pd.DataFrame
    )
