"""Runs lined up layer by layer, and correlations against scipy."""

from __future__ import annotations

import json
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas
import pytest
from scipy import stats

from eval import run_profile
from eval.probes.profile import _lost, profile
from eval.probes.results import LayerValue, probe_run, table
from eval.statistics.significance import holm
from eval.sweep.results import make_results, write_results
from surgery.errors import ExecutionError
from surgery.runs import RunKind, RunTables, write_run
from tests.eval.made import texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LAYERS = 9
VALUES = np.random.default_rng(0).permuted(np.tile(np.arange(LAYERS) / 10, (30, 1)), axis=1)
"""Thirty columns that rank nine layers in different ways."""


def wrote(
    folder: Path, probe: str, columns: Mapping[tuple[str, str, str], Sequence[float]], *,
    whole: float = 0.0, layers: int = LAYERS, position: Sequence[int] | None = None,
    model: str = "rl",
) -> Path:  # fmt: skip
    """A probe's run: values by what, task and metric; `whole` for the model as it is."""
    output = []
    for (kind, task, metric), values in columns.items():
        rows = list(zip(position or range(layers), values, strict=True))
        if not metric.endswith((" drop", " share")):
            rows.insert(0, (None, whole))
        for layer, value in rows:
            output.append(
                LayerValue(model, layer, kind, task, metric, value, value - 1, value + 1, 5)
            )
    folder.mkdir(parents=True)
    write_run(probe_run(table(output), {"probe": probe, "layers": layers}), folder, [])
    return folder


def ablation(folder: Path, values: Sequence[float], **more: Any) -> Path:
    return wrote(folder, "ablation", {("layer", "read", "accuracy drop"): values}, **more)


def updates(folder: Path, layers: int = LAYERS, **pairs: Sequence[float]) -> Path:
    """Write the output of `surgery stats` as far as it counts here, and rows that do not."""
    rows = []
    for pair, values in pairs.items():
        name = pair.replace("_", "..")
        rows.append(("embedding", None, "all", name, 9.0))
        for layer, value in enumerate(values):
            rows += [
                ("vision", layer, "all", name, 7.0), ("language", layer, "mlp", name, 8.0),
                ("language", layer, "all", name, value),
            ]  # fmt: skip
        rows.append(("vision", layers + 4, "all", name, 7.0))
    columns = ["component", "layer", "group", "pair", "relative_delta"]
    layers_table = pandas.DataFrame(rows, columns=columns)
    regions = {"vision": {"early": [0, layers + 5]},
               "language": {"early": [0, 2], "late": [2, layers]}}  # fmt: skip
    write_run(RunTables(RunKind.STATISTICS, {"regions": regions}, {"layers": layers_table}), folder)
    return folder


def sweep(folder: Path, layers: int = LAYERS) -> Path:
    """The base right on half of forty samples; with layer k of the donor, on k more."""
    names = {f"rl@language.{k}": 20 + k for k in range(layers)}
    records = [*texts("in", [True] * 20 + [False] * 20), *texts("rl", [True] * 40)]
    for name, count in {**names, "rl@vision.1": 3}.items():
        records += texts(name, [True] * count + [False] * (40 - count))
    traits = [
        {"name": name, "traits": {"component": "language", "layer": k}}
        for k, name in enumerate(names)
    ]
    traits.append({"name": "rl@vision.1", "traits": {"component": "vision", "layer": 1}})
    traits += [{"name": name, "traits": {}} for name in ("in", "rl")]
    folder.mkdir(parents=True)
    summary = {"against": "in", "base": None, "donor": None, "variants": traits}
    write_results(make_results(records, summary), folder, records)
    return folder


def column(value: Any, name: str) -> list[float]:
    return list(value.layers[name])


def test_runs_of_every_kind_are_lined_up(tmp_path: Path) -> None:
    attention = {("response", "read", "image share"): VALUES[3],
                 ("answer", "read", "image share"): VALUES[4],
                 ("response", "read", "sink share"): VALUES[5]}  # fmt: skip
    result = profile([
        updates(tmp_path / "stats", in_rl=VALUES[0], base_in=VALUES[1]),
        wrote(tmp_path / "off", "ablation", {
            ("layer", "read", "accuracy"): VALUES[6],
            ("layer", "read", "accuracy drop"): VALUES[2],
            ("mlp", "all", "m_vis drop"): VALUES[7],
        }),
        wrote(tmp_path / "screen", "ablation", {
            ("layer", "read", "logprob"): VALUES[8], ("layer", "read", "logprob drop"): VALUES[9],
        }),
        wrote(tmp_path / "from", "vision-swap", {
            ("from", "ocr", "source"): VALUES[10], ("from", "ocr", "change"): VALUES[11],
            ("from", "ocr", "source, known"): VALUES[12],
        }, whole=0.25),
        wrote(tmp_path / "only", "vision-swap", {
            ("only", "ocr", "source"): VALUES[13], ("only", "ocr", "change"): VALUES[14],
        }),
        wrote(tmp_path / "look", "attention", attention),
        sweep(tmp_path / "sweep"),
    ])  # fmt: skip
    expected = {
        "update in..rl": VALUES[0],
        "update base..in": VALUES[1],
        "ablation layer: read": VALUES[2],
        "ablation mlp: all": VALUES[7],
        "ablation logprob layer: read": VALUES[9],
        "swap from: ocr": VALUES[10] - np.append(VALUES[10][1:], 0.25),
        "swap only: ocr": VALUES[14],
        "attention to image, rl": VALUES[3],
        "transplant m_rea: t": np.arange(LAYERS) / 40,
    }
    assert list(result.layers.columns) == ["layer", *expected]
    assert list(result.layers["layer"]) == list(range(LAYERS))
    for name, values in expected.items():
        assert column(result, name) == pytest.approx(list(values)), name
    assert result.summary["layers"] == LAYERS
    assert result.summary["regions"] == {"early": [0, 3], "mid": [3, 6], "late": [6, 9]}
    assert result.summary["runs"][0] == str(tmp_path / "stats")


def test_correlations_are_spearman_s(tmp_path: Path) -> None:
    result = profile([
        updates(tmp_path / "stats", in_rl=VALUES[0], base_in=VALUES[1]),
        ablation(tmp_path / "a", VALUES[2]),
        wrote(tmp_path / "b", "vision-swap", {("only", "ocr", "change"): VALUES[3]}),
    ])  # fmt: skip
    names = list(result.layers.columns)[1:]
    table_ = result.correlations.set_index(["a", "b"])
    assert list(table_.index) == list(combinations(names, 2))
    for a, b in combinations(names, 2):
        correlation = stats.spearmanr(column(result, a), column(result, b))
        row = table_.loc[a, b]
        assert row["rho"] == pytest.approx(correlation.statistic)
        assert row["p"] == pytest.approx(correlation.pvalue)
        assert row["n"] == LAYERS
        assert row["low"] < row["rho"] < row["high"]


def test_only_updates_against_effects_are_corrected_for(tmp_path: Path) -> None:
    """Two updates, or two effects, are not what is asked."""
    result = profile([
        updates(tmp_path / "stats", in_rl=VALUES[0], base_in=VALUES[1]),
        ablation(tmp_path / "a", VALUES[2]),
        wrote(tmp_path / "b", "vision-swap", {("only", "ocr", "change"): VALUES[3]}),
    ])  # fmt: skip
    table_ = result.correlations
    is_asked = [a.startswith("update") != b.startswith("update")
                for a, b in zip(table_["a"], table_["b"], strict=True)]  # fmt: skip
    assert sum(is_asked) == 4
    selected = table_[is_asked]
    assert list(selected["p_holm"]) == pytest.approx(holm(list(selected["p"])))
    assert (selected["p_holm"] >= selected["p"]).all()
    assert min(selected["p_holm"]) == pytest.approx(min(1, 4 * min(selected["p"])))
    assert table_[[not item for item in is_asked]]["p_holm"].isna().all()


def test_columns_of_one_name_are_told_apart_by_their_runs(tmp_path: Path) -> None:
    runs = [ablation(tmp_path / name, VALUES[i])
            for i, name in enumerate(("in/off", "rl", "base/off", "old/off"))]  # fmt: skip
    result = profile(runs)
    name = "ablation layer: read"
    assert list(result.layers.columns)[1:] == [
        name, f"{name} (rl)", f"{name} (off)", f"{name} ({runs[3]})",
    ]  # fmt: skip
    for i, item in enumerate(list(result.layers.columns)[1:]):
        assert column(result, item) == pytest.approx(list(VALUES[i]))


def test_another_number_of_layers_is_refused(tmp_path: Path) -> None:
    runs = [ablation(tmp_path / "a", VALUES[0]), ablation(tmp_path / "b", [0.1] * 4, layers=4),
            updates(tmp_path / "c", 5, in_rl=[0.1] * 5)]  # fmt: skip
    for run, count in ((runs[1], 4), (runs[2], 5)):
        with pytest.raises(ExecutionError) as caught:
            profile([runs[0], run])
        assert str(caught.value).startswith(
            f"{run} is about {count} decoder layers, {runs[0]} about 9. Only runs of one arch"
        )


def test_a_run_of_some_layers_leaves_the_others_empty(tmp_path: Path) -> None:
    result = profile([
        updates(tmp_path / "stats", in_rl=VALUES[0]),
        ablation(tmp_path / "off", [0.5, 0.1, 0.3, 0.2], position=[0, 2, 3, 5]),
        wrote(tmp_path / "from", "vision-swap", {("from", "ocr", "source"): [0.9, 0.6, 0.4, 0.3]},
              position=[1, 2, 4, 8], whole=0.05),
    ])  # fmt: skip
    nan = float("nan")
    assert column(result, "ablation layer: read") == pytest.approx(
        [0.5, nan, 0.1, 0.3, nan, 0.2, nan, nan, nan], nan_ok=True
    )
    # Nothing is known of a layer whose next one was not looked at.
    assert column(result, "swap from: ocr") == pytest.approx(
        [nan, 0.3, nan, nan, nan, nan, nan, nan, 0.25], nan_ok=True
    )
    (first, *_) = result.correlations.itertuples()
    assert first.n == 4
    rho = stats.spearmanr(VALUES[0][[0, 2, 3, 5]], [0.5, 0.1, 0.3, 0.2]).statistic
    assert first.rho == pytest.approx(rho)


def test_what_a_layer_hands_on_is_lost_from_it_to_the_next() -> None:
    rates = pandas.Series([1.0, 0.9, 0.5, 0.4])
    assert list(_lost(rates, pandas.Series([0.1]))) == pytest.approx([0.1, 0.4, 0.1, 0.3])
    result = _lost(rates, pandas.Series([0.1]))
    assert result.sum() == pytest.approx(1.0 - 0.1)  # together they are all of it
    assert list(_lost(rates, pandas.Series([], dtype=float))) == pytest.approx([0.1, 0.4, 0.1, 0.4])


def test_attention_of_all_tasks_goes_before_single_ones(tmp_path: Path) -> None:
    both = {("response", task, "image share"): VALUES[i] for i, task in enumerate(("read", "all"))}
    result = profile([wrote(tmp_path / "look", "attention", both)])
    assert column(result, "attention to image, rl") == pytest.approx(list(VALUES[1]))
    assert len(result.layers.columns) == 2


def test_attention_is_told_model_by_model(tmp_path: Path) -> None:
    output = [
        LayerValue(model, layer, "response", "read", "image share", VALUES[i][layer], 0, 1, 5)
        for i, model in enumerate(("in", "rl", "rl - in"))
        for layer in range(LAYERS)
    ]
    summary = {"probe": "attention", "layers": LAYERS}
    write_run(probe_run(table(output), summary), tmp_path, [])
    result = profile([tmp_path])
    for i, model in enumerate(("in", "rl", "rl - in")):
        assert column(result, f"attention to image, {model}") == pytest.approx(list(VALUES[i]))


@pytest.mark.parametrize("kind", ["nothing", "no folder"])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, kind: str) -> None:
    run = tmp_path / "run"
    if kind != "no folder":
        run.mkdir()
    with pytest.raises(ExecutionError) as caught:
        profile([ablation(tmp_path / "good", VALUES[0]), run])
    text = "is not a folder" if kind == "no folder" else "holds no run"
    assert str(caught.value).startswith(f"{run} {text}. Expected the --out of")


@pytest.mark.parametrize("file", ["layers.csv", "run.json"])
@pytest.mark.parametrize("content", [None, "", "{}", "model,task\n1,2\n"])
def test_a_run_that_is_not_whole_is_told(tmp_path: Path, file: str, content: str | None) -> None:
    run = updates(tmp_path / "stats", in_rl=VALUES[0])
    (run / file).unlink()
    if content is not None:
        (run / file).write_text(content)
    with pytest.raises(ExecutionError) as caught:
        profile([run])
    assert str(caught.value).startswith(f"{run}") or str(caught.value).startswith("the run in")
    assert "\n" not in str(caught.value)


def test_a_run_is_not_written_over(tmp_path: Path) -> None:
    run = updates(tmp_path / "stats", in_rl=VALUES[0])
    with pytest.raises(ExecutionError, match="holds the results of 'surgery stats'"):
        run_profile([run], out=run)
    assert not (run / "profile.csv").exists()


@pytest.mark.parametrize("kind", ["text only", "no single layers", "vision alone"])
def test_a_run_that_says_nothing_layer_by_layer_is_refused(tmp_path: Path, kind: str) -> None:
    run = tmp_path / "run"
    if kind == "text only":  # there is no image to attend to
        wrote(run, "attention", {("response", "read", "sink share"): VALUES[0]})
    elif kind == "no single layers":
        sweep(run, layers=0)
    else:
        updates(run, in_rl=VALUES[0])
        rows = pandas.read_csv(run / "layers.csv")
        rows[rows["component"] == "vision"].to_csv(run / "layers.csv", index=False)
    with pytest.raises(ExecutionError) as caught:
        profile([run])
    assert str(caught.value) == f"{run} has no per-layer results."


def test_a_probe_s_table_that_is_gone_is_told(tmp_path: Path) -> None:
    run = ablation(tmp_path / "run", VALUES[0])
    (run / "layers.csv").unlink()
    with pytest.raises(ExecutionError, match="has not ended"):
        profile([run])


def test_constant_columns_have_no_correlation(tmp_path: Path) -> None:
    result = profile([
        updates(tmp_path / "stats", in_rl=VALUES[0]), ablation(tmp_path / "off", [0.0] * LAYERS),
    ])  # fmt: skip
    row = result.correlations.iloc[0]
    assert np.isnan([row["rho"], row["p"], row["p_holm"]]).all()
    assert (row["low"], row["high"], row["n"]) == (-1, 1, LAYERS)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    result = profile(
        [updates(tmp_path / "s", in_rl=VALUES[0]), ablation(tmp_path / "a", VALUES[1])]
    )
    run_profile([tmp_path / "s", tmp_path / "a"], out=tmp_path / "out" / "deep")
    for name, item in (("profile", result.layers), ("correlations", result.correlations)):
        read = pandas.read_csv(tmp_path / "out" / "deep" / f"{name}.csv")
        pandas.testing.assert_frame_equal(read, item, check_dtype=False)
    header = json.loads((tmp_path / "out" / "deep" / "run.json").read_text())
    assert result.summary.items() <= header.items()
    assert (header["kind"], header["status"]) == ("profile", "ended")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExecutionError, match="is a file; the results go into a folder"):
        run_profile([tmp_path / "s", tmp_path / "a"], out=tmp_path / "file")


def test_one_run_has_no_correlations(tmp_path: Path) -> None:
    result = profile([ablation(tmp_path / "a", VALUES[0])])
    assert result.correlations.empty
    assert list(result.correlations.columns) == ["a", "b", "rho", "low", "high", "p", "p_holm", "n"]
