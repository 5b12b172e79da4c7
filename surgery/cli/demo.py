"""`surgery demo`: the paper's six variants of the specimen, merged, loaded and questioned."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from surgery.cli.console import print_json, program, stderr, stdout
from surgery.cli.options import Json, load_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from eval.records import Score
    from eval.sweep import Questions, Result
    from surgery.plan import Plan
    from surgery.stats.result import Stats

VARIANTS: Final = ("in-rl-rl", "rl-in-in", "in-in-rl", "rl-rl-in", "in-rl-in", "rl-in-rl")
"""Named by where the early, middle and late third of the decoder's layers come from."""

_MOST_PROCESSES = 4


def command(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the merged models go.")
    ] = Path("out/demo"),
    samples: Annotated[
        int, typer.Option(min=1, max=400, metavar="N", help="Held-out questions per task.")
    ] = 100,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="Which questions.")] = 0,
    json: Json = False,
) -> None:
    """Merge, load and question six variants of the specimen.

    Takes the tiny Base, IN and RL models that ship with this program, makes the six splices of
    arXiv 2602.12395 from the recipes specimen/*, loads each with plain transformers, asks it
    held-out image questions and prints one table; then measures what each stage of training did
    to the weights. Takes about a minute or two.
    """
    from eval.sweep import Questions

    start = time.monotonic()
    _say(f"[1/3] merging {len(VARIANTS)} variants of the specimen into {out}")
    plans = {name: _merge(name, out / name) for name in VARIANTS}
    questions = Questions(n=samples, seed=seed)
    folders = {**_stages(), **{name: out / name for name in VARIANTS}}
    count = samples * len(questions.tasks)
    _say(f"[2/3] asking {len(folders)} models the same {count} held-out questions")
    results = _ask(folders, questions)
    _say("[3/3] measuring what each stage of training changed in the weights")
    stats = _measure_updates(out / "stats")
    record = _record(folders, plans, results, questions, time.monotonic() - start)
    record["updates"] = stats.summary["totals"]
    _write(out / "demo.json", record)
    if json:
        print_json(record)
    else:
        _print(record, plans, out)
        _print_updates(stats, out / "stats")


def _say(text: str) -> None:
    stderr().print(text, style="bold", soft_wrap=True)


def _stages() -> dict[str, Path]:
    from surgery.specimen import family

    return family()


def _merge(name: str, folder: Path) -> Plan:
    """Make one variant, unless the folder already holds exactly it."""
    from surgery.execute.run import execute
    from surgery.recipe import load_recipe, opened

    recipe = load_recipe(f"specimen/{name}")
    start = time.monotonic()
    with opened(recipe) as checkpoints:
        plan = load_plan(recipe, checkpoints)
        kept = _is_made(folder, plan)
        if not kept:
            execute(plan, checkpoints, folder, overwrite=True)
    done = "verified, kept" if kept else f"merged in {time.monotonic() - start:.1f} s"
    _say_plain(f"      {name}  {_layers(plan)}  {done}")
    return plan


def _is_made(folder: Path, plan: Plan) -> bool:
    """Whether the folder holds what the plan would write, every byte proven."""
    from surgery.checkpoint.ledger import LEDGER, read_ledger
    from surgery.errors import SurgeryError
    from surgery.execute.verify import verify
    from surgery.recipe.dump import to_yaml

    if not (folder / LEDGER).is_file():
        return False
    try:
        ledger = read_ledger(folder)
        same = ledger.recipe == to_yaml(plan.recipe) and ledger.engine == "surgery"
        return same and verify(folder).ok
    except SurgeryError:  # damaged or of another version: it will be made anew
        return False


def _say_plain(text: str) -> None:
    stderr().print(text, soft_wrap=True)


def _layers(plan: Plan) -> str:
    """One letter per decoder layer, for the model it comes from."""
    from surgery.report.stack import letters, rows, symbol

    named = letters([plan.recipe.base, *(n for n in plan.recipe.models if n != plan.recipe.base)])
    row = next(row for row in rows(plan) if row.label == "language")
    return "".join(symbol(cell, named) for cell in row.cells)


def _ask(folders: Mapping[str, Path], questions: Questions) -> dict[str, Result]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from eval.sweep import sweep

    console = stderr()
    found: dict[str, Result] = {}
    columns = (TextColumn("      {task.description}"), BarColumn(bar_width=30))
    with Progress(
        *columns, MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("loading libraries and models", total=len(folders))
        for result in sweep(folders, questions, _processes()):
            found[result.name] = result
            progress.update(task, advance=1, description="models done")
            if not console.is_terminal:
                _say_plain(f"      {len(found)} of {len(folders)} models done: {result.name}")
    return {name: found[name] for name in folders}


def _processes() -> int:
    from surgery.execute.run import processors

    return min(processors(), _MOST_PROCESSES)


def _measure_updates(out: Path) -> Stats:
    """`surgery stats` of the two stages, every singular value included."""
    from surgery.cli.stats import measured
    from surgery.stats.options import Options, SpectrumKind

    references = {stage: f"specimen:{stage}" for stage in ("base", "in", "rl")}
    pairs = ("base..in", "in..rl")
    options = Options(pairs=pairs, spectrum=SpectrumKind.FULL, top=8)
    stats, _, _ = measured(references, options, out, quiet=True)
    return stats


def _print_updates(stats: Stats, out: Path) -> None:
    from surgery.report.stats.bars import bars

    console = stdout()
    console.print()
    console.print(bars(stats))
    console.print(
        f"\nfigures and tables of the weights are in {out}; next: {program()} stats --help"
    )


def _record(
    folders: Mapping[str, Path],
    plans: Mapping[str, Plan],
    results: Mapping[str, Result],
    questions: Questions,
    seconds: float,
) -> dict[str, Any]:
    return {
        "samples_per_task": questions.n,
        "seed": questions.seed,
        "tasks": list(questions.tasks),
        "interval": "95%, Wilson 1927",
        "seconds": round(seconds, 1),
        "models": [
            {
                "name": name,
                "folder": str(folder),
                "layers": _sources(plans[name]) if name in plans else None,
                "scores": {score.task: _score(score) for score in results[name].scores},
                # One digit per question, so that models can be compared question by question.
                "correct": {
                    task: "".join(str(int(grade.correct)) for grade in grades)
                    for task, grades in results[name].grades.items()
                },
            }
            for name, folder in folders.items()
        ],
    }


def _sources(plan: Plan) -> list[str]:
    """The model each decoder layer comes from."""
    from surgery.report.stack import rows

    row = next(row for row in rows(plan) if row.label == "language")
    return ["+".join(dict.fromkeys(cell.models)) if cell else "several" for cell in row.cells]


def _score(score: Score) -> dict[str, Any]:
    return {
        "n": score.n,
        "correct": score.correct,
        "answered": score.answered,
        "accuracy": round(score.accuracy, 6),
        "low": round(score.low, 6),
        "high": round(score.high, 6),
    }


def _write(path: Path, record: dict[str, Any]) -> None:
    import json

    from surgery.errors import ExecutionError

    try:
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ExecutionError(f"cannot write {path}: {error.strerror}.") from error


def _print(record: dict[str, Any], plans: Mapping[str, Plan], out: Path) -> None:
    console = stdout()
    console.print()
    console.print(_table(record, plans))
    n = record["samples_per_task"]
    silent = [
        model["name"]
        for model in record["models"]
        if not any(score["answered"] for score in model["scores"].values())
    ]
    lines = [
        "",
        "B base, I in, R rl: where each decoder layer comes from; all else comes from in.",
        f"Percent right of {n} held-out questions per task, greedy, with 95% Wilson intervals.",
        f"Every model answered the same questions. Where intervals overlap widely, {n} questions",
        f"do not tell the models apart; '{program()} demo --samples 400' asks more.",
        *(f"{name} gave no answer at all, not even a wrong one." for name in silent),
        "",
    ]
    console.print("\n".join(lines))
    console.print(f"models and demo.json are in {out}; next: {program()} plan specimen/in-rl-in")


def _table(record: dict[str, Any], plans: Mapping[str, Plan]) -> Table:
    from rich.table import Table

    first = next(iter(plans.values()))
    last = len(_sources(first)) - 1
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("variant", no_wrap=True)
    table.add_column(f"layers 0-{last}", no_wrap=True)
    for task in record["tasks"]:
        table.add_column(task, no_wrap=True)
    for model in record["models"]:
        name = model["name"]
        layers = _layers(plans[name]) if name in plans else name[0].upper() * (last + 1)
        cells = [_percent(model["scores"][task]) for task in record["tasks"]]
        table.add_row(name, layers, *cells, end_section=name == "rl")
    return table


def _percent(score: dict[str, Any]) -> str:
    low, high = (round(100 * score[end]) for end in ("low", "high"))
    return f"{round(100 * score['accuracy']):3d}  ({low}-{high})"
