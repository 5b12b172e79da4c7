"""`surgery profile` as people meet it, over runs of the specimen."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from scipy import stats

from tests.cli.probing import bare, call, layers_of, names_in, refused
from tests.support.files import lasting

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Surgery = Callable[..., subprocess.CompletedProcess[str]]

PROBES = {
    "ablation": ("ablation", "specimen:in", "--suite", "mine.yaml", "--score", "logprob"),
    "some": ("ablation", "specimen:in", "--suite", "mine.yaml", "--score", "logprob", "--layers",
             "early"),
    "swap": ("vision-swap", "specimen:rl", "--pairs", "specimen", "--samples", 2),
    "few": ("vision-swap", "specimen:rl", "--pairs", "specimen", "--samples", 2, "--layers",
            "2:5, 8"),
    "only": ("vision-swap", "specimen:rl", "--pairs", "specimen", "--samples", 2, "--mode", "only",
             "--layers", "4"),
    "attention": ("attention", "specimen:in", "specimen:rl", "--suite", "specimen", "--samples", 1,
                  "--text", "in"),
}  # fmt: skip
SWEEP = """models:
  in: specimen:in
  rl: specimen:rl
base: in
donor: rl
variants: {layers: [language]}
suites: [mine.yaml]
"""
ALL = ("stats", "ablation", "swap", "attention", "sweep")
COLUMNS = [
    "layer", "update in..rl", "ablation logprob layer: sums", "swap from: counting",
    "swap from: ocr", "swap from: recognition", "swap from: grounding", "swap from: all",
    "attention to image, in", "attention to image, rl", "attention to image, rl - in",
    "transplant m_rea: sums",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of each kind."""
    root = tmp_path_factory.mktemp("runs")
    rows = [{"prompt": f"{a}+{b}=?", "answer": str(a + b), "id": f"{a}{b}"}
            for a in (1, 4) for b in (2, 5)]  # fmt: skip
    (root / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "mine.yaml").write_text(
        "name: sums\nrows: sums.jsonl\nmetric: m_rea\nkind: number\nmax_new_tokens: 24\n"
    )
    (root / "sweep.yaml").write_text(SWEEP)
    call(root, "stats", "--in=specimen:in", "--rl=specimen:rl", "--spectrum", "none", "-q",
         "--out", "stats")  # fmt: skip
    call(root, "sweep", "sweep.yaml", "--processes", 1, "-q", "--out", "sweep")
    for name, command in PROBES.items():
        call(root, "probe", *command, "-q", "--out", name)
    return root


@pytest.fixture
def runs(root: Path, tmp_path: Path) -> Path:
    """The same in a folder where they may be changed."""
    for name in (*PROBES, "stats", "sweep"):
        shutil.copytree(root / name, tmp_path / name)
    return tmp_path


def lined(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "profile.csv")


@pytest.fixture
def whole(runs: Path, surgery: Surgery) -> subprocess.CompletedProcess[str]:
    return surgery("profile", *ALL, "--out", "lined")


def test_a_column_of_every_run_and_a_row_of_every_layer(
    whole: subprocess.CompletedProcess[str], runs: Path
) -> None:
    assert (whole.returncode, whole.stderr) == (0, "")
    assert names_in(runs / "lined") == {
        "profile.csv", "correlations.csv", "run.json", "profile.png", "correlations.png"
    }  # fmt: skip
    table = lined(runs / "lined")
    assert list(table.columns) == COLUMNS
    assert list(table["layer"]) == list(range(9))
    for name in ("profile.png", "correlations.png"):
        assert (runs / "lined" / name).read_bytes().startswith(b"\x89PNG")
    record = json.loads((runs / "lined" / "run.json").read_text())
    expected = {
        "kind": "profile", "format": 1, "status": "ended", "layers": 9,
        "regions": {"early": [0, 3], "mid": [3, 6], "late": [6, 9]}, "runs": list(ALL),
    }  # fmt: skip
    assert expected.items() <= record.items()


def test_columns_are_the_runs_own_numbers(
    whole: subprocess.CompletedProcess[str], runs: Path
) -> None:
    table = lined(runs / "lined").set_index("layer")

    def rows(run: str, **expected: object) -> list[float]:
        layers = layers_of(runs / run)
        layers = layers[layers["layer"].notna()]
        for column, value in expected.items():
            layers = layers[layers[column] == value]
        return layers["value"].tolist()

    update = pd.read_csv(runs / "stats" / "layers.csv").query(
        "component == 'language' and group == 'all'"
    )
    assert table["update in..rl"].tolist() == update["relative_delta"].tolist()
    lost = rows("ablation", metric="logprob drop", task="sums")
    assert table["ablation logprob layer: sums"].tolist() == lost
    for model in ("in", "rl", "rl - in"):
        shares = rows("attention", model=model, task="all", what="response", metric="image share")
        assert table[f"attention to image, {model}"].tolist() == shares
    pairs = pd.read_csv(runs / "sweep" / "pairs.csv", keep_default_na=False)
    pairs = pairs[(pairs["measure"] == "m_rea") & (pairs["task"] == "sums")]
    moved = pairs.set_index("variant")["difference"]
    expected = [moved[f"rl@language.{layer}"] for layer in range(9)]
    assert table["transplant m_rea: sums"].tolist() == expected
    # A swap from a layer on is told as what is lost when the next layer is the first.
    rates = rows("swap", metric="source", task="all")
    layers = layers_of(runs / "swap")
    (unswapped,) = layers[
        layers["layer"].isna() & (layers["task"] == "all") & (layers["metric"] == "source")
    ]["value"]
    steps = [a - b for a, b in zip(rates, [*rates[1:], unswapped], strict=True)]
    assert table["swap from: all"].tolist() == pytest.approx(steps)
    assert sum(table["swap from: all"]) == pytest.approx(rates[0] - unswapped)


def test_correlations_are_spearmans_of_the_columns(
    whole: subprocess.CompletedProcess[str], runs: Path
) -> None:
    table = lined(runs / "lined")
    csv = pd.read_csv(runs / "lined" / "correlations.csv")
    assert list(csv.columns) == ["a", "b", "rho", "low", "high", "p", "p_holm", "n"]
    names = COLUMNS[1:]
    expected = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    assert list(zip(csv["a"], csv["b"], strict=True)) == expected
    assert (csv["n"] == 9).all()
    constant = {name for name in names if table[name].nunique() == 1}
    assert len(constant) < 5
    for row in csv.itertuples():
        if {row.a, row.b} & constant:
            assert pd.isna(row.rho)
            assert (row.low, row.high) == (-1, 1)
        else:
            correlation = stats.spearmanr(table[row.a], table[row.b])
            assert row.rho == pytest.approx(correlation.statistic)
            assert row.p == pytest.approx(correlation.pvalue, abs=1e-9)
            assert row.low <= row.rho <= row.high
    # Only questions about the update are many questions.
    selected = csv[csv["a"].str.startswith("update") & csv["rho"].notna()]
    assert (selected["p_holm"] >= selected["p"]).all()
    assert csv[~csv["a"].str.startswith("update")]["p_holm"].isna().all()
    smallest = selected.sort_values("p").iloc[0]
    assert smallest["p_holm"] == pytest.approx(min(1, len(selected) * smallest["p"]))


def test_the_terminal_shows_what_goes_with_the_update(
    whole: subprocess.CompletedProcess[str], runs: Path
) -> None:
    lines = whole.stdout.splitlines()
    assert lines[0].split() == ["over", "9", "layers", "and", "rank", "correlation", "95%",
                                "interval", "p", "(Holm)"]  # fmt: skip
    table = pd.read_csv(runs / "lined" / "correlations.csv")
    about = table[table["a"].str.startswith("update")]
    assert len(lines) == 1 + len(about) + 1
    for line, row in zip(lines[1:], about.itertuples(), strict=False):
        assert line.startswith(f"{row.a}  {row.b} ")
        text = (
            f"{row.rho:z.2f} {row.low:z.2f} to {row.high:z.2f} {row.p_holm:.2g}"
            if row.rho == row.rho
            else "- constant -"
        )
        assert " ".join(line.split()).endswith(text)
    assert lines[-1] == (
        "profile.csv, correlations.csv and profile.png, correlations.png are in lined"
    )


def test_without_an_update_the_strongest_correlations_are_shown(
    runs: Path, surgery: Surgery
) -> None:
    done = surgery("profile", "attention", "ablation", "--out", "lined")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1 + 6 + 1
    names = [*COLUMNS[8:11], COLUMNS[2]]
    text = [" ".join(line.split()) for line in done.stdout.splitlines()[1:-1]]
    expected = [f"{a} {b} " for place, a in enumerate(names) for b in names[place + 1 :]]
    assert {pair for line in text for pair in expected if line.startswith(pair)} == set(expected)
    strength = [abs(float(line.split(" ")[-5])) for line in text if " to " in line]
    assert strength == sorted(strength, reverse=True)


def test_json_is_json_and_quiet_is_quiet(runs: Path, surgery: Surgery) -> None:
    done = surgery("profile", *ALL, "--out", "lined", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert list(record) == ["layers", "correlations"]
    assert [list(row) for row in record["layers"]] == [COLUMNS] * 9
    table = lined(runs / "lined").to_dict("records")
    assert record["layers"] == [pytest.approx(row, nan_ok=True) for row in table]
    written = pd.read_csv(runs / "lined" / "correlations.csv")
    assert [row["rho"] is None for row in record["correlations"]] == written["rho"].isna().tolist()
    done = surgery("profile", *ALL, "--out", "lined", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_same_runs_give_the_same_bytes(runs: Path, surgery: Surgery) -> None:
    for name in ("one", "two"):
        assert surgery("profile", *ALL, "--out", name, "-q").returncode == 0
    assert lasting(runs / "one") == lasting(runs / "two")


def test_one_column_goes_with_nothing_and_leaves_no_picture_of_it(
    runs: Path, surgery: Surgery
) -> None:
    assert surgery("profile", "stats", "ablation", "--out", "lined").returncode == 0
    done = surgery("profile", "stats", "--out", "lined")
    assert (done.returncode, done.stderr) == (0, "")
    assert "correlations.png" not in done.stdout
    assert not (runs / "lined" / "correlations.png").exists()
    assert pd.read_csv(runs / "lined" / "correlations.csv").empty


# --- some layers only


def test_a_run_of_some_layers_is_of_the_same_model(runs: Path, surgery: Surgery) -> None:
    done = surgery("profile", "some", "ablation", "--out", "lined")
    assert done.returncode == 0, done.stderr
    table = lined(runs / "lined")
    assert len(table) == 9
    column = table["ablation logprob layer: sums"]
    assert column.isna().tolist() == [False] * 3 + [True] * 6
    again = table["ablation logprob layer: sums (ablation)"]
    assert column[:3].tolist() == pytest.approx(again[:3].tolist(), abs=1e-4)
    assert pd.read_csv(runs / "lined" / "correlations.csv")["n"].tolist() == [3]


def test_what_a_layer_hands_on_is_known_where_the_next_one_is(runs: Path, surgery: Surgery) -> None:
    done = surgery("profile", "few", "swap", "only", "--out", "lined")
    assert done.returncode == 0, done.stderr
    table = lined(runs / "lined")
    few, all_ = table["swap from: all"], table["swap from: all (swap)"]
    known_names = [2, 3, 8]  # 4 is followed by 8, which says nothing of it alone
    assert few.dropna().index.tolist() == known_names
    assert few[known_names].tolist() == pytest.approx(all_[known_names].tolist())
    assert table["swap only: all"].dropna().index.tolist() == [4]


# --- names


def test_runs_of_one_kind_keep_apart(runs: Path, surgery: Surgery) -> None:
    """Three models with the same probe, in folders of one name."""
    for model, factor in (("a", 1), ("b", 2), ("c", 3)):
        shutil.copytree(runs / "ablation", runs / model / "ablation")
        table = layers_of(runs / model / "ablation")
        table["value"] *= factor
        table.to_csv(runs / model / "ablation" / "layers.csv", index=False)
    done = surgery("profile", "a/ablation", "b/ablation", "c/ablation", "--out", "lined")
    assert done.returncode == 0, done.stderr
    table = lined(runs / "lined").set_index("layer")
    name = "ablation logprob layer: sums"
    assert list(table) == [name, f"{name} (ablation)", f"{name} (c/ablation)"]
    for column, factor in zip(table, (1, 2, 3), strict=True):
        assert table[column].tolist() == pytest.approx((factor * table[name]).tolist())


# --- faults


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "RUN..."),
        (("nowhere",), "nowhere is not a folder"),
        (("stats", "empty"), "empty holds no run"),
        (("stats", "longer"), "longer is about 12 decoder layers, stats about 9"),
        (("longer", "ablation", "stats"), "ablation is about 9 decoder layers, longer about 12"),
        (("vision",), "vision has no per-layer results"),
        (("stats", "broken"), "run.json cannot be read"),
        (("stats", "half"), "the run in half has not ended"),
    ],
)
def test_faults_cost_one_paragraph_and_leave_nothing(
    runs: Path, surgery: Surgery, arguments: tuple[str, ...], message: str
) -> None:
    (runs / "empty").mkdir()
    shutil.copytree(runs / "ablation", runs / "longer")
    summary = json.loads((runs / "longer" / "run.json").read_text())
    (runs / "longer" / "run.json").write_text(json.dumps(summary | {"layers": 12}))
    shutil.copytree(runs / "stats", runs / "vision")
    table = pd.read_csv(runs / "stats" / "layers.csv")
    table[table["component"] == "vision"].to_csv(runs / "vision" / "layers.csv", index=False)
    shutil.copytree(runs / "ablation", runs / "broken")
    (runs / "broken" / "run.json").write_text("{")
    shutil.copytree(runs / "ablation", runs / "half")
    (runs / "half" / "layers.csv").unlink()
    done = surgery("profile", *arguments, "--out", "lined")
    refused(done, message)
    assert not (runs / "lined").exists()


def test_stats_of_another_model_do_not_line_up(runs: Path, surgery: Surgery) -> None:
    summary = json.loads((runs / "stats" / "run.json").read_text())
    summary["regions"]["language"]["late"] = [6, 7]
    (runs / "stats" / "run.json").write_text(json.dumps(summary))
    done = surgery("profile", "ablation", "stats", "--out", "lined")
    assert done.returncode == 2
    assert "stats is about 7 decoder layers, ablation about 9" in bare(done)
    assert "Only runs of one architecture can be aligned" in bare(done)


def test_a_file_in_the_way_of_the_folder(runs: Path, surgery: Surgery) -> None:
    (runs / "lined").write_text("mine")
    done = surgery("profile", "stats", "--out", "lined")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert (runs / "lined").read_text() == "mine"
