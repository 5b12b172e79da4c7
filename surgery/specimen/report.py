"""What ships beside the weights: held-out table, compact training log, curves."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any, Final

from surgery.specimen import STAGES
from surgery.specimen.build import load
from surgery.specimen.evaluate import EVAL_TASKS, Score, captions_exact, score_task
from surgery.specimen.journal import COLUMNS, read_journal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_HELDOUT_COLUMNS: Final = (
    "stage", "task", "n", "correct", "accuracy", "low", "high", "majority", "full_chain",
)  # fmt: skip
_EVERY: Final = 5  # steps averaged into one row of the compact log


def write_report(out: Path, n: int) -> None:
    """Ask every checkpoint in `out` held-out questions; write heldout.csv, training.csv, curves.

    Args:
        out: The folder `train` wrote; the compact log and figure go to `out/report`.
        n: Held-out items per task.
    """
    folder = out / "report"
    folder.mkdir(exist_ok=True)
    scores = []
    for stage in STAGES:
        model, processor = load(out / stage)
        for task in EVAL_TASKS:
            scores.append(score_task(model, processor, stage, task, n))
            print(markdown_row(scores[-1]), flush=True)
        whole, cells = captions_exact(model, processor, min(n, 200))
        print(f"{stage}: captions right in full {whole:.1%}, cells {cells:.1%}", flush=True)
    write_heldout(folder / "heldout.csv", scores)
    rows = compact(list(read_journal(out / "training.csv")))
    with (folder / "training.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw_curves(rows, folder / "curves.png")


def markdown_row(score: Score) -> str:
    """One row of the README's held-out table."""
    chain = "" if math.isnan(score.full_chain) else f"{score.full_chain:.0%}"
    cells = (
        score.stage,
        score.task,
        f"{score.accuracy:.1%}",
        f"{score.low:.1%} to {score.high:.1%}",
        f"{score.majority:.1%}",
        chain,
    )
    return "| " + " | ".join(cells) + " |"


def write_heldout(path: Path, scores: Sequence[Score]) -> None:
    """Scores to csv."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HELDOUT_COLUMNS)
        for s in scores:
            chain = "" if math.isnan(s.full_chain) else f"{s.full_chain:.4f}"
            numbers = (s.accuracy, s.low, s.high, s.majority)
            writer.writerow(
                [s.stage, s.task, s.n, s.correct, *(f"{v:.4f}" for v in numbers), chain]
            )


def read_heldout(path: Path) -> list[Score]:
    """Scores back from `write_heldout`'s csv."""
    with path.open(newline="") as file:
        return [
            Score(
                stage=row["stage"],
                task=row["task"],
                n=int(row["n"]),
                correct=int(row["correct"]),
                low=float(row["low"]),
                high=float(row["high"]),
                majority=float(row["majority"]),
                full_chain=float(row["full_chain"] or "nan"),
            )
            for row in csv.DictReader(file)
        ]


def compact(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Every five steps of a stage as one row of means; `seconds` is their sum."""
    out: list[dict[str, str]] = []
    for start in _starts(rows):
        group = [r for r in rows[start : start + _EVERY] if r["stage"] == rows[start]["stage"]]
        row = {"stage": group[0]["stage"], "step": group[0]["step"]}
        for name in ("loss", "grad_norm", "reward", "full_chain"):
            values = [float(r[name]) for r in group if r[name] not in ("", "nan")]
            row[name] = f"{sum(values) / len(values):.4g}" if values else ""
        row["seconds"] = f"{sum(float(r['seconds']) for r in group):.1f}"
        out.append(row)
    return out


def _starts(rows: list[dict[str, str]]) -> list[int]:
    return [i for i, row in enumerate(rows) if int(row["step"]) % _EVERY == 0]


def draw_curves(rows: list[dict[str, str]], path: Path) -> None:
    """One panel per stage: the loss, or for GRPO reward and share of full chains."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    stages = list(dict.fromkeys(row["stage"] for row in rows))
    figure, panels = pyplot.subplots(-(-len(stages) // 3), 3, figsize=(9, 5), squeeze=False)
    for panel, stage in zip(panels.flat, stages, strict=False):
        mine = [row for row in rows if row["stage"] == stage]
        if stage == "grpo":
            _line(panel, mine, "reward", "reward")
            _line(panel, mine, "full_chain", "full chains")
            panel.set_ylim(0, 1)
            panel.legend(frameon=False, fontsize=8)
        else:
            _line(panel, mine, "loss", "loss")
            panel.set_yscale("log")
            panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_title(stage, fontsize=10)
        panel.set_xlabel("step", fontsize=8)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _line(panel: Any, rows: list[dict[str, str]], column: str, label: str) -> None:
    points = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
    panel.plot(*zip(*points, strict=True), label=label, linewidth=1.4)
