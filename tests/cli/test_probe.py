"""`surgery probe` as people meet it, on the specimen."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from eval.probes.pairs import load_pairs
from tests.cli.probing import (
    ABLATION,
    ATTENTION,
    SWAP,
    Run,
    bare,
    call,
    layers_of,
    names_in,
    pair,
    records_of,
)  # fmt: skip
from tests.support.files import lasting

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Surgery = Callable[..., subprocess.CompletedProcess[str]]

COLUMNS = ["model", "layer", "what", "task", "metric", "value", "low", "high", "n"]
TASKS = ["read", "count", "recognise", "locate", "expression", "combine", "arithmetic"]
COMMANDS = {
    "accuracy": ("ablation", "specimen:in", "--suite", "specimen", "--samples", 2),
    "logprob": (
        "ablation", "specimen:in", "--suite", "specimen", "--samples", 2, "--score", "logprob"
    ),
    "swap": ("vision-swap", "specimen:rl", "--pairs", "specimen", "--samples", 2),
    "attention": (
        "attention", "specimen:in", "specimen:rl", "--suite", "specimen", "--samples", 2,
        "--text", "in",
    ),
}  # fmt: skip
FILES = {
    "accuracy": {"ablation.png", "responses.jsonl"},
    "logprob": {"ablation.png", "likelihoods.jsonl"},
    "swap": {"vision-swap.png", "responses.jsonl"},
    "attention": {
        "attention.png", "differences.png", "heads.png", "heads.csv", "responses.jsonl",
        "attention",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """A probe's run by name, made when it is first asked for."""
    root = tmp_path_factory.mktemp("probes")
    runs: dict[str, Run] = {}

    def make(name: str) -> Run:
        if name not in runs:
            done = call(root, "probe", *COMMANDS[name], "--out", name)
            runs[name] = Run(name, root / name, done.stdout, done.stderr)
        return runs[name]

    return make


@pytest.fixture(params=COMMANDS)
def run(request: pytest.FixtureRequest, make_run: Callable[[str], Run]) -> Run:
    return make_run(request.param)


# --- what a run leaves


def test_a_run_leaves_tables_records_and_figures(run: Run) -> None:
    assert names_in(run.folder) == {"layers.csv", "records.jsonl", "run.json"} | FILES[run.name]
    table = layers_of(run.folder)
    assert list(table.columns) == COLUMNS
    assert set(table["layer"].dropna()) == set(range(9))
    good = table.dropna(subset=["low", "high"])
    assert (good["low"] <= good["value"]).all()
    assert (good["value"] <= good["high"]).all()
    for path in run.folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    pictures = ", ".join(
        name for name in ("ablation.png", "vision-swap.png", "attention.png", "differences.png",
                          "heads.png") if (run.folder / name).exists()
    )  # fmt: skip
    last = run.stdout.splitlines()[-1]
    assert last == f"layers.csv, records.jsonl, run.json and {pictures} are in {run.name}"


def test_the_summary_says_how_it_was_done(run: Run) -> None:
    summary = run.summary
    assert summary["probe"] == {"swap": "vision-swap", "attention": "attention"}.get(
        run.name, "ablation"
    )
    assert summary["layers"] == 9
    assert summary["regions"] == {"early": [0, 3], "mid": [3, 6], "late": [6, 9]}
    assert (summary["samples"], summary["seed"]) == (2, 123)
    assert set(summary["versions"]) >= {"vlm-surgery", "torch", "transformers", "numpy"}
    assert summary["hardware"]["processors"] >= 1
    assert summary["generation"]["temperature"] == 0
    assert set(summary["tasks"].values()) == {2}
    models = {model["name"]: model["fingerprint"] for model in summary["models"]}
    assert all(len(fingerprint) == 64 for fingerprint in models.values())
    assert len(set(models.values())) == len(models)


def test_settings_stand_in_the_summary(make_run: Callable[[str], Run]) -> None:
    assert make_run("accuracy").summary["score"] == "accuracy"
    assert make_run("logprob").summary["score"] == "logprob"
    assert make_run("swap").summary["mode"] == "from"
    assert make_run("swap").summary["pairs"] == "specimen"
    assert make_run("attention").summary["text"] == "in"
    # One model has one fingerprint, whatever is done with it.
    models = [
        model for name in COMMANDS for model in make_run(name).summary["models"]
        if model["name"] == "in"
    ]  # fmt: skip
    assert len(models) == 3
    assert len({model["fingerprint"] for model in models}) == 1


def test_again_asks_nothing_and_tells_the_same(
    run: Run, surgery: Surgery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    shutil.copytree(run.folder, tmp_path / run.name)
    before = lasting(run.folder)
    monkeypatch.setattr("eval.engines.transformers.TransformersEngine.load", load)
    done = surgery("probe", *COMMANDS[run.name], "--out", run.name)
    assert done.returncode == 0, done.stderr
    assert done.stdout == run.stdout
    lines = done.stderr.splitlines()
    assert lines
    assert all(line.endswith(" responses, all from the earlier run") for line in lines)
    assert "all from the earlier run" not in run.stderr
    assert lasting(tmp_path / run.name) == before


@pytest.mark.parametrize("name", ["logprob", "swap"])
def test_json_is_the_table_and_nothing_else(
    make_run: Callable[[str], Run], surgery: Surgery, tmp_path: Path, name: str
) -> None:
    run = make_run(name)
    shutil.copytree(run.folder, tmp_path / run.name)
    done = surgery("probe", *COMMANDS[run.name], "--out", run.name, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    assert [list(row) for row in rows] == [COLUMNS] * len(rows)
    table = layers_of(run.folder).astype(object)
    expected = table.where(table.notna(), None).to_dict("records")
    assert rows == expected


def test_quiet_is_quiet(make_run: Callable[[str], Run], surgery: Surgery, tmp_path: Path) -> None:
    run = make_run("logprob")
    shutil.copytree(run.folder, tmp_path / run.name)
    done = surgery("probe", *COMMANDS[run.name], "--out", run.name, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "remaining_text"), [("accuracy", "responses.jsonl"), ("logprob", "likelihoods.jsonl")]
)
def test_what_was_interrupted_goes_on_and_ends_the_same(
    make_run: Callable[[str], Run], surgery: Surgery, tmp_path: Path, name: str, remaining_text: str
) -> None:
    run = make_run(name)
    lines = (run.folder / remaining_text).read_text().splitlines(keepends=True)
    (tmp_path / name).mkdir()
    # The last line is half written.
    (tmp_path / name / remaining_text).write_text("".join(lines[:97]) + lines[97][:20])
    done = surgery("probe", *COMMANDS[name], "--out", name)
    assert done.returncode == 0, done.stderr
    by_key = {row["key"]: row for row in run.lines(remaining_text)}
    assert {row["key"]: row for row in records_of(tmp_path / name, remaining_text)} == by_key
    for file in ("layers.csv", "records.jsonl"):
        assert (tmp_path / name / file).read_bytes() == (run.folder / file).read_bytes()


def test_streams_of_a_real_process(process: Surgery, sums: Path) -> None:
    done = process("probe", "ablation", "specimen:in", "--suite", "mine.yaml", "--samples", 1,
                   "--score", "logprob", "--layers", "0", "--out", "run", "--json")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert {row["metric"] for row in json.loads(done.stdout)} == {"logprob", "logprob drop"}


# --- ablation


def test_ablation_scores_what_its_records_say(make_run: Callable[[str], Run]) -> None:
    run = make_run("accuracy")
    records = pd.DataFrame(run.lines())
    assert len(records) == 10 * 14
    table = layers_of(run.folder)
    assert set(table["task"]) == {*TASKS, "all"}
    assert set(table["metric"]) == {"accuracy", "accuracy drop"}
    right = records.groupby(["task", records["layer"].fillna(-1)])["correct"].mean()
    scores = table[table["metric"] == "accuracy"].fillna({"layer": -1})
    assert len(scores) == 10 * 8
    for row in scores[scores["task"] != "all"].itertuples():
        assert row.value == right[row.task, row.layer]
        assert row.n == 2
    score = scores.set_index(["task", "layer"])["value"]
    for row in table[table["metric"] == "accuracy drop"].itertuples():
        lost = score[row.task, -1] - score[row.task, row.layer]
        assert row.value == pytest.approx(lost, abs=1e-9)
    # The first layer off ruins what the intact model does well.
    assert score["count", -1] == 1
    assert score["count", 0] == 0


def test_the_terminal_shows_a_bar_per_layer_and_the_intact_model(
    make_run: Callable[[str], Run],
) -> None:
    run = make_run("accuracy")
    lines = run.stdout.splitlines()
    assert lines[0] == "in, layer: loss when ablated (percentage points), n = 14"
    assert lines[1].split() == ["layer", "all", *TASKS]
    assert [line.split()[0] for line in lines[2:12]] == [*map(str, range(9)), "intact"]
    assert [line.split()[1] for line in (lines[2], lines[5], lines[8])] == ["early", "mid", "late"]
    table = layers_of(run.folder)
    drops = table[(table["metric"] == "accuracy drop") & (table["task"] == "all")]["value"]
    messages = [float(line.split()[-len(TASKS) - 1]) for line in lines[2:11]]
    assert messages == [round(100 * value + 0, 1) for value in drops]
    assert "in: 140 responses" in run.stderr


def test_log_probabilities_generate_nothing(make_run: Callable[[str], Run]) -> None:
    run = make_run("logprob")
    assert not (run.folder / "responses.jsonl").exists()
    records = pd.DataFrame(run.lines())
    assert len(records) == 10 * 14
    assert (records["value"] < 0).all()
    assert (records["tokens"] > 0).all()
    table = layers_of(run.folder)
    means = records.groupby(["task", records["layer"].fillna(-1)])["value"].mean()
    rows = table[(table["metric"] == "logprob") & (table["task"] != "all")].fillna({"layer": -1})
    for row in rows.itertuples():
        assert row.value == pytest.approx(means[row.task, row.layer])


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("ablation", ("--suite", "specimen", "--layers", "1, 6", "--what", "mlp")),
        ("ablation", ("--suite", "specimen", "--score", "logprob", "--layers", "1, 6")),
        ("vision-swap", ("--pairs", "specimen", "--layers", "1, 6")),
        ("vision-swap", ("--pairs", "specimen", "--layers", "4", "--mode", "only")),
    ],
)
def test_one_at_a_time_gives_the_same(
    surgery: Surgery, tmp_path: Path, command: str, options: tuple[str, ...]
) -> None:
    start = ("probe", command, "specimen:in", *options, "--samples", 1, "-q")
    for folder, more in (("batched", ()), ("single", ("--sequential",))):
        done = surgery(*start, "--out", folder, *more)
        assert done.returncode == 0, done.stderr
    batched, single = (layers_of(tmp_path / name) for name in ("batched", "single"))
    assert len(batched)
    numbers = ["value", "low", "high"]
    pd.testing.assert_frame_equal(batched.drop(columns=numbers), single.drop(columns=numbers))
    for name in numbers:
        assert batched[name].to_numpy() == pytest.approx(
            single[name].to_numpy(), abs=1e-4 if "logprob" in options else 0, nan_ok=True
        )
    if "logprob" not in options:
        texts = [
            [row["text"] for row in records_of(tmp_path / name)] for name in ("batched", "single")
        ]
        assert texts[0] == texts[1]


def test_one_at_a_time_is_not_taken_from_what_was_asked_in_a_batch(
    surgery: Surgery, sums: Path, tmp_path: Path
) -> None:
    start = ("probe", "ablation", "specimen:in", "--suite", "mine.yaml", "--layers", "0",
             "--out", "run")  # fmt: skip
    assert surgery(*start).returncode == 0
    again = surgery(*start, "--sequential")
    assert "all from the earlier run" not in again.stderr
    assert len((tmp_path / "run" / "responses.jsonl").read_text().splitlines()) == 2 * 8


@pytest.mark.parametrize(
    ("span", "layers"),
    [("early", {0, 1, 2}), ("3, 5", {3, 5}), ("7:", {7, 8}), ("2:4, late", {2, 3, 6, 7, 8})],
)
def test_layers_are_chosen_as_in_a_selector(
    surgery: Surgery, sums: Path, tmp_path: Path, span: str, layers: set[int]
) -> None:
    done = surgery("probe", "ablation", "specimen:in", "--suite", "mine.yaml", "--samples", 1,
                   "--score", "logprob", "--layers", span, "--out", "run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = layers_of(tmp_path / "run")
    assert set(table["layer"].dropna()) == layers
    assert table["layer"].isna().any()  # the intact model is always there
    displayed = [line.split()[0] for line in done.stdout.splitlines()[2:-2]]
    assert displayed == [str(layer) for layer in sorted(layers)]


def test_branches_are_switched_off_apart(surgery: Surgery, sums: Path, tmp_path: Path) -> None:
    start = ("probe", "ablation", "specimen:in", "--suite", "mine.yaml", "--score", "logprob",
             "--layers", "0:2")  # fmt: skip
    done = surgery(*start, "--out", "run", "--what", "mlp", "--what", "attention", "--what", "mlp")
    assert done.returncode == 0, done.stderr
    heads = [line for line in done.stdout.splitlines() if ":" in line]
    assert heads == [
        f"in, {kind}: loss when ablated (nats), n = 4" for kind in ("mlp", "attention")
    ]
    table = layers_of(tmp_path / "run")
    drops = table[table["metric"] == "logprob drop"].set_index(["what", "layer"])["value"]
    assert set(drops.index) == {(kind, n) for kind in ("mlp", "attention") for n in (0, 1)}
    assert drops["mlp", 0] != drops["attention", 0]
    intact = table[table["layer"].isna()]
    assert list(intact["what"]) == ["mlp", "attention"]
    assert intact["value"].nunique() == 1
    surgery(*start, "--out", "whole")
    whole = layers_of(tmp_path / "whole")
    assert set(whole["what"]) == {"layer"}
    assert whole[whole["metric"] == "logprob drop"]["value"].iloc[0] not in set(drops)


def test_the_suites_own_metrics_on_request(surgery: Surgery, sums: Path, tmp_path: Path) -> None:
    done = surgery("probe", "ablation", "specimen:in", "--suite", "mine.yaml", "--score", "metric",
                   "--layers", "0", "--out", "run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(layers_of(tmp_path / "run")["metric"]) == {"m_rea", "m_rea drop"}


def test_a_recipe_is_a_model_and_another_than_its_parts(
    make_run: Callable[[str], Run], surgery: Surgery, sums: Path, tmp_path: Path
) -> None:
    done = surgery("probe", "ablation", "specimen/in-rl-in", "--suite", "mine.yaml", "--score",
                   "logprob", "--layers", "0", "--out", "run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("specimen/in-rl-in, layer: loss when ablated")
    assert set(layers_of(tmp_path / "run")["model"]) == {"specimen/in-rl-in"}
    (model,) = json.loads((tmp_path / "run" / "run.json").read_text())["models"]
    assert model["name"] == "specimen/in-rl-in"
    assert "language[mid]" in model["recipe"]
    parts = {part["fingerprint"] for part in make_run("attention").summary["models"]}
    assert model["fingerprint"] not in parts


def test_a_model_has_the_name_it_is_given(surgery: Surgery, sums: Path, tmp_path: Path) -> None:
    done = surgery("probe", "ablation", "cold=specimen:in", "--suite", "mine.yaml", "--score",
                   "logprob", "--layers", "0", "--out", "run", "-q")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(layers_of(tmp_path / "run")["model"]) == {"cold"}


# --- swap


def test_swap_scores_what_its_records_say(make_run: Callable[[str], Run]) -> None:
    run = make_run("swap")
    records = pd.DataFrame(run.lines())
    assert len(records) == 10 * 8
    assert set(records["task"]) == {"counting", "ocr", "recognition", "grounding"}
    assert (records["target_answer"] != records["source_answer"]).all()
    table = layers_of(run.folder)
    for metric, column in (("source", "source"), ("target", "target"), ("change", "changed")):
        rows = table[(table["metric"] == metric) & table["layer"].notna()]
        assert len(rows) == 9 * 5
        for row in rows.itertuples():
            item = records[records["layer"] == row.layer]
            item = item if row.task == "all" else item[item["task"] == row.task]
            assert row.value == item[column].astype(float).mean()
            assert row.n == len(item)
    assert not (table["layer"].isna() & (table["metric"] == "change")).any()


def test_a_folder_of_pairs_gives_what_the_specimens_own_give(
    make_run: Callable[[str], Run], surgery: Surgery, tmp_path: Path
) -> None:
    """Targets, sources and answers go to the disk and come back."""
    run = make_run("swap")
    sampled = [image_pair for image_pair in load_pairs("specimen", tmp_path, 2, 123)
             if image_pair.target.task == "counting"]  # fmt: skip
    folder = tmp_path / "pairs" / "counting"
    folder.mkdir(parents=True)
    rows = []
    for place, image_pair in enumerate(sampled):
        for side in ("target", "source"):
            (image,) = getattr(image_pair, side).images
            (folder / f"{side}{place}.png").write_bytes(image.data)
        rows.append({
            "id": image_pair.target.id, "prompt": f"<image>\n{image_pair.target.prompt}",
            "target_image": f"target{place}.png", "source_image": f"source{place}.png",
            "meta": {
                "target_answer": image_pair.target.answer,
                "source_answer": image_pair.source.answer,
            },
        })  # fmt: skip
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = surgery("probe", "vision-swap", "specimen:rl", "--pairs", "pairs", "--out", "run")
    assert done.returncode == 0, done.stderr
    layers = layers_of(run.folder)
    layers = layers[layers["task"] == "counting"].reset_index(drop=True)
    pd.testing.assert_frame_equal(layers_of(tmp_path / "run"), layers)
    texts = [row["text"] for row in records_of(tmp_path / "run")]
    assert texts == [row["text"] for row in run.lines() if row["task"] == "counting"]


def test_an_image_swapped_for_itself_changes_nothing(
    surgery: Surgery, pairs: Callable[..., Path], tmp_path: Path
) -> None:
    pairs(pair(source_image="red.png"))
    done = surgery("probe", "vision-swap", "specimen:in", "--pairs", "pairs", "--out", "run")
    assert done.returncode == 0, done.stderr
    table = layers_of(tmp_path / "run")
    change = table[table["metric"] == "change"]
    assert len(change) == 9
    assert (change["value"] == 0).all()
    assert set(table["task"]) == {"colour"}  # the folder's name; one task is all tasks


def test_from_the_first_layer_on_the_answer_is_that_about_the_source(
    surgery: Surgery, pairs: Callable[..., Path], tmp_path: Path
) -> None:
    turned = pair(id="b", target_image="blue.png", source_image="red.png")
    pairs(pair(), turned | {"meta": {"target_answer": "blue", "source_answer": "red"}})
    done = surgery("probe", "vision-swap", "specimen:in", "--pairs", "pairs", "--out", "run",
                   "--layers", "0")  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = records_of(tmp_path / "run")
    output = {(line["sample"], line["layer"]): line["text"] for line in lines}
    assert output["a", 0] == output["b", None]
    assert output["b", 0] == output["a", None]
    assert output["a", None] != output["b", None]


def test_only_one_layer_is_another_experiment(
    make_run: Callable[[str], Run], surgery: Surgery, tmp_path: Path
) -> None:
    done = surgery("probe", *COMMANDS["swap"], "--mode", "only", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rl, only: answers that follow the source image")
    only, since = layers_of(tmp_path / "run"), layers_of(make_run("swap").folder)
    assert set(only["what"]) == {"only"}
    intact = ["task", "metric", "value"]
    pd.testing.assert_frame_equal(
        only[only["layer"].isna()][intact], since[since["layer"].isna()][intact]
    )
    last = [table[table["layer"] == 8]["value"].tolist() for table in (only, since)]
    assert last[0] == last[1]  # from the last layer on is the last layer only
    assert only["value"].tolist() != since["value"].tolist()


def test_samples_are_so_many_pairs_of_each_task(
    surgery: Surgery, pairs: Callable[..., Path], tmp_path: Path
) -> None:
    pairs(*(pair(id=name) for name in "abc"))
    words = {"target_text": "one", "source_text": "two"}
    pairs(pair(id="a", prompt="One or two?", meta=words), task="words")
    done = surgery("probe", "vision-swap", "specimen:in", "--pairs", "pairs", "--out", "run",
                   "--samples", 2, "--layers", "8")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["tasks"] == {
        "colour": 2, "words": 1
    }  # fmt: skip


# --- attention


def test_attention_compares_models_sample_by_sample(make_run: Callable[[str], Run]) -> None:
    run = make_run("attention")
    table = layers_of(run.folder)
    assert list(dict.fromkeys(table["model"])) == ["in", "rl", "rl - in"]
    assert set(table["what"]) == {"response", "reasoning", "answer"}
    shares = {"sink share", "image share", "text share", "response share"}
    assert set(table["metric"]) == {*shares, "entropy"}
    by_model = {
        model: {line["sample"]: line for line in run.lines() if line["model"] == model}
        for model in ("in", "rl")
    }
    assert len(by_model["in"]) == 14
    for metric in shares:
        kind = metric.removesuffix(" share")
        rows = table[
            (table["metric"] == metric) & (table["what"] == "response") & (table["task"] == "all")
        ].set_index(["model", "layer"])["value"]
        values = {
            model: np.array([line["shares"][kind] for line in lines.values()], float)
            for model, lines in by_model.items()
        }
        separate = values["rl"] - values["in"]  # the samples are in one order
        for name, expected in (*values.items(), ("rl - in", separate)):
            results = [rows[name, layer] for layer in range(9)]
            assert results == pytest.approx(np.nanmean(expected, axis=0).tolist(), abs=1e-5)


def test_shares_of_attention_are_a_whole_where_there_is_an_image(
    make_run: Callable[[str], Run],
) -> None:
    for line in make_run("attention").lines():
        parts = [line["shares"][kind] for kind in ("sink", "image", "text", "response")]
        if line["task"] == "arithmetic":
            assert parts.pop(1) == [None] * 9  # a share of nothing is no small share
        assert np.array(parts).sum(0) == pytest.approx(np.ones(9), abs=1e-5)


def test_all_models_are_shown_the_responses_of_the_one_that_is_named(
    make_run: Callable[[str], Run],
) -> None:
    run = make_run("attention")
    output = {
        model: {line["sample"]: line["text"] for line in run.lines() if line["model"] == model}
        for model in ("in", "rl")
    }
    assert output["in"] == output["rl"]
    assert len(run.lines("responses.jsonl")) == 14  # the other one is not asked


def test_single_heads_average_to_their_layer(make_run: Callable[[str], Run]) -> None:
    run = make_run("attention")
    heads = pd.read_csv(run.folder / "heads.csv")
    assert list(heads.columns) == [
        "model", "layer", "head", "what", "metric", "value", "low", "high", "n",
    ]  # fmt: skip
    assert set(heads["head"]) == set(range(4))
    key = ["model", "layer", "what", "metric"]
    means = heads.groupby(key)["value"].mean()
    table = layers_of(run.folder)
    whole = table[table["task"] == "all"].set_index(key)["value"]
    assert len(whole) == len(means)
    for place, value in whole.items():
        assert means[place] == pytest.approx(value, abs=1e-6)


def test_own_responses_are_each_models_own(surgery: Surgery, sums: Path, tmp_path: Path) -> None:
    done = surgery("probe", "attention", "specimen:base", "specimen:rl", "--suite", "mine.yaml",
                   "--out", "run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = records_of(tmp_path / "run")
    output = [{line["text"] for line in lines if line["model"] == name} for name in ("base", "rl")]
    assert output[0] != output[1]
    assert len((tmp_path / "run" / "responses.jsonl").read_text().splitlines()) == 2 * 4
    # No sample has an image, and nothing is said or drawn about one.
    assert "image share" not in set(layers_of(tmp_path / "run")["metric"])
    assert not (tmp_path / "run" / "heads.png").exists()


def test_texts_of_a_file_and_no_question_asked(
    surgery: Surgery, sums: Path, tmp_path: Path
) -> None:
    texts = {"12": "<think>1+2</think><answer>3</answer>", "45": "9"}
    rows = [{"task": "sums", "sample": name, "text": text} for name, text in texts.items()]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = surgery("probe", "attention", "specimen:in", "--suite", "mine.yaml", "--text",
                   "said.jsonl", "--out", "run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "in attention: 2 responses" in done.stderr
    lines = records_of(tmp_path / "run")
    assert {line["sample"]: line["text"] for line in lines} == texts
    assert not (tmp_path / "run" / "responses.jsonl").exists()
    table = layers_of(tmp_path / "run").query("layer == 0 and metric == 'entropy'")
    assert table.set_index("what")["n"].to_dict() == {"response": 2, "reasoning": 1, "answer": 2}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["text"] == "said.jsonl"


def test_records_of_another_probe_are_texts(
    make_run: Callable[[str], Run], surgery: Surgery, tmp_path: Path
) -> None:
    reference = make_run("accuracy")
    done = surgery("probe", "attention", "specimen:in", "--suite", "specimen", "--samples", 2,
                   "--text", reference.folder / "records.jsonl", "--out", "run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = records_of(tmp_path / "run")
    intact = {line["sample"]: line["text"] for line in reference.lines() if line["layer"] is None}
    assert {line["sample"]: line["text"] for line in lines} == intact


@pytest.mark.parametrize(
    ("other_probe", "command"),
    [("swap", ABLATION), ("accuracy", (*SWAP, "--pairs", "specimen")), ("logprob", ATTENTION)],
)
def test_another_probes_folder_is_left_as_it_is(
    make_run: Callable[[str], Run], surgery: Surgery, tmp_path: Path, other_probe: str,
    command: tuple[str, ...],
) -> None:  # fmt: skip
    run = make_run(other_probe)
    shutil.copytree(run.folder, tmp_path / "run")
    done = surgery("probe", *command, "--out", "run")
    assert done.returncode == 2
    name = run.summary["probe"]
    assert f"run holds the results of 'surgery probe {name}'. Choose another --out" in bare(done)
    for path in run.folder.iterdir():
        if path.is_file():
            assert (tmp_path / "run" / path.name).read_bytes() == path.read_bytes()
