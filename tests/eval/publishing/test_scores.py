"""Scores on a card, against the run's tables and numbers computed by hand."""

from __future__ import annotations

from dataclasses import fields, replace
from math import isnan, nan

import numpy as np
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results

from eval.comparison import PairedDifference
from eval.metrics import Score
from eval.publishing.entries import eval_results, model_index
from eval.publishing.scores import (
    differences_for,
    index_scores,
    plain_variants,
    scores_for,
    tasks_with_images,
    variant_of,
)
from eval.records import Condition, Metric
from eval.suites.table import SUITES
from eval.sweep.results import make_results, rows_of
from eval.sweep.variants import Pairing, thirds
from eval.variants import plain
from surgery.checkpoint.source import AdapterReference
from surgery.errors import SurgeryError
from surgery.recipe.dump import to_yaml
from tests.eval.made import paired, record, texts

CELLS = {
    "in": {(True, True): 10, (True, False): 20, (False, False): 10},
    "rl": {(True, True): 5, (True, False): 30, (False, False): 5},
    "mid": {(True, True): 15, (True, False): 24, (False, False): 1},
}
VARIANTS = [
    *(plain(name, f"specimen:{name}") for name in ("in", "rl")),
    replace(next(iter(thirds(Pairing({"in": "a", "rl": "b"}, "in", "rl")))), name="mid"),
]
FINGERPRINTS = {"in": "1" * 64, "rl": "2" * 64, "mid": "3" * 64}


def summary(**more: object) -> dict:
    return {
        "against": "in", "base": "in", "donor": "rl", "samples": None, "seed": 123,
        "style": "plain", "grader": "strict",
        "generation": {"max_new_tokens": None, "temperature": 0.0, "top_p": 1.0, "repeats": 1},
        "suites": [{"name": "paper", "max_new_tokens": 2048, "tasks": []}],
        "versions": {"vlm-surgery": "0.9"},
        "variants": [
            {"name": v.name, "fingerprint": FINGERPRINTS[v.name], "traits": {},
             "recipe": to_yaml(v.recipe)}
            for v in VARIANTS
        ],
        **more,
    }  # fmt: skip


def run_of(suite: str = "s") -> list:
    """Two tasks of M_vis, one of M_rea, for three variants."""
    generator = np.random.default_rng(3)
    results = []
    for name, cells in CELLS.items():
        for task in ("general-vqa", "charts"):
            results += paired(name, Metric.VISION, cells, suite=suite, task=task)
        right = list(generator.random(30) < 0.5)
        results += texts(name, right, suite=suite, task="math500", categories={"level": "1"})
    return results


RECORDS = run_of()
RESULTS = make_results(RECORDS, summary())


def same(item: float, other: float) -> bool:
    return item == other or (isnan(item) and isnan(other))


def test_rows_are_those_of_the_runs_own_table() -> None:
    result = scores_for(RESULTS, "mid", ["in", "rl", "mid"])
    assert list(dict.fromkeys(row.variant for row in result)) == ["mid", "in", "rl"]
    table = RESULTS.table("scores")
    table = table[(table["split"] == "") & table["measure"].isin([str(m) for m in Metric])]
    assert len(result) == len(table) == 3 * 4
    shared = [field.name for field in fields(Score) if field.name in table]
    for row in result:
        (item,) = table[(table["variant"] == row.variant) & (table["task"] == row.task)][
            shared
        ].to_dict("records")
        assert all(
            value == getattr(row, name) or same(value, getattr(row, name))
            for name, value in item.items()
        )


def test_rows_by_hand() -> None:
    rows = {row.task: row for row in scores_for(RESULTS, "mid", [])}
    assert list(rows) == ["general-vqa", "charts", "math500", "all m_vis"]
    assert rows["general-vqa"].value == pytest.approx(24 / 40)
    assert (rows["general-vqa"].n, rows["general-vqa"].missing) == (40, 0)
    assert rows["general-vqa"].low < 0.6 < rows["general-vqa"].high
    assert (rows["all m_vis"].n, rows["all m_vis"].pooled) == (80, True)
    images = tasks_with_images(RESULTS)
    assert [("s", task) in images for task in rows] == [True, True, False, True]


def test_differences_are_paired_and_those_of_the_runs_own_tables() -> None:
    result = differences_for(RECORDS, "mid", ["in", "mid", "rl"])
    assert list(dict.fromkeys(row.against for row in result)) == ["in", "rl"]
    shared = [field.name for field in fields(PairedDifference)]
    for against in ("in", "rl"):
        reference = rows_of(make_results(RECORDS, summary(against=against)), PairedDifference)
        local = [row for row in result if row.against == against]
        expected = [pair for pair in reference if pair.variant == "mid"]
        assert len(local) == len(expected) == 4
        for row, pair in zip(local, expected, strict=True):
            assert all(
                getattr(row, name) == getattr(pair, name)
                or same(getattr(row, name), getattr(pair, name))
                for name in shared
            )
    vision = next(row for row in result if row.task == "charts" and row.against == "in")
    assert vision.difference == pytest.approx((24 - 20) / 40)
    assert vision.n == 40


def test_only_samples_that_both_answered() -> None:
    lost = [
        replace(r, correct=None, failure="timeout")
        if r.variant == "mid" and r.sample == "q0" and r.task == "charts"
        else r
        for r in RECORDS
    ]
    row = next(row for row in differences_for(lost, "mid", ["in"]) if row.task == "charts")
    assert (row.n, row.dropped) == (39, 1)
    score = next(
        s for s in scores_for(make_results(lost, summary()), "mid", []) if s.task == "charts"
    )
    assert (score.n, score.missing) == (39, 1)


def test_unknown_names() -> None:
    with pytest.raises(
        SurgeryError, match=r"^the run has no variant 'midd'\. Did you mean 'mid'\?"
    ):
        scores_for(RESULTS, "midd", [])
    with pytest.raises(SurgeryError, match=r"no variant 'sft'\. Expected one of: in, rl, mid"):
        scores_for(RESULTS, "mid", ["sft"])
    with pytest.raises(SurgeryError, match="no variant 'midd'"):
        differences_for(RECORDS, "midd", ["in"])
    with pytest.raises(SurgeryError, match="no variant 'sft'"):
        differences_for(RECORDS, "mid", ["sft"])
    with pytest.raises(SurgeryError, match="no variant 'sft'"):
        index_scores(RESULTS, ["sft"])


def test_index() -> None:
    scores, differences = index_scores(RESULTS, ["mid", "in"])
    assert [(score.variant, score.task) for score in scores] == [
        ("mid", "all m_vis"), ("mid", "math500"), ("in", "all m_vis"), ("in", "math500"),
    ]  # fmt: skip
    assert repr(scores[0]) in map(repr, scores_for(RESULTS, "mid", []))  # nan is not nan
    assert {(pair.variant, pair.against) for pair in differences} == {("mid", "in")}
    assert differences[0].difference == pytest.approx(0.1)
    alone = make_results(RECORDS, summary(against=None))
    assert index_scores(alone, ["mid"])[1] == []


def test_the_variant_of_a_fingerprint() -> None:
    assert variant_of(summary(), "3" * 64) == "mid"
    assert variant_of(summary(), "1" * 64) == "in"
    twice = summary()
    twice["variants"][0]["fingerprint"] = "3" * 64
    assert variant_of(twice, "3" * 64) == "mid"  # made by steps, though `in` comes first
    with pytest.raises(SurgeryError) as error:
        variant_of(summary(), "abcdef" * 10)
    assert str(error.value) == (
        "the model has the fingerprint abcdefabcdef, and no variant of the run has it: the run "
        "scored other weights, or another configuration, tokenizer or processor. It scored "
        "in (111111111111), rl (222222222222), mid (333333333333). Score the model itself with "
        "'surgery eval', and give that run."
    )
    with pytest.raises(SurgeryError, match=r"x \(no fingerprint\)"):
        variant_of({"variants": [{"name": "x"}]}, "ab")


def test_models_as_they_are() -> None:
    assert plain_variants(summary()) == ["in", "rl"]
    adapted = plain("lora", AdapterReference("org/base", "org/adapter"))
    more = summary()["variants"] + [
        {"name": "lora", "recipe": to_yaml(adapted.recipe)},
        {"name": "served", "recipe": None},
    ]
    assert plain_variants({"variants": more}) == ["in", "rl", "lora", "served"]


def entries(messages: dict, suite: str = "paper", records: list | None = None) -> dict:
    results = make_results(records or run_of(suite), messages)
    return eval_results(scores_for(results, "mid", ["in"]), "mid", messages)


def test_entries_for_the_hub() -> None:
    files = entries(summary())
    assert list(files) == ["paper-general-vqa.yaml", "paper-math500.yaml"]  # paper has no charts
    (entry,) = files["paper-general-vqa.yaml"]
    assert entry["dataset"] == {"id": "AI4Math/MathVista", "task_id": "general-vqa-m_vis"}
    assert entry["value"] == 0.6
    low, high = next(
        (row.low, row.high) for row in scores_for(RESULTS, "mid", []) if row.task == "general-vqa"
    )
    assert entry["notes"] == (
        f"M_vis (arXiv 2602.12395), share of 40 samples, drawn with seed 123; 95% interval "
        f"{low:.4f} to {high:.4f}; style plain; grader strict; greedy; at most 2048 new tokens; "
        f"vlm-surgery 0.9"
    )
    assert set(entry) == {"dataset", "value", "notes"}
    for file in files.values():
        (back,) = parse_eval_result_entries(yaml.safe_load(yaml.safe_dump(file)))
        assert 0 <= back.value <= 1
    assert files == entries(summary())


def accuracy(suite: str, right: list[bool | None]) -> list:
    return texts("mid", right, metric=Metric.ACCURACY, suite=suite, task=suite)


def test_only_a_whole_benchmark_has_its_own_task_id() -> None:
    right = [True] * 15 + [False] * 5

    def id_of(messages: dict, right: list[bool | None] = right) -> tuple[str, str]:
        (entry,) = entries(messages, records=accuracy("gsm8k", right))["gsm8k.yaml"]
        assert entry["dataset"]["id"] == "openai/gsm8k"
        assert entry["value"] == 0.75
        return entry["dataset"]["task_id"], entry["notes"]

    alone = {"against": None, "base": None, "donor": None}
    name, notes = id_of(summary(**alone))
    assert name == "gsm8k"
    assert notes.startswith("accuracy, share of 20 samples; 95% interval")
    assert id_of(summary(**alone, samples=20))[0] == "gsm8k-n20"
    name, notes = id_of(summary(**alone), [*right, None, None])
    assert name == "gsm8k-n20"
    assert "; 2 more samples without a response;" in notes
    unsaid = summary(**alone)
    del unsaid["samples"], unsaid["seed"]
    name, notes = id_of(unsaid)
    assert (name, "seed" in notes) == ("gsm8k-n20", False)


def test_settings_in_notes() -> None:
    warm = {"max_new_tokens": 64, "temperature": 0.7, "top_p": 0.9, "repeats": 4}
    (entry,) = entries(summary(generation=warm))["paper-math500.yaml"]
    assert "temperature 0.7, top-p 0.9, 4 answers each; at most 64 new tokens" in entry["notes"]
    crowded = [replace(r, cluster=f"{int(r.sample[1:]) // 2}") for r in run_of("paper")]
    (entry,) = entries(summary(), records=crowded)["paper-general-vqa.yaml"]
    assert "; 20 independent groups;" in entry["notes"]
    guessed = [replace(r, guessed=r.sample in {"q0", "q1"}) for r in run_of("paper")]
    (entry,) = entries(summary(), records=guessed)["paper-math500.yaml"]
    assert "; 2 answers guessed, as the responses mark none;" in entry["notes"]
    bare = {"variants": summary()["variants"], "against": None}
    (entry,) = entries(bare)["paper-math500.yaml"]
    assert entry["notes"].count(";") == 1


def test_no_entry_without_a_data_set_or_a_number() -> None:
    assert entries(summary(), "receipts") == {}
    assert entries(summary(), "specimen") == {}
    # A suite of one's own that is called as a published one, but scored otherwise.
    other = texts("mid", [True, False], suite="gsm8k", task="gsm8k")
    text = summary(against=None, base=None, donor=None)
    assert entries(text, records=other) == {}
    assert entries(text, records=accuracy("gsm8k", [None, None])) == {}


def test_every_part_of_every_suite_has_an_entry_of_its_own() -> None:
    row = Score("mid", "", "", "", "", 0.5, 0.4, 0.6, 100, 100, 0, 0, nan)
    rows = [
        replace(row, suite=suite, task=part.name, measure=str(part.metric))
        for suite, entry in SUITES.items()
        for part in entry.parts
    ]
    files = eval_results(rows, "mid", summary())
    assert len(files) == len(rows)
    results = [
        (e["dataset"]["id"], e["dataset"]["task_id"]) for file in files.values() for e in file
    ]
    assert len(set(results)) == len(results)
    local = {suite for suite, entry in SUITES.items() if entry.samples is None}
    assert local <= {task for _, task in results}
    assert not local & {task for _, task in results if "m_" in task}


def test_model_index() -> None:
    text = summary()
    records = [
        *run_of("paper"),
        *(
            r
            for name in CELLS
            for r in paired(name, Metric.VISION, CELLS[name], suite="my receipts", task="read")
        ),
    ]
    results = make_results(records, text)
    result = model_index(
        scores_for(results, "mid", ["in"]), "mid", text, "org/mid", tasks_with_images(results)
    )
    assert result == model_index(
        scores_for(results, "mid", ["in"]), "mid", text, "org/mid", tasks_with_images(results)
    )
    name, rows = model_index_to_eval_results(yaml.safe_load(yaml.safe_dump(result)))
    assert name == "org/mid"
    assert [(r.task_type, r.dataset_type, r.dataset_name, r.dataset_split) for r in rows] == [
        ("image-text-to-text", "AI4Math/MathVista", "MathVista", "testmini"),
        ("image-text-to-text", "paper", "paper", None),
        ("text-generation", "HuggingFaceH4/MATH-500", "MATH-500", "test"),
        ("image-text-to-text", "my-receipts", "my receipts", None),
    ]
    assert [(r.metric_type, r.metric_value) for r in rows][:2] == [("m_vis", 0.6)] * 2
    assert rows[0].metric_name.startswith("M_vis, general-vqa, n = 40, 95% interval 0.44")
    assert model_index([], "mid", text, "x") == []


def test_model_index_knows_configurations() -> None:
    text = summary(against=None, base=None, donor=None)
    results = make_results(accuracy("gsm8k", [True, False]), text)
    (item,) = model_index(
        scores_for(results, "mid", []), "mid", text, "x", tasks_with_images(results)
    )[0]["results"]
    assert item["dataset"]["config"] == "main"
    calls = [
        record("mid", f"q{i}", True, metric=Metric.ACCURACY, condition=Condition.IMAGE,
               suite="mmmu", task="mmmu")
        for i in range(3)
    ]  # fmt: skip
    results = make_results(calls, text)
    (item,) = model_index(
        scores_for(results, "mid", []), "mid", text, "x", tasks_with_images(results)
    )[0]["results"]
    assert item["task"]["type"] == "image-text-to-text"
    assert "config" not in item["dataset"]  # thirty of them


def test_a_score_without_a_number_stays_on_the_card() -> None:
    text = summary(against=None, base=None, donor=None)
    results = make_results(accuracy("gsm8k", [None]), text)
    (row,) = scores_for(results, "mid", [])
    assert same(row.value, nan)
    assert row.missing == 1
    assert model_index([row], "mid", text, "x") == []
