"""`surgery plan`: the effect of a recipe, as a picture or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgery.checkpoint.source import Remote
from surgery.cli.console import print_json, stdout
from surgery.cli.options import (
    Json,
    Models,
    RecipeArgument,
    RemoteOption,
    bindings,
)

if TYPE_CHECKING:
    from surgery.checkpoint.source import Fetch
    from surgery.plan import Plan


def command(
    recipe: RecipeArgument,
    model: Models = None,
    remote: RemoteOption = Remote.AUTO,
    json: Json = False,
    out_svg: Annotated[
        Path | None,
        typer.Option("--out-svg", metavar="FILE", help="Also write the picture as an SVG file."),
    ] = None,
) -> None:
    """Show the effect of a recipe by layer. Reads headers only, writes nothing."""
    plan, memory, fetched = _plan(recipe, bindings(model), remote)
    if json:
        from surgery.report.record import plan_record

        print_json(plan_record(plan, memory, fetched))
        if out_svg is None:
            return
    from surgery.report.export import write_svg
    from surgery.report.overview import overview

    if not json:
        stdout().print(overview(plan, memory, fetched))
    if out_svg is not None:
        write_svg(overview(plan, memory, fetched), out_svg, title=f"surgery plan {recipe}")


def _plan(
    recipe: str, models: dict[str, str], remote: Remote
) -> tuple[Plan, int, dict[str, Fetch]]:
    from surgery.execute.fetch import fetches
    from surgery.execute.work import default_workers
    from surgery.plan import make_plan
    from surgery.plan.memory import projected_memory
    from surgery.recipe import load_recipe, opened

    loaded = load_recipe(recipe, models=models)
    with opened(loaded, remote) as checkpoints:
        plan = make_plan(loaded, checkpoints)
        fetched = fetches(plan, checkpoints)
    return plan, projected_memory(plan, default_workers()), fetched
