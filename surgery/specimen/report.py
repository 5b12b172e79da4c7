"""What ships beside the weights: held-out scores, paired differences, training logs, curves."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, Final

from surgery.specimen.arms import ARMS
from surgery.specimen.build import load
from surgery.specimen.evaluate import captions_exact
from surgery.specimen.journal import COLUMNS, read_journal
from surgery.specimen.scores import (
    Difference,
    Score,
    arms_table,
    costs_table,
    differences,
    read_answers,
    scored,
    table,
    write_records,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Log = Sequence[Mapping[str, str]]

_EVERY: Final = 10  # steps averaged into one row of the compact logs
_RL: Final = ("reward", "reward.correct", "reward.format", "length", "kl", "entropy", "loss",
              "token_accuracy", "grad_norm")  # fmt: skip


def write_report(out: Path, seeds: int, captions: int) -> None:
    """Scores, differences, logs and curves of a whole run into its folder `report`.

    Args:
        out: The run's folder; its jobs are done.
        seeds: How many families it has.
        captions: How many of them Base is asked for.
    """
    folder = out / "report"
    folder.mkdir(exist_ok=True)
    names = ["base", "in", *(arm.name for arm in ARMS)]
    scores: list[Score] = []
    against: list[Difference] = []
    for seed in range(seeds):
        home = out / f"seed-{seed}"
        answers = {
            n: read_answers(home / f"{n}.csv") for n in names if (home / f"{n}.csv").exists()
        }
        for name, its in answers.items():
            scores += scored(seed, name, its)
            for other in ("in", "rl"):
                if name not in ("base", "in", other):
                    against += differences(seed, name, its, other, answers[other])
    write_records(folder / "heldout.csv", scores)
    write_records(folder / "differences.csv", against)
    cold, arms = _logs(out, seeds)
    _write_log(folder / "cold.csv", ("seed", *COLUMNS), cold)
    _write_log(folder / "arms.csv", ("seed", "checkpoint", "step", *_RL, "seconds"), arms)
    draw_curves(cold, arms, folder / "curves.png")
    greedy = [s for s in scores if s.way == "greedy"]
    gains = [d for d in against if d.way == "greedy"]
    for lines in (
        table(greedy, gains),
        arms_table(greedy, names),
        costs_table(gains, names[3:]),
        _captions(out / "base", captions),
    ):
        print("\n".join(lines), end="\n\n", flush=True)


def _captions(base: Path, n: int) -> list[str]:
    whole, cells = captions_exact(*load(base), n)
    return [f"base: captions right in full {whole:.1%}, cells {cells:.1%}"]


def _logs(out: Path, seeds: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """All steps of all seeds, averaged: the cold start's and the arms'."""
    cold: list[dict[str, str]] = []
    arms: list[dict[str, str]] = []
    for seed in range(seeds):
        home = out / f"seed-{seed}"
        steps = list(read_journal(home / "cold.csv"))
        for stage in dict.fromkeys(row["stage"] for row in steps):
            mine = [row for row in steps if row["stage"] == stage]
            told = {"seed": str(seed), "stage": stage}
            cold += [told | row for row in compact(mine, ("loss", "grad_norm"))]
        for arm in ARMS:
            path = home / arm.name / "log.csv"
            if path.exists():
                told = {"seed": str(seed), "checkpoint": arm.name}
                arms += [told | row for row in compact(list(read_journal(path)), _RL)]
    return cold, arms


def compact(rows: Log, columns: Sequence[str]) -> list[dict[str, str]]:
    """Every ten steps as one row of means; `seconds` is their sum."""
    out = []
    for start in range(0, len(rows), _EVERY):
        group = rows[start : start + _EVERY]
        row = {"step": group[0]["step"]}
        for name in columns:
            values = [float(r[name]) for r in group if r.get(name) not in (None, "", "nan")]
            row[name] = f"{sum(values) / len(values):.4g}" if values else ""
        row["seconds"] = f"{sum(float(r['seconds']) for r in group):.1f}"
        out.append(row)
    return out


def _write_log(path: Path, columns: Sequence[str], rows: Log) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def draw_curves(cold: Log, arms: Log, path: Path) -> None:
    """Losses of the cold start by stage; rewards, length and divergence of the arms."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    stages = list(dict.fromkeys(row["stage"] for row in cold))
    figure = Figure(figsize=(9, 5), layout="constrained")
    panels = figure.subplots(2, max(4, len(stages)))
    for panel, stage in zip(panels[0], stages, strict=False):
        for seed in dict.fromkeys(row["seed"] for row in cold):
            mine = [r for r in cold if (r["seed"], r["stage"]) == (seed, stage)]
            _line(panel, mine, "loss", f"seed {seed}")
        panel.set_yscale("log")
        panel.yaxis.set_minor_formatter(NullFormatter())
        _finish(panel, f"{stage}: loss")
    panels[0][0].legend(frameon=False, fontsize=7)
    seeds = [row for row in arms if row["checkpoint"] == "rl"]
    for seed in dict.fromkeys(row["seed"] for row in seeds):
        _line(panels[1][0], [r for r in seeds if r["seed"] == seed], "reward", f"seed {seed}")
    _finish(panels[1][0], "rl: reward")
    first = [row for row in arms if row["seed"] == "0" and row["checkpoint"] != "supervised"]
    for panel, column, title in zip(
        panels[1][1:],
        ("reward.correct", "length", "kl"),
        ("seed 0: share right", "tokens per response", "divergence from IN"),
        strict=False,
    ):
        for name in dict.fromkeys(row["checkpoint"] for row in first):
            mine = [row for row in first if row["checkpoint"] == name]
            _line(panel, mine, column, name.removeprefix("rl-"))
        _finish(panel, title)
    panels[1][1].legend(frameon=False, fontsize=6)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _finish(panel: Any, title: str) -> None:
    panel.set_title(title, fontsize=9)
    panel.set_xlabel("step", fontsize=8)
    panel.tick_params(labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)


def _line(panel: Any, rows: Log, column: str, label: str) -> None:
    points = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
    if points:
        panel.plot(*zip(*points, strict=True), label=label, linewidth=1.2)
