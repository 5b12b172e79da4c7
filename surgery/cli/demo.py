"""`surgery demo`: variants of the specimen merged and scored, its stages measured and probed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from surgery.cli.console import plain_json, plain_rows, print_json, program, stderr, stdout
from surgery.cli.options import Json
from surgery.cli.process import quiet_libraries
from surgery.cli.progress import AnswerProgress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surgery import MergePlan
    from surgery.runs import RunTables

PROBED: Final = "specimen:rl"
VARIANTS: Final = ("in-rl-rl", "rl-in-in", "in-in-rl", "rl-rl-in", "in-rl-in", "rl-in-rl")
"""Named by where the early, middle and late third of the decoder's layers come from."""


def command(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")
    ] = Path("out/demo"),
    samples: Annotated[
        int, typer.Option(min=1, max=400, metavar="N", help="Held-out questions per task.")
    ] = 50,
    seed: Annotated[
        int, typer.Option(min=0, metavar="S", help="Seed of the selection of questions.")
    ] = 0,
    json: Json = False,
) -> None:
    """Merge and evaluate six variants of the specimen.

    Uses the bundled tiny Base, IN and RL models. Merges the six splices of arXiv 2602.12395,
    evaluates all nine models on the same held-out questions with intervals, measures the weight
    updates of each training stage, and locates the layers at which RL reads an image. Takes one
    to two minutes on two CPU cores.
    """
    from surgery.runs import RunKind, claimed, end_header, hardware, versions

    with claimed(out, RunKind.DEMO):
        _demonstrate(out, samples, seed, json=json)
        made_with = {"versions": versions("torch", "transformers"), "hardware": hardware()}
        end_header(out, RunKind.DEMO, {"samples": samples, "seed": seed, **made_with})


def _demonstrate(out: Path, samples: int, seed: int, *, json: bool) -> None:
    start = time.monotonic()
    _say(f"[1/4] merging {len(VARIANTS)} variants of the specimen into {out}")
    plans = {name: _merge(name, out / name) for name in VARIANTS}
    _say(f"[2/4] asking {len(VARIANTS) + 3} models the same questions")
    results = _ask(plans, out / "scores", samples, seed)
    _say("[3/4] measuring what each stage of training changed in the weights")
    _draw(results, plans, out)
    stats = _measure_updates(out / "stats")
    _say(f"[4/4] swapping the image from each layer of {PROBED} on")
    probe = _swap_images(out / "probe", samples, seed)
    record = {
        "seconds": round(time.monotonic() - start, 1),
        "layers": {name: _sources(plan) for name, plan in plans.items()},
        "scores": plain_rows(results.scores),
        "updates": stats.summary["totals"],
        "swaps": plain_rows(probe.layers),
    }
    if json:
        print_json(plain_json(record))
    else:
        _print(results, plans, out)
        _print_updates(stats, out / "stats")
        _print_probe(probe, out / "probe")


def _say(text: str) -> None:
    stderr().print(text, style="bold", soft_wrap=True)


def _merge(name: str, folder: Path) -> MergePlan:
    """Make one variant, unless the folder already holds exactly it."""
    from surgery import make_plan

    start = time.monotonic()
    plan = make_plan(f"specimen/{name}")
    is_complete = _is_made(folder, plan)
    if not is_complete:
        plan.merge(folder, overwrite=True)
    done = "verified, kept" if is_complete else f"merged in {time.monotonic() - start:.1f} s"
    _say_plain(f"      {name}  {_layers(plan)}  {done}")
    return plan


def _is_made(folder: Path, plan: MergePlan) -> bool:
    """Check that the folder holds what the plan would write, every byte proven."""
    from surgery import SurgeryError, verify
    from surgery.checkpoint.ledger import LEDGER, read_ledger
    from surgery.recipe.dump import to_yaml

    if not (folder / LEDGER).is_file():
        return False
    try:
        ledger = read_ledger(folder)
        same = ledger.recipe == to_yaml(plan.recipe) and ledger.engine == "surgery"
        return same and verify(folder).ok
    except SurgeryError:  # damaged or of another version: merge it again
        return False


def _say_plain(text: str) -> None:
    stderr().print(text, soft_wrap=True)


def _layers(plan: MergePlan) -> str:
    """Return one letter per decoder layer, for the model it comes from."""
    from surgery.report.stack import letters, rows, symbol

    named = letters([plan.recipe.base, *(n for n in plan.recipe.models if n != plan.recipe.base)])
    row = next(row for row in rows(plan.plan) if row.label == "language")
    return "".join(symbol(cell, named) for cell in row.cells)


def _ask(plans: Mapping[str, MergePlan], out: Path, samples: int, seed: int) -> RunTables:
    """Ask the stages as they are and every variant, on the specimen's own suite."""
    from eval import evaluate
    from surgery.specimen import STAGES

    models = {stage: f"specimen:{stage}" for stage in STAGES} | dict(plans)
    quiet_libraries()
    with AnswerProgress() as progress:
        return evaluate(
            models, "specimen", out=out, samples=samples, seed=seed, against="in", base="in",
            donor="rl", processes=_processes(), progress=progress,
        )  # fmt: skip


def _draw(results: RunTables, plans: Mapping[str, MergePlan], out: Path) -> None:
    """Draw the source of each decoder layer next to the scores of three tasks."""
    from surgery.report.scores.stacks import write_stacks

    sources = {name: _sources(plan) for name, plan in plans.items()}
    depth = len(next(iter(sources.values())))
    stages = {name: [name] * depth for name in results.scores["variant"] if name not in sources}
    panels = [("count", "m_vis"), ("arithmetic", "m_rea"), ("expression", "right[image]")]
    write_stacks(results, stages | sources, panels, out / "variants.png")


def _processes() -> int | None:
    return None


def _measure_updates(out: Path) -> RunTables:
    """Measure both stages, every singular value included."""
    from surgery import weight_stats

    references = {stage: f"specimen:{stage}" for stage in ("base", "in", "rl")}
    return weight_stats(references, pairs=("base..in", "in..rl"), spectrum="full", top=8, out=out)


def _print_updates(stats: RunTables, out: Path) -> None:
    from surgery.report.stats.terminal import bars

    console = stdout()
    console.print()
    console.print(bars(stats))
    console.print(
        f"\nfigures and tables of the weights are in {out}; next: {program()} stats --help"
    )


def _swap_images(out: Path, samples: int, seed: int) -> RunTables:
    """Swap the image of RL, on the two vision tasks of its training."""
    from eval.asking.settings import EvalSettings
    from eval.probes.pairs import load_pairs
    from eval.probes.run import run_swap
    from eval.variants import plain
    from surgery.intervene import Mode
    from surgery.report.figures import write_figures

    pairs = [pair for pair in load_pairs("specimen", out, samples, seed)
             if pair.target.task in ("counting", "ocr")]  # fmt: skip
    with AnswerProgress(among=None) as progress:
        run = run_swap(
            plain("rl", PROBED), pairs, EvalSettings(), out, Mode.FROM,
            progress=progress,
            details={"pairs": "specimen", "samples": samples, "seed": seed},
        )  # fmt: skip
    write_figures(run, out)
    return run


def _print_probe(probe: RunTables, out: Path) -> None:
    from surgery.report.probes.terminal import bars

    console = stdout()
    console.print()
    for part in bars(probe, ascii_only=console.options.ascii_only, width=console.width):
        console.print(part)
    console.print(f"\nthe figure is {out / 'vision-swap.png'}; next: {program()} probe --help")


def _sources(plan: MergePlan) -> list[str]:
    """Return the model each decoder layer comes from."""
    from surgery.report.stack import rows

    row = next(row for row in rows(plan.plan) if row.label == "language")
    return ["+".join(dict.fromkeys(cell.models)) if cell else "several" for cell in row.cells]


def _print(results: RunTables, plans: Mapping[str, MergePlan], out: Path) -> None:
    from surgery.report.scores.terminal import notes, rows, score_tables

    console = stdout()
    console.print()
    last = len(_sources(next(iter(plans.values())))) - 1
    cells = {
        name: [_layers(plans[name]) if name in plans else name[0].upper() * (last + 1)]
        for name in (variant["name"] for variant in results.summary["variants"])
    }
    for measures in (("m_",), ("right[image]", "right[text]")):
        for table in score_tables(
            rows(results, "scores"), cells, console.width, f"layers 0-{last}", measures
        ):
            console.print(table)
            console.print()
    lines = [
        "Source of each decoder layer: B base, I in, R rl. All other tensors come from in.",
        "No model was trained on combine or on image descriptions, so M_v2r, which needs both, is "
        "low for all.",
        *notes(results),
        "",
        f"models, scores and figures are in {out}; next: {program()} compare {out / 'scores'}",
    ]
    for line in lines:
        console.print(line, soft_wrap=True)
