from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from surgery.report.probes.terminal import bars
from tests.report.probes.made_tables import ablated, attended, swapped
from tests.support.tables import but

if TYPE_CHECKING:
    from surgery.runs import RunTables


def _printed_lines(run_tables: RunTables, *, ascii_only: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=160, highlight=False)
    for part in bars(run_tables, ascii_only=ascii_only):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def _header(run_tables: RunTables, width: int) -> list[str]:
    (_, table) = bars(run_tables, width=width)
    return [str(column.header) for column in table.columns if column.header]  # type: ignore[union-attr]


def _with(
    run_tables: RunTables, metric: str, numbers: dict[tuple[str, int | None], float]
) -> RunTables:
    """Other values of a metric, by task and layer."""
    table = run_tables.layers.copy()
    for (task, layer), value in numbers.items():
        position = table["layer"].isna() if layer is None else table["layer"] == layer
        position = position.fillna(False) & (table["task"] == task) & (table["metric"] == metric)
        assert position.sum() == 1
        table.loc[position, "value"] = value
    return but(run_tables, layers=table)


def test_ablation_is_a_bar_per_layer_with_the_intact_score_below() -> None:
    nan = float("nan")
    drops = {
        ("read", 0): 1.0, ("read", 1): -0.004, ("read", 2): nan, ("read", 3): 0.0416,
        ("count", 0): 0.0, ("count", 1): 0.25, ("count", 2): 0.5, ("count", 3): -1.0,
        ("all", 0): 0.5, ("all", 1): -0.125, ("all", 2): nan, ("all", 3): -0.0,
    }  # fmt: skip
    result = _with(ablated(layers=4), "accuracy drop", drops)
    levels = {("read", None): 0.875, ("count", None): 0.5, ("all", None): 0.6875}
    assert _printed_lines(_with(result, "accuracy", levels)) == [
        "in, layer: loss when ablated (percentage points), n = 5",
        " layer                                  all  read  count",
        "     0 early ████████████████████████  50.0 100.0    0.0",
        "     1 mid   ------                   -12.5  -0.4   25.0",
        "     2 late                               -     -   50.0",
        "     3                                  0.0   4.2 -100.0",
        "intact                                 68.8  87.5   50.0",
    ]


def test_every_kind_of_change_has_its_own_bars() -> None:
    result = ablated(("read",), 6, whats=("attention", "mlp"))
    lines = _printed_lines(result)
    for kind in ("attention", "mlp"):
        start = lines.index(f"in, {kind}: loss when ablated (percentage points), n = 5")
        rows = result.layers[(result.layers["what"] == kind) & result.layers["layer"].notna()]
        values = rows[rows["metric"] == "accuracy drop"]["value"]
        messages = [line.split()[-1] for line in lines[start + 2 : start + 8]]
        assert messages == [f"{100 * value:z.1f}" for value in values]
        levels = result.layers[(result.layers["what"] == kind) & result.layers["layer"].isna()]
        (level,) = levels["value"]
        assert lines[start + 8].split() == ["intact", f"{100 * level:.1f}"]


def test_bars_are_in_proportion_to_the_largest_either_way() -> None:
    numbers = {("read", n): (n + 1) / 9 * (-1) ** n for n in range(9)}
    lines = _printed_lines(_with(ablated(("read",)), "accuracy drop", numbers))[2:-1]
    lengths = [line.count("█") or line.split()[-2].count("-") for line in lines]
    assert lengths == [round(24 * (n + 1) / 9) for n in range(9)]
    assert ["█" in line for line in lines] == [n % 2 == 0 for n in range(9)]


def test_plain_letters() -> None:
    result = ablated(("read",))
    plain, fine = _printed_lines(result, ascii_only=True), _printed_lines(result)
    assert all(line.isascii() for line in plain)
    assert plain == [line.replace("█", "#") for line in fine]
    assert any("#" in line for line in plain)


def test_log_probabilities_are_nats_and_no_percentages() -> None:
    result = _with(ablated(("read",), 3, likely=True), "logprob drop", {("read", 1): -1.234})
    lines = _printed_lines(_with(result, "logprob", {("read", None): -20.5}))
    assert lines[3].split()[-1] == "-1.23"
    assert lines[5].split() == ["intact", "-20.50"]


def test_only_the_layers_that_were_asked_for_with_the_regions_that_begin_there() -> None:
    lines = _printed_lines(ablated(("read",), only=(3, 4, 7)))
    assert [line.split()[0] for line in lines[2:]] == ["3", "4", "7", "intact"]
    regions = [name in " ".join(lines[1:]) for name in ("early", "mid", "late")]
    assert regions == [False, True, False]


@pytest.mark.parametrize("mode", ["from", "only"])
def test_swap_shows_how_often_the_source_is_answered_and_no_intact_row(mode: str) -> None:
    result = swapped(mode=mode)
    lines = _printed_lines(result)
    assert lines[0] == f"rl, {mode}: answers that follow the source image (% of pairs), n = 12"
    assert lines[1].split() == ["layer", "all", "read", "count"]
    assert len(lines) == 2 + 9
    table = result.layers[(result.layers["metric"] == "source") & result.layers["layer"].notna()]
    for line in lines[2:]:
        layer = int(line.split()[0])
        rows = table[table["layer"] == layer].set_index("task")["value"]
        messages = [f"{100 * rows[task]:z.1f}" for task in ("all", "read", "count")]
        assert line.split()[-3:] == messages


def test_attention_shows_the_whole_response_model_by_model_and_the_difference() -> None:
    result = attended()
    lines = _printed_lines(result)
    heads = [line for line in lines if ":" in line]
    assert [head.partition(" (%")[0] for head in heads] == [
        f"{model}, response: attention to the image" for model in ("in", "rl", "rl - in")
    ]
    table = result.layers[
        (result.layers["what"] == "response")
        & (result.layers["metric"] == "image share")
        & (result.layers["task"] == "all")
    ]
    for head, model in zip(heads, ("in", "rl", "rl - in"), strict=True):
        start = lines.index(head) + 2
        values = table[table["model"] == model]["value"]
        messages = [line.split()[-3] for line in lines[start : start + 9]]
        assert messages == [f"{100 * value:z.1f}" for value in values]


def test_tasks_beyond_those_with_room_stay_in_the_tables() -> None:
    tasks = [f"t{n}" for n in range(12)]
    assert _header(ablated(tasks), 160) == ["layer", "all", *tasks]
    assert _header(ablated(tasks), 80) == ["layer", "all", *tasks[:5]]
    assert _header(ablated(tasks), 20) == ["layer", "all"]
    assert _header(ablated(["t0", "a-very-long-task-name"]), 80)[-1] == "a-very-long..."


def test_text_alone_says_nothing_about_the_image() -> None:
    assert _printed_lines(attended(metrics=("text share", "entropy"))) == []
