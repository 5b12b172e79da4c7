"""`surgery merge`: carry a recipe out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgery.checkpoint.source import Remote
from surgery.cli.console import print_json, show_warning, stderr, stdout
from surgery.cli.options import (
    Json,
    Models,
    Quiet,
    RecipeArgument,
    RemoteOption,
    Workers,
    bindings,
)
from surgery.cli.progress import ByteProgress
from surgery.errors import ExecutionError

if TYPE_CHECKING:
    from surgery.checkpoint.ledger import Ledger
    from surgery.checkpoint.source import Fetch
    from surgery.plan import Plan


def command(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder.", show_default=False)],
    *,
    model: Models = None,
    remote: RemoteOption = Remote.AUTO,
    workers: Workers = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if an earlier merge wrote it.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the model that a recipe describes.

    OUT is complete or absent, even after a crash.
    """
    from surgery.execute.fetch import fetches
    from surgery.execute.published import is_same_as_published
    from surgery.execute.run import execute
    from surgery.plan import make_plan
    from surgery.recipe import load_recipe, opened
    from surgery.report.record import fetch_record

    loaded = load_recipe(recipe, models=bindings(model))
    if str(out).startswith(("specimen:", "hf:/")):
        raise ExecutionError(
            f"OUT is {str(out)!r}, which is the name of an existing model, not of a new folder. "
            f"Name a folder, for example out/{loaded.name}."
        )
    with opened(loaded, remote) as checkpoints:
        plan = make_plan(loaded, checkpoints)
        fetched = fetches(plan, checkpoints)
        silent = quiet or json
        if not silent:
            _print_plan(plan, fetched)
        with ByteProgress(f"merging {loaded.name}", plan.nbytes, quiet=silent) as progress:
            ledger = execute(
                plan,
                checkpoints,
                out,
                workers=workers,
                overwrite=overwrite,
                progress=progress,
            )
        fetched_bytes = sum(checkpoint.fetched for checkpoint in checkpoints.values())
    if recipe.startswith("hf://") and not is_same_as_published(ledger, recipe):
        show_warning(
            f"the merged weights differ from those published at {recipe}: --model binds a "
            "different checkpoint, or the published merge was computed with other library versions"
        )
    summary = _summary(plan, ledger, out, progress.seconds) | {
        "fetched_bytes": fetched_bytes,
        "fetch": {name: fetch_record(cost) for name, cost in fetched.items()},
    }
    if json:
        print_json(summary)
    elif not quiet:
        _print_summary(summary)


def _print_plan(plan: Plan, fetched: dict[str, Fetch]) -> None:
    """Print the short form of `surgery plan` on stderr: the result is the folder."""
    from surgery.report.overview import fetch_line, title
    from surgery.report.picture import picture

    stderr().print(title(plan), "", picture(plan), "", sep="\n")
    for name, cost in fetched.items():
        stderr().print(fetch_line(name, cost), soft_wrap=True)


def _summary(plan: Plan, ledger: Ledger, out: Path, seconds: float) -> dict[str, Any]:
    from surgery.checkpoint.companions import companion_code
    from surgery.execute.memory import peak_memory

    code = companion_code(plan.base)
    return {
        "out": str(out),
        "recipe": plan.recipe.name,
        "engine": ledger.engine,
        "tensors": len(plan.ops),
        "computed": sum(not op.is_copy for op in plan.ops),
        "bytes": plan.nbytes,
        "shards": list(plan.shards),
        "seconds": round(seconds, 3),
        "bytes_per_second": round(plan.nbytes / max(seconds, 1e-9)),
        "peak_memory_bytes": peak_memory(),
        "custom_code": [*code.files, *code.missing, *code.repositories],
    }


def _print_summary(summary: dict[str, Any]) -> None:
    from surgery.text import duration_text, quantity, size_text

    memory = summary["peak_memory_bytes"]
    parts = [
        f"{size_text(summary['bytes'])} in {duration_text(summary['seconds'])}",
        f"{size_text(summary['bytes_per_second'])}/s",
        f"{summary['computed']:,} of {quantity(summary['tensors'], 'tensor')} computed",
        *([f"peak memory {size_text(memory)}"] if memory else []),
    ]
    console = stdout()
    console.print(f"{summary['out']}: {', '.join(parts)}", soft_wrap=True)
    if summary["fetch"]:
        costs = list(summary["fetch"].values())
        headers = sum(cost["headers"] for cost in costs)
        planned = sum(cost["ranges"] for cost in costs if cost["way"] == "ranges")
        whole = sum(cost["whole"] for cost in costs if cost["way"] == "cache")
        fetched = size_text(summary["fetched_bytes"])
        text = f"fetched {fetched} by range (planned: {size_text(planned)}"
        text += f", headers {size_text(headers)})" if headers else ")"
        console.print(
            text + (f", and {size_text(whole)} as whole models" if whole else ""), soft_wrap=True
        )
    if summary["custom_code"]:
        show_warning(
            f"{summary['out']} names custom Python code ({', '.join(summary['custom_code'])}). "
            "A library without a class for this type of model loads it only with "
            "trust_remote_code=True; surgery never runs it"
        )
    console.print(f"check it with: surgery verify {summary['out']}", soft_wrap=True)
